"""Promises of the names: what is written into a name is read from it, and anything else is no partition."""

from datetime import date

import pytest
from dagster import AssetKey

from mds_assets.stack.lake.layout import (
    is_early,
    is_landed,
    is_table_file,
    load_file,
    parse_folder,
    parse_path,
    partition_folder,
)

DAY = date(2026, 3, 7)


@pytest.mark.parametrize("partition", [DAY, None])
def test_a_files_path_says_its_partition_and_name(partition: date | None):
    folder = partition_folder(partition)
    assert parse_path(f"{folder}/1.parquet" if folder else "1.parquet") == (partition, "1.parquet")


@pytest.mark.parametrize("name", ["day=2026-02-30", "day=2026-3-7", "day=2026-W10-6", "day=20260307", "month=2026-03"])
def test_other_folders_are_no_days(name: str):
    assert parse_folder(name) is None
    assert parse_path(f"{name}/data.parquet") is None


def test_a_file_in_a_folder_below_a_day_belongs_to_no_partition():
    assert parse_path(f"day={DAY}/backup/data.parquet") is None


@pytest.mark.parametrize(
    ("names", "landed", "early"),
    [
        ([], False, False),
        (["report.html", ".data.tmp"], False, False),
        ([load_file("1")], True, False),
        ([load_file("1", early=True)], False, True),
        ([load_file("1", early=True), load_file("2")], True, False),
        ([load_file("1", early=True), "report.html"], False, True),
        (["data.parquet"], True, False),
    ],
)
def test_only_a_file_that_is_not_early_lands_a_day(names: list[str], landed: bool, early: bool):
    assert (is_landed(names), is_early(names)) == (landed, early)


def test_an_early_file_holds_rows_of_the_table():
    assert is_table_file(AssetKey(["raw", "orders"]), load_file("1", early=True))


def test_raw_has_a_file_per_load_and_any_other_table_exactly_one():
    assert is_table_file(AssetKey(["raw", "shop", "orders"]), "1.parquet")
    assert not is_table_file(AssetKey(["raw", "orders"]), "notes.txt")
    staging = AssetKey(["staging", "orders"])
    assert is_table_file(staging, "data.parquet")
    assert not is_table_file(staging, "data (copy).parquet")
