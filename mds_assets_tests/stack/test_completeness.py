"""Promises of what a raw file's footer records about its load."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from mds_assets.stack.completeness import left_out, scope_of
from mds_assets.stack.names import LEFT_OUT, SCOPE

ODD = [b"", b"no JSON", b"\xff", b"null", b"1", b'"acme"', b'["acme", 1, null, []]', b'{"acme": null}', b"[" * 100_000]


def raw_file(file: Path, scope: bytes, missing: bytes) -> UPath:
    """A load's file with these values in its footer."""
    footer = {SCOPE.encode(): scope, LEFT_OUT.encode(): missing}
    pq.write_table(pa.table({"id": [1]}).replace_schema_metadata(footer), file)
    return UPath(file)


@pytest.mark.parametrize("odd", ODD)
def test_metadata_that_another_program_wrote_counts_as_none(tmp_path: Path, odd: bytes):
    good = raw_file(tmp_path / "1.parquet", b"[]", json.dumps({"other": "404"}).encode())
    file = raw_file(tmp_path / "2.parquet", odd, odd)
    assert left_out([file, good]) == {"other": "404"}
    assert scope_of(file) <= {"acme"}


def test_a_later_load_that_covers_a_part_fills_the_gap(tmp_path: Path):
    files = [
        raw_file(tmp_path / "1.parquet", b"[]", b'{"acme": "404", "other": "403"}'),
        raw_file(tmp_path / "2.parquet", b'["acme"]', b"{}"),
    ]
    assert left_out(files) == {"other": "403"}
