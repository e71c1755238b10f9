"""Promises of the benchmarks: they run, compare like with like, and measure files as the project lands them."""

import importlib
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from dagster import AssetCheckKey

from benchmarks.compare import DifferentError, compare
from benchmarks.generate import generate
from benchmarks.limit import marts, stage
from mds_assets.definitions import defs
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github.project import Project
from mds_assets_tests.github.recordings import jenkinsci, needs_recordings
from mds_assets_tests.github.server import GitHubServer

DAYS = days_between(date(2025, 6, 24), date(2025, 6, 30))


def raw(lake: Path) -> pl.DataFrame:
    """All that a lake has of raw."""
    return pl.read_parquet(lake / "raw/github_repos/*/*.parquet", hive_partitioning=True)


def test_a_generated_lake_is_a_function_of_its_seed(tmp_path: Path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        generate(tmp_path / name, DAYS[:2], 100, seed=seed)
    assert raw(tmp_path / "one").equals(raw(tmp_path / "same"))
    assert not raw(tmp_path / "one").equals(raw(tmp_path / "other"))


def test_a_generated_day_has_two_loads_whose_repositories_are_active_on_that_day_and_on_others(tmp_path: Path):
    generate(tmp_path, DAYS, 1_000)
    lake = raw(tmp_path)
    active = lake.with_columns(active=pl.max_horizontal("updated_at", "pushed_at").dt.date())
    assert active.filter(pl.col("active") != pl.col("day")).is_empty()
    loads = lake.group_by("day", "_dlt_load_id").len().sort("day", "_dlt_load_id")
    assert loads["len"].to_list() == [1_000, 31] * len(DAYS)
    days_of_a_repository = lake.group_by("org", "id").agg(pl.col("day").n_unique())["day"]
    assert set(days_of_a_repository) == {1, 2, 3, 7}
    assert lake["id"].n_unique() == lake["name"].n_unique() == len(days_of_a_repository)


@needs_recordings
def test_a_generated_file_has_the_columns_and_types_of_what_the_project_lands(tmp_path: Path):
    with GitHubServer({"jenkinsci": jenkinsci()}) as github:
        project = Project(tmp_path, github.url, ["jenkinsci"])
        project.materialise(date(2019, 10, 25), layers=["raw"])
    (file,) = (project.lake / "raw/github_repos/day=2019-10-25").glob("*.parquet")
    landed = pl.DataFrame(pq.read_schema(file).empty_table()).schema
    generate(tmp_path, DAYS[:1], 100)
    generated = pl.read_parquet_schema(min((tmp_path / "raw").rglob("*.parquet")))
    assert {name: generated.get(name) for name in landed} == dict(landed)


def test_a_difference_between_two_lakes_is_found(tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    for lake in (one, other):
        generate(lake, DAYS[-1:], 100)
        stage(lake, DAYS[-1:], "snappy")
        marts(lake, DAYS[-1:], 7)
    assert "100 rows of staging/repos" in compare(one, other, DAYS[-1:])
    for table, column in (("marts/daily_activity", "push_count"), ("staging/repos", "stars")):
        file = other / table / f"day={DAYS[-1]}" / "data.parquet"
        pl.read_parquet(file, hive_partitioning=False).with_columns(pl.col(column) + 1).write_parquet(file)
        with pytest.raises(DifferentError, match=f"{table} of 2025-06-30"):
            compare(one, other, DAYS[-1:])


def test_the_floor_has_the_checks_of_the_tables_that_it_stands_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MDS_START_DATE", str(DAYS[0]))
    floor = importlib.import_module("benchmarks.floor.definitions").defs.resolve_asset_graph()
    ours = defs.resolve_asset_graph()

    def names(checks: Iterable[AssetCheckKey]) -> set[tuple[str, str]]:
        return {(check.asset_key.path[-1], check.name) for check in checks}

    tables = {key.path[-1] for key in floor.get_all_asset_keys()}
    assert names(floor.asset_check_keys) == {one for one in names(ours.asset_check_keys) if one[0] in tables}
