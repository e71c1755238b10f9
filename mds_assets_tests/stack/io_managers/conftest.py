"""A lake of each test's own."""

from pathlib import Path

import pytest

from mds_assets_tests.stack.io_managers.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "lake")
