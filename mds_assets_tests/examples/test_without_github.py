"""Promises of a project without GitHub: what remains loads, lists and passes its tests."""

from pathlib import Path

import pytest

from mds_assets_tests.examples.copied import CopiedProject

# The quick ones: what they import and what they run is the stack's own.
_TESTS = ("stack/test_checks.py", "stack/test_partitions.py", "stack/test_reference.py")


@pytest.mark.slow(20)
def test_what_remains_loads_lists_and_passes(tmp_path: Path):
    project = CopiedProject(tmp_path)
    shown = project.command("mds", "show")
    assert shown.returncode == 0, shown.stderr
    assert "github" not in shown.stdout.lower()
    listed = project.command("dagster", "asset", "list", "-m", "mds_assets.definitions")
    assert listed.stdout.split() == ["warehouse"], listed.stdout + listed.stderr
    collected = project.command("pytest", "--collect-only", "-q", "-n", "0", "mds_assets_tests/stack")
    assert collected.returncode == 0, collected.stdout[-3000:]
    passed = project.command("pytest", "-q", "-n", "0", *(f"mds_assets_tests/{name}" for name in _TESTS))
    assert passed.returncode == 0, passed.stdout[-3000:]
