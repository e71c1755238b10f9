"""Promises of what Dagster sees: a daily job and its schedule, described tables, and parts that can be swapped.

What is said of each table is said of whatever lies in `defs/`.
"""

import json
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetKey,
    AssetSpec,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    Definitions,
    JobDefinition,
    RunRequest,
    ScheduleDefinition,
    build_schedule_context,
    job,
)

from mds_assets.definitions import build_definitions, defs
from mds_assets.stack import build
from mds_assets.stack.blocks import mart, staging_table
from mds_assets.stack.build import DefinitionError
from mds_assets.stack.names import WAREHOUSE
from mds_assets.stack.table import TABLE, Reconciliation, SchemaError, column, declared_table, table
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.clone import Clone

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
TABLES = {name: spec for name, spec in SPECS.items() if TABLE in spec.metadata}


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in sorted(SPECS.items())])
def test_every_asset_says_what_it_is(spec: AssetSpec):
    assert spec.description
    assert spec.group_name
    assert spec.kinds
    assert not spec.owners


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_describes_its_columns(name: str):
    assert "parquet" in TABLES[name].kinds
    for each in declared_table(name, TABLES[name].metadata).columns:
        assert each.description.endswith(".")


def test_the_definitions_load_without_what_only_some_runs_need():
    """Charts and dlt; the object store's client."""
    code = "import sys, mds_assets.definitions; sys.exit(str(sys.modules.keys() & {'dlt', 'obstore'} or '') or 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_schedule_runs_at_0005_utc_for_the_day_that_ended():
    schedule = defs.resolve_schedule_def("daily_refresh_schedule")
    assert schedule.cron_schedule == "5 0 * * *"
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status == DefaultScheduleStatus.RUNNING
    with DagsterInstance.ephemeral() as instance:
        tick = schedule.evaluate_tick(
            build_schedule_context(
                instance,
                scheduled_execution_time=datetime(2026, 3, 2, 0, 5, tzinfo=UTC),
                repository_def=defs.get_repository_def(),
            )
        )
    (request,) = tick.run_requests or []
    assert isinstance(request, RunRequest)
    assert request.partition_key == str(date(2026, 3, 1))
    assert request.tags["mds/trigger"] == "schedule"


@pytest.mark.parametrize("error", [SchemaError, KeyboardInterrupt])
def test_a_step_that_finds_bad_data_or_is_cancelled_is_not_tried_again(tmp_path: Path, error: type[BaseException]):
    @mart(columns=toy.REVENUE, latest={"orders": "staging/orders"})
    def revenue(orders: Any) -> Any:
        """It fails."""
        raise error

    runs = Runs.of(tmp_path, toy.orders, toy.staged, revenue, shop=[])
    with DagsterInstance.ephemeral() as instance:
        with suppress(KeyboardInterrupt):
            runs.materialise(date(2019, 3, 1), layers=["marts"], instance=instance, raise_on_error=False)
        (run,) = instance.get_runs()
        events = [entry.dagster_event_type for entry in instance.all_logs(run.run_id) if entry.dagster_event_type]
    assert run.status == DagsterRunStatus.FAILURE
    assert DagsterEventType.STEP_FAILURE in events
    assert DagsterEventType.STEP_UP_FOR_RETRY not in events


def test_a_staging_table_that_is_not_what_it_declares_is_not_tried_again(tmp_path: Path):
    file = tmp_path / "broken.sql"
    file.write_text("SELECT id AS order_id, day FROM orders")
    staged = staging_table("orders", reads=["raw/orders"], columns=toy.STAGING, sql=str(file))
    runs = Runs.of(tmp_path, toy.orders, staged, shop=[])
    with DagsterInstance.ephemeral() as instance:
        ran = runs.materialise(date(2019, 3, 1), instance=instance, raise_on_error=False)
        events = [entry.dagster_event_type for entry in instance.all_logs(ran.run_id) if entry.dagster_event_type]
    assert not ran.success
    assert DagsterEventType.STEP_UP_FOR_RETRY not in events


def test_steps_run_in_process():
    assert defs.resolve_job_def("daily_refresh").executor_def.name == "in_process"


def test_a_resource_can_be_swapped():
    swapped = object()
    resources = build_definitions({"lake": swapped}).resources or {}
    assert resources["lake"] is swapped
    assert (defs.resources or {})["lake"] is not swapped


def test_a_source_may_bring_jobs_schedules_and_sensors_and_take_the_place_of_the_stacks():
    @job
    def mine() -> None:
        """Nothing."""

    schedule = ScheduleDefinition(name="daily_refresh_schedule", job=mine, cron_schedule="@weekly")
    built = build.build_definitions(
        Definitions(assets=[toy.orders], jobs=[mine], schedules=[schedule], resources={"shop": []})
    )
    assert built.resolve_schedule_def("daily_refresh_schedule").cron_schedule == "@weekly"
    assert isinstance(built.resolve_job_def("mine"), JobDefinition)
    assert {given.name for given in built.schedules or []} > {"daily_refresh_schedule", "prune_schedule"}


# --- Commands, on a copy of the project whose only source is the toy


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The copy."""
    return Clone(tmp_path_factory.mktemp("clone"))


def dg(clone: Clone, *words: str) -> str:
    """What `dg` prints, in the copy's folder."""
    ended = clone.command("dg", *words, cwd=clone.root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def listed(clone: Clone, kind: str) -> set[str]:
    """`dg list defs`: the names of what there is of this kind."""
    return {one.get("asset_key") or one["name"] for one in json.loads(dg(clone, "list", "defs", "--json"))[kind]}


def test_dg_checks_and_lists_what_there_is(clone: Clone):
    dg(clone, "check", "defs")
    tables = {"raw/orders", "staging/orders", "staging/orders_now", "marts/revenue", "warehouse"}
    assert listed(clone, "assets") >= tables
    assert listed(clone, "jobs") == {"daily_refresh", "table_checks", "prune", "compact"}
    assert listed(clone, "sensors") == {"follow_staging", "failed_runs", "failed_checks"}


@pytest.mark.slow(5)
def test_dg_launches_a_partition_and_a_range(clone: Clone):
    before = YESTERDAY - timedelta(days=1)
    ended = clone.command(
        "dg", "launch", "--assets", "group:raw or group:staging", "--partition", str(before), cwd=clone.root
    )
    assert ended.returncode == 0, ended.stderr
    printed = (ended.stdout + ended.stderr).splitlines()
    assert len(printed) < 10
    # After six o'clock yesterday is missing, which `is_fresh` warns of.
    assert all(" - dagster - INFO - " in line or "is_fresh" in line for line in printed)
    assert clone.days("staging/orders") == [before]
    dg(clone, "launch", "--assets", "*", "--partition-range", f"{before}...{YESTERDAY}")
    assert clone.days("marts/revenue") == [before, YESTERDAY]
    assert (clone.lake / WAREHOUSE).exists()


def test_dagster_materializes_a_partition_of_everything(clone: Clone):
    day = YESTERDAY - timedelta(days=4)
    ended = clone.dagster("--partition", str(day))
    assert ended.returncode == 0, ended.stderr
    assert day in clone.days("marts/revenue")


@pytest.mark.slow(3)
def test_an_asset_that_dg_scaffolds_loads(clone: Clone):
    dg(clone, "scaffold", "defs", "dagster.asset", "toy/extra.py")
    dg(clone, "check", "defs")
    assert "extra" in listed(clone, "assets")


def test_sources_can_be_left_out(tmp_path: Path):
    clone = Clone(tmp_path)
    other = clone.root / "mds_assets/defs/other"
    other.mkdir()
    (other / "raw.py").write_text("raise RuntimeError('it needs what is not here')")
    clone.environment["MDS_SOURCES"] = "toy"
    assert listed(clone, "assets") >= {"raw/orders", "warehouse"}
    shown = clone.command("mds", "show")
    assert shown.returncode == 0, shown.stderr


def test_two_tables_of_one_name_are_named_with_their_files(tmp_path: Path):
    other = toy.orders.with_attributes()
    with pytest.raises(DefinitionError) as refused:
        build.build_definitions(Definitions(assets=[toy.orders, other], resources={"shop": []}))
    file = Path(toy.__file__)
    assert refused.value.message == (
        f"raw/orders is defined twice, in {file} and in {file}: rename one of them, such as raw/<source>_orders."
    )


IT = [column("id", "BIGINT", "It.")]


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        (
            {"window": {"sold": "staging/ordesr"}},
            "reads staging/ordesr, which is not defined: did you mean staging/orders?",
        ),
        ({"current": {"sold": "raw/quux"}}, "reads raw/quux, which is not defined: known tables are raw/orders."),
        (
            {
                "same_day": {"sold": "staging/orders"},
                "columns": table(IT, reconciles=Reconciliation("staging/order", "FROM rows", "FROM in_window")),
            },
            "reconciles with staging/order, which declares no columns: did you mean staging/orders?",
        ),
    ],
    ids=["window", "current", "reconciles"],
)
def test_a_table_that_is_not_defined_cannot_be_read(reads: dict[str, Any], message: str):
    options: dict[str, Any] = {"columns": IT, "name": "revenue"} | reads
    revenue = mart(**options)(lambda sold: sold)
    with pytest.raises(DefinitionError) as refused:
        build.build_definitions(Definitions(assets=[toy.orders, toy.staged, revenue], resources={"shop": []}))
    assert refused.value.message == f"marts/revenue {message}"


def test_a_table_may_follow_an_asset_that_is_defined_elsewhere(tmp_path: Path):
    (tmp_path / "orders.sql").write_text("FROM orders")
    staged = staging_table(
        "orders", reads=["raw/orders"], columns=IT, sql=str(tmp_path / "orders.sql"), deps=["nightly_export"]
    )
    built = build.build_definitions(Definitions(assets=[toy.orders, staged], resources={"shop": []}))
    assert AssetKey("nightly_export") in built.resolve_all_asset_keys()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "other = [column('id', 'BIGNIT', 'It.')]",
            "mds_assets/defs/other/tables.py:4: column 'id' declares type 'BIGNIT'; known types are BIGINT, ",
        ),
        (
            "other = staging_table('other', reads=['raw/orders'], columns=[column('id', 'BIGINT', 'It.')])",
            "mds_assets/defs/other/tables.py:4: staging/other has no query: write ",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_one_line_with_its_place(tmp_path: Path, file: str, message: str):
    clone = Clone(tmp_path)
    other = clone.root / "mds_assets/defs/other"
    other.mkdir()
    imports = "from mds_assets.stack.blocks import staging_table\nfrom mds_assets.stack.table import column\n"
    (other / "tables.py").write_text(f"{imports}\n{file}\n")
    for words in (["mds", "run"], ["dagster", "asset", "list", "-m", "mds_assets.definitions"]):
        ended = clone.command(*words)
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"Error: {message}")
        assert ended.stderr.count("\n") == 1


def test_the_newest_rows_of_a_table_without_a_key_are_refused(tmp_path: Path):
    (tmp_path / "orders.sql").write_text("FROM orders")
    staged = staging_table("orders", reads=["raw/orders"], columns=IT, sql=str(tmp_path / "orders.sql"))
    revenue = mart(columns=IT, name="revenue", latest={"sold": "staging/orders"})(lambda sold: sold)
    with pytest.raises(DefinitionError) as refused:
        build.build_definitions(Definitions(assets=[toy.orders, staged, revenue], resources={"shop": []}))
    assert refused.value.message == (
        "marts/revenue has latest={'sold': 'staging/orders'}, but staging/orders has no key: give staging/orders a "
        "key=, or read all its rows with window={'sold': 'staging/orders'}."
    )


def test_a_project_without_any_source_loads_and_runs(tmp_path: Path):
    clone = Clone(tmp_path, with_toy=False)
    dg(clone, "check", "defs")
    assert listed(clone, "assets") == {"warehouse"}
    for words in (["mds", "run"], ["mds", "show"]):
        ended = clone.command(*words)
        assert ended.returncode == 0, ended.stderr


def test_nothing_of_the_stack_imports_a_source(tmp_path: Path):
    clone = Clone(tmp_path, with_toy=False)
    modules = [
        ".".join(file.relative_to(clone.root).with_suffix("").parts)
        for file in (clone.root / "mds_assets/stack").rglob("*.py")
        if "celery" not in file.parts and file.name != "__init__.py"
    ]
    code = f"import importlib\nfor name in {sorted(modules)}: importlib.import_module(name)"
    ended = clone.command("python", "-c", code)
    assert ended.returncode == 0, ended.stderr
