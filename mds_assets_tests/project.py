"""The whole project on a lake of its own, in this process or through the real `dagster` command."""

import glob
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
from dagster import AssetCheckEvaluation, AssetKey, DagsterInstance, ExecuteInProcessResult
from pydantic import SecretStr

from mds_assets.definitions import build_definitions
from mds_assets.defs.github.resources import client
from mds_assets.defs.github.settings import settings as github_settings
from mds_assets.stack.settings import settings

Rows = list[tuple[Any, ...]]


class Project:
    """The project with a lake below `folder`, asking `organisations` of the GitHub at `api_url`; else the sample."""

    def __init__(self, folder: Path, api_url: str = "", organisations: Iterable[str] = (), token: str = ""):
        """Nothing is made in `folder` but an empty Dagster home."""
        self.lake = folder / "a 'lake' [of] mine"  # nor on the spelling of a folder
        self.home = folder / "dagster"
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        self.environment = {
            "GITHUB_ORG": ",".join(organisations),
            "GITHUB_API_URL": api_url,
            "GITHUB_TOKEN": token,
            "MDS_DATA_DIR": str(self.lake),
            "DAGSTER_HOME": str(self.home),
            "TZ": "Asia/Tokyo",  # nothing depends on the zone of the machine
        }
        github = {
            "api_url": api_url,
            "organisations": tuple(organisations),
            "token": SecretStr(token) if token else None,
        }
        self.definitions = build_definitions(
            {"github": client(github_settings.model_copy(update=github))},
            settings.model_copy(update={"data_dir": str(self.lake), "preview_rows": 0 if token else None}),
        )

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
        return self.definitions.resolve_job_def("daily_refresh").execute_in_process(
            instance=instance or DagsterInstance.ephemeral(),
            asset_selection=keys,
            tags={
                "dagster/asset_partition_range_start": str(first),
                "dagster/asset_partition_range_end": str(last or first),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=raise_on_error,
        )

    def checks(self) -> dict[str, AssetCheckEvaluation]:
        """What every check says of its table's newest day, by `<table> <check>`."""
        ran = self.definitions.resolve_job_def("table_checks").execute_in_process(
            instance=DagsterInstance.ephemeral(),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        return evaluations(ran)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`dagster ...` or `mds ...` in a process of its own, from a folder that is not the repository."""
        program = Path(sys.executable).with_name(words[0])
        return subprocess.run(
            [program, *words[1:]],
            env=os.environ | self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )

    def dagster(self, *options: str) -> subprocess.CompletedProcess[str]:
        """`dagster asset materialize` of everything."""
        return self.command(
            "dagster", "asset", "materialize", "-m", "mds_assets.definitions", "--select", "*", *options
        )

    def rows(self, table: str, day: date | None = None) -> Rows:
        """A table's rows with `day`, sorted, as any DuckDB client reads them; of one day or of all."""
        folder = glob.escape(str(self.lake / table)).replace("'", "''")
        files = f"{folder}/day={day or '*'}/*.parquet"
        with duckdb.connect() as con:
            con.execute("SET TimeZone = 'UTC'")
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
