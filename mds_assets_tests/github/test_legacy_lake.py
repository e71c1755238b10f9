"""Promises to whoever has a lake from before the redesign: it reads, restages and answers as before."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import AssetIn, AssetKey, AssetsDefinition, asset, materialize

from mds_assets.stack.partitions import DAILY, SINGLE_RUN, days_between
from mds_assets.stack.table import declared_table
from mds_assets_tests.github.project import Project

LEGACY = Path(__file__).with_name("legacy_lake")
DAYS = days_between(date(2026, 11, 24), date(2026, 11, 26))
TABLES = sorted(f"{folder.parent.name}/{folder.name}" for folder in LEGACY.glob("*/*") if folder.is_dir())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The project on a copy of the lake."""
    project = Project(tmp_path)
    shutil.copytree(LEGACY, project.lake, ignore=shutil.ignore_patterns("README.md"))
    return project


def read(project: Project, name: str, kind: type, io_manager: str) -> pl.DataFrame:
    """The table's three days as an asset gets them that takes a `kind` through this IO manager."""
    key = AssetKey(name.split("/"))
    frames: list[pl.DataFrame] = []

    def reader(table: Any) -> None:
        frames.append(table.collect() if isinstance(table, pl.LazyFrame) else table.pl())

    reader.__annotations__ = {"table": kind, "return": None}
    reads = {"table": AssetIn(key=key, input_manager_key=io_manager)}
    probe = asset(ins=reads, partitions_def=DAILY, backfill_policy=SINGLE_RUN)(reader)
    others = [each for each in project.definitions.assets or () if isinstance(each, AssetsDefinition)]
    first, last = str(DAYS[0]), str(DAYS[-1])
    assert materialize(
        [*others, probe],
        selection=[probe],
        resources=project.definitions.resources,
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
    ).success
    (frame,) = frames
    return frame


def test_it_holds_every_table_of_its_time():
    marts = {"marts/daily_activity", "marts/language_trend", "marts/repo_growth", "marts/repos_per_language"}
    assert set(TABLES) == {"raw/github_repos", "staging/repos"} | marts


@pytest.mark.slow(1)
@pytest.mark.parametrize("name", TABLES)
def test_every_table_reads_through_both_io_managers_in_todays_types(project: Project, name: str):
    by_duckdb = read(project, name, duckdb.DuckDBPyRelation, "duckdb_io_manager")
    by_polars = read(project, name, pl.LazyFrame, "polars_io_manager")
    spec = next(spec for spec in project.definitions.resolve_all_asset_specs() if spec.key.to_user_string() == name)
    declared = declared_table(name, spec.metadata).with_day()
    assert by_polars.columns == declared.names
    assert by_polars.schema == pl.DataFrame(declared.arrow_schema().empty_table()).schema
    assert by_duckdb.columns == by_polars.columns
    assert sorted(map(repr, by_duckdb.rows())) == sorted(map(repr, by_polars.rows()))

    files = [next((project.lake / name / f"day={day}").iterdir()) for day in DAYS]
    legacy = pa.concat_tables([pq.ParquetFile(file).read() for file in files])
    assert legacy.num_rows == by_polars.height > 0
    kept = [column for column in declared.names if column in legacy.column_names]
    in_files = pl.DataFrame(legacy.select(kept))
    assert sorted(map(repr, by_polars.select(kept).rows())) == sorted(map(repr, in_files.rows()))
    added = set(declared.names) - set(kept) - {"day"}
    since = {"marts/daily_activity": {"days_averaged"}, "staging/repos": {"visibility"}}
    assert added == (since | {"marts/repo_growth": {"visibility"}}).get(name, set())
    assert all(by_polars[column].null_count() == by_polars.height for column in added)
    if name in {"staging/repos", "marts/repo_growth"}:
        assert legacy.schema.field("stars").type == pa.int32()
        assert by_polars.schema["stars"] == by_duckdb.schema["stars"] == pl.Int64


def test_a_day_restages_from_its_raw_and_its_marts_follow(project: Project):
    before = project.rows("staging/repos", DAYS[-1])
    raw = {name: content for name, content in project.contents().items() if name.startswith("raw/")}
    assert project.materialise(DAYS[-1], layers=["staging", "marts"]).success
    names = [column.name for column in pq.read_schema(next((project.lake / "staging/repos").glob(f"day={DAYS[-1]}/*")))]
    visibility = names.index("visibility")
    after = project.rows("staging/repos", DAYS[-1])
    assert {row[visibility] for row in after} <= {"public", "private", "internal", None}
    assert [(*row[:visibility], *row[visibility + 1 :]) for row in after] == before
    assert {name: content for name, content in project.contents().items() if name.startswith("raw/")} == raw
    # The other days of the window are still the files of then; before them there is none.
    activity = project.rows("marts/daily_activity", DAYS[-1])
    assert [row[4] for row in activity] == [0, 0, 0, 0, 1, 2, 3]
    assert [row[3] for row in activity][:4] == [None] * 4
    failed = {name for name, check in project.checks().items() if not check.passed}
    assert {name.split()[1] for name in failed} <= {"is_fresh", "window_is_complete"}


def test_mds_show_and_mds_sql_work_on_it(project: Project):
    shown = project.command("mds", "show")
    assert shown.returncode == 0, shown.stderr
    for name in TABLES:
        (line,) = [line for line in shown.stdout.splitlines() if line.split()[:1] == [name] and "as of" not in line]
        assert line.split()[1:] == ["3", str(DAYS[0]), str(DAYS[-1])]
    project.materialise(DAYS[-1], layers=["warehouse"])
    for name in TABLES:
        query = f"SELECT count(*) AS n, min(day) AS first, max(day) AS last FROM {name.replace('/', '.')}"  # noqa: S608
        answer = project.command("mds", "sql", "--csv", query)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.splitlines()[1] == f"{len(project.rows(name))},{DAYS[0]},{DAYS[-1]}"
    answer = project.command("mds", "sql", "--csv", "SELECT typeof(any_value(stars)) AS t FROM staging.repos")
    assert answer.stdout.split() == ["t", "BIGINT"]
