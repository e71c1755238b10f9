"""Definitions on a lake of their own: real runs of them in this process, and what the runs left behind.

`Runs` knows no source. `project.py` has the whole project, `stack/toy.py` a toy source.
"""

import atexit
import glob
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import date
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
)

from mds_assets.stack import build
from mds_assets.stack.settings import settings
from mds_assets_tests import forkserver

Rows = list[tuple[Any, ...]]

# The project's kind of instance, in a `dagster.yaml`.
INSTANCE = "instance_class:\n  module: mds_assets.stack.instance\n  class: GuardedInstance\n"
HOME_SETTINGS = "telemetry:\n  enabled: false\n" + INSTANCE


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def in_utc() -> duckdb.DuckDBPyConnection:
    """A connection of its own to an empty database that all tests share: DuckDB takes 50 ms to open another."""
    connection = _database().cursor()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@cache
def _empty_home() -> Path:
    home = Path(tempfile.mkdtemp(prefix="mds-home-"))
    atexit.register(shutil.rmtree, home)
    (home / "dagster.yaml").write_text(HOME_SETTINGS)
    with DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs(limit=1)
    return home


class Runs:
    """Definitions on a lake below `folder`.

    Attributes:
        lake: The lake's root.
        home: A Dagster home without runs. Its databases exist: making them takes half a second.
        environment: What commands are told of both.
        definitions: What runs.
        tables: The only tables that `materialise` runs; without them, all.
        instance: Dagster's records of the last run.
    """

    definitions: Definitions
    tables: frozenset[str] = frozenset()
    instance: DagsterInstance

    def __init__(self, folder: Path):
        """Make nothing in `folder` but a Dagster home, unless there is one; whoever calls this sets `definitions`."""
        self.lake = folder / "a 'lake' [of] mine"  # nothing depends on the spelling of a folder
        self.home = folder / "dagster"
        if not self.home.exists():
            shutil.copytree(_empty_home(), self.home)
        self.environment = {
            "MDS_DATA_DIR": str(self.lake),
            "DAGSTER_HOME": str(self.home),
            "TZ": "Asia/Tokyo",  # nor on the zone of the machine
        }

    @classmethod
    def of(cls, folder: Path, *assets: AssetsDefinition, preview_rows: int = 0, **resources: Any) -> "Runs":
        """These assets, built into definitions as the project's own are, with these resources."""
        runs = cls(folder)
        runs.definitions = build.build_definitions(
            Definitions(assets=assets, resources=resources),
            settings=settings.model_copy(update={"data_dir": str(runs.lake), "preview_rows": preview_rows}),
        )
        return runs

    def materialise(
        self,
        first: date,
        last: date | None = None,
        layers: Iterable[str] = ("raw", "staging", "marts"),
        instance: DagsterInstance | None = None,
        raise_on_error: bool = True,
    ) -> ExecuteInProcessResult:
        """One run of the job `daily_refresh` over these days, in this process."""
        keys = [key for key in self.definitions.resolve_all_asset_keys() if key.path[0] in set(layers)]
        keys = [key for key in keys if not self.tables or key.to_user_string() in self.tables]
        self.instance = instance or DagsterInstance.ephemeral()
        return self.definitions.resolve_job_def("daily_refresh").execute_in_process(
            instance=self.instance,
            asset_selection=keys,
            tags={
                "dagster/asset_partition_range_start": str(first),
                "dagster/asset_partition_range_end": str(last or first),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=raise_on_error,
        )

    def checks(self, instance: DagsterInstance | None = None) -> dict[str, AssetCheckEvaluation]:
        """What every check of `tables` says of its table's newest day, by `<table> <check>`."""
        self.instance = instance or DagsterInstance.ephemeral()
        ran = self.definitions.resolve_job_def("table_checks").execute_in_process(
            instance=self.instance,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        return {
            name: one
            for name, one in evaluations(ran).items()
            if not self.tables or one.asset_key.to_user_string() in self.tables
        }

    def verdicts(self, table: str) -> dict[str | None, AssetCheckEvaluation]:
        """The newest `is_valid` of each partition of a table, as `instance` has it."""
        key = AssetCheckKey(AssetKey(table.split("/")), "is_valid")
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1000)
        events = [one.event.dagster_event for one in reversed(records) if one.event and one.event.dagster_event]
        found = [each.event_specific_data for each in events]
        return {each.partition: each for each in found if isinstance(each, AssetCheckEvaluation)}

    def command(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """`dagster ...` or `mds ...` in a process of its own, from a folder that is not the repository."""
        program = Path(sys.executable).with_name(words[0])
        return forkserver.run([program, *words[1:]], os.environ | self.environment, cwd or self.home)

    def dagster(self, *options: str) -> subprocess.CompletedProcess[str]:
        """`dagster asset materialize` of everything."""
        select = self.selecting or ("--select", "*")
        return self.command("dagster", "asset", "materialize", "-m", "mds_assets.definitions", *select, *options)

    @property
    def selecting(self) -> tuple[str, ...]:
        """The option that selects the tables to run; none for all."""
        return ()

    def rows(self, table: str, day: date | None = None) -> Rows:
        """A table's rows with `day`, sorted, as any DuckDB client reads them; of one day or of all."""
        folder = glob.escape(str(self.lake / table)).replace("'", "''")
        files = f"{folder}/day={day or '*'}/*.parquet"
        with in_utc() as con:
            return con.sql(f"FROM read_parquet('{files}', hive_partitioning = true) ORDER BY ALL").fetchall()

    def days(self, table: str) -> list[date]:
        """The days of a table that have a file."""
        folders = (self.lake / table).glob("day=*/*.parquet")
        return sorted({date.fromisoformat(file.parent.name.removeprefix("day=")) for file in folders})

    def contents(self) -> dict[str, str]:
        """Every file below the lake with a hash of its bytes: equal means that nothing at all has changed."""
        files = (file for file in sorted(self.lake.rglob("*")) if file.is_file())
        return {str(file.relative_to(self.lake)): sha256(file.read_bytes()).hexdigest() for file in files}


def evaluations(result: ExecuteInProcessResult) -> dict[str, AssetCheckEvaluation]:
    """What the checks of a run said, by `<table> <check>`."""
    return {f"{one.asset_key.to_user_string()} {one.check_name}": one for one in result.get_asset_check_evaluations()}


def failure(result: ExecuteInProcessResult) -> str:
    """What the first failed step tells the user."""
    assert not result.success
    data = result.get_step_failure_events()[0].step_failure_data
    if data.user_failure_data:
        return str(data.user_failure_data.description)
    error = data.error
    while error and error.cause:
        error = error.cause
    return error.message if error else ""


def metadata(result: ExecuteInProcessResult, table: str, day: date) -> dict[str, Any]:
    """The metadata of a table's materialisation for one day, as plain values."""
    for event in result.get_asset_materialization_events():
        if event.asset_key == AssetKey(table.split("/")) and event.partition == str(day):
            return {name: value.value for name, value in event.materialization.metadata.items()}
    raise AssertionError(f"{table} was not materialised for {day}")
