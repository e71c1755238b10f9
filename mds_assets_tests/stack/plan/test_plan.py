"""Promises of plans: they name exactly what is missing or stale, and why; the runs they propose mend exactly that."""

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from dagster import AssetKey, DagsterInstance
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mds_assets.stack.blocks import mart, staging_table
from mds_assets.stack.lake import Lake
from mds_assets.stack.names import PROVENANCE
from mds_assets.stack.partitions import days_between
from mds_assets.stack.plan.heal import heal
from mds_assets.stack.plan.plan import Plan, make_plan
from mds_assets.stack.plan.runs import Run
from mds_assets.stack.plan.states import TO_MAKE, State
from mds_assets.stack.provenance import Inputs, Provenance
from mds_assets_tests.runs import Rows, Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.toy_lakes import LAYERS, built_lake, copy_of, runs_in

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
DAYS = days_between(YESTERDAY - timedelta(days=11), YESTERDAY)
TABLES = ("raw/orders", "staging/orders", "staging/orders_now", "marts/revenue")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve days of the toy."""
    return built_lake(tmp_path_factory.mktemp("built"), DAYS[0], DAYS[-1])


@pytest.fixture
def runs(built: Path, tmp_path: Path) -> Runs:
    """A copy of them: other modification times, other inodes."""
    return copy_of(built, tmp_path)


def plan_of(runs: Runs, first: date | None = None, **options: Any) -> Plan:
    return make_plan(runs.definitions, Lake(str(runs.lake)), first, **options)


def states_of(plan: Plan, table: str) -> dict[State, list[int]]:
    """The partitions that are not there, by state: days as indices into DAYS, -1 for a table without days."""
    found: dict[State, list[int]] = {}
    for partition, cell in plan.states.cells[AssetKey(table.split("/"))].items():
        if cell.state != State.THERE:
            found.setdefault(cell.state, []).append(DAYS.index(partition) if partition else -1)
    return found


def reason_of(plan: Plan, table: str, day: int | None) -> str:
    return plan.states.cells[AssetKey(table.split("/"))][None if day is None else DAYS[day]].reason


def runs_of(plan: Plan) -> list[tuple[int, int, set[str]]]:
    return [
        (DAYS.index(run.first), DAYS.index(run.last), {key.to_user_string() for key in run.keys}) for run in plan.runs
    ]


def make(runs: Runs) -> Callable[[Run, int], str]:
    """Make a planned run."""

    def run(each: Run, _left: int) -> str:
        result = runs.definitions.resolve_job_def("daily_refresh").execute_in_process(
            instance=DagsterInstance.ephemeral(),
            asset_selection=each.keys,
            tags={
                "dagster/asset_partition_range_start": str(each.first),
                "dagster/asset_partition_range_end": str(each.last),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        return "" if result.success else "failed"

    return run


def healed(
    runs: Runs, acts_on: Collection[State] = TO_MAKE, make_run: Callable[[Run, int], str] | None = None
) -> tuple[int, list[str]]:
    return heal(
        lambda given_up, states, only: plan_of(runs, DAYS[0], given_up=given_up, acts_on=states, selected=only),
        acts_on,
        make_run or make(runs),
    )


def file_of(runs: Runs, table: str, day: int | None) -> Path:
    (file,) = (runs.lake / table / (f"day={DAYS[day]}" if day is not None else "")).glob("*.parquet")
    return file


def rewrite(file: Path, **provenance: Any) -> None:
    """Write a file again with another provenance, as another version of the project would have."""
    table = pq.ParquetFile(file).read()
    made_from = Provenance.from_json(pq.read_metadata(file).metadata[PROVENANCE.encode()].decode())
    assert made_from
    other = replace(made_from, **provenance, version="")
    pq.write_table(table.replace_schema_metadata({PROVENANCE: other.to_json()}), file)


def tables(runs: Runs) -> dict[str, Rows]:
    """All rows of all tables; of raw, without the id of the load."""
    rows = {table: runs.rows(table) for table in ("staging/orders", "marts/revenue")}
    now = pq.ParquetFile(runs.lake / "staging/orders_now/data.parquet").read().to_pylist()
    return rows | {"staging/orders_now": sorted(tuple(row.values()) for row in now)}


def test_a_copied_lake_is_as_it_was(runs: Runs):
    plan = plan_of(runs)
    assert plan.days == DAYS
    assert all(states_of(plan, table) == {} for table in TABLES)
    assert (plan.runs, plan.requests) == ([], [])


def test_the_range_is_everything_since_the_first_landed_day_or_the_window_of_an_empty_lake(tmp_path: Path, runs: Runs):
    assert plan_of(runs).days[0] == DAYS[0]
    empty = plan_of(runs_in(tmp_path / "empty"))
    assert empty.days == DAYS[-7:]
    assert states_of(empty, "marts/revenue") == {State.MISSING: list(range(5, 12))}
    assert states_of(empty, "staging/orders_now") == {State.NOT_OBSERVABLE: [-1]}
    assert runs_of(empty)[0][:2] == (5, 11)


def test_a_raw_day_that_is_gone_takes_whatever_reads_it_along(runs: Runs):
    shutil.rmtree(runs.lake / f"raw/orders/day={DAYS[2]}")
    plan = plan_of(runs)
    assert states_of(plan, "raw/orders") == {State.MISSING: [2]}
    assert states_of(plan, "staging/orders") == {State.STALE: [2]}
    assert reason_of(plan, "staging/orders", 2) == f"raw/orders of {DAYS[2]} will be made"
    assert reason_of(plan_of(runs, acts_on=[State.STALE]), "staging/orders", 2) == f"raw/orders of {DAYS[2]} is gone"
    assert states_of(plan, "marts/revenue") == {State.STALE: list(range(2, 9))}
    assert reason_of(plan, "marts/revenue", 4) == f"staging/orders of {DAYS[2]} will be made"
    assert states_of(plan, "staging/orders_now") == {State.STALE: [-1]}
    assert runs_of(plan) == [
        (2, 2, {"raw/orders", "staging/orders", "staging/orders_now"}),
        (2, 8, {"marts/revenue"}),
    ]


def test_a_second_load_makes_its_day_stale(runs: Runs):
    assert runs.materialise(DAYS[3], layers=["raw"]).success
    plan = plan_of(runs)
    assert states_of(plan, "raw/orders") == {}
    # The source also sent the orders of all later days: they landed as early rows.
    assert states_of(plan, "staging/orders") == {State.STALE: list(range(3, 12))}
    assert reason_of(plan, "staging/orders", 3) == f"raw/orders of {DAYS[3]} changed"


def test_what_is_made_again_from_the_same_inputs_makes_nothing_stale(runs: Runs):
    assert runs.materialise(DAYS[3], DAYS[5], layers=["staging"]).success
    plan = plan_of(runs)
    assert states_of(plan, "marts/revenue") == {}
    assert states_of(plan, "staging/orders_now") == {}


def test_days_with_early_rows_only_are_not_called_missing(built: Path, tmp_path: Path):
    runs = runs_in(tmp_path)
    assert runs.materialise(DAYS[0], DAYS[2], LAYERS).success
    plan = plan_of(runs)
    assert states_of(plan, "raw/orders") == {State.EARLY_ONLY: list(range(3, 12))}
    assert "earlier days" in reason_of(plan, "raw/orders", 3)
    assert healed(runs, acts_on={State.STALE}) == (0, [])
    assert healed(runs)[1] == []
    assert states_of(plan_of(runs), "raw/orders") == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "0" * 12}, "its code changed"),
        ({"declaration": "0" * 12}, "its declaration changed"),
        ({"settings": {"lookback_days": 14}}, "lookback_days was 14 and is 7"),
        ({"inputs": Inputs({})}, "staging/orders of "),
    ],
)
def test_an_older_version_of_the_project_makes_a_day_stale(runs: Runs, change: Mapping[str, Any], reason: str):
    rewrite(file_of(runs, "marts/revenue", 4), **change)
    plan = plan_of(runs)
    assert states_of(plan, "marts/revenue") == {State.STALE: [4]}
    assert reason in reason_of(plan, "marts/revenue", 4)
    assert runs_of(plan) == [(4, 4, {"marts/revenue"})]


def test_files_of_before_provenance_and_unreadable_ones_are_stale(runs: Runs):
    file = file_of(runs, "staging/orders", 1)
    pq.write_table(pq.ParquetFile(file).read().replace_schema_metadata(None), file)
    file_of(runs, "staging/orders", 6).write_bytes(b"PAR1")
    plan = plan_of(runs)
    assert states_of(plan, "staging/orders") == {State.STALE: [1, 6]}
    assert "does not say" in reason_of(plan, "staging/orders", 1)
    assert "cannot be read" in reason_of(plan, "staging/orders", 6)
    assert healed(runs)[1] == []
    assert plan_of(runs).runs == []


def test_edited_sql_and_marts_are_stale_and_their_comments_are_not(runs: Runs, tmp_path: Path):
    sql = (Path(toy.__file__).parent / "staging/orders.sql").read_text()

    def edited(name: str, text: str) -> Runs:
        (tmp_path / name).write_text(text)
        options: dict[str, Any] = {"reads": ["raw/orders"], "columns": toy.STAGING, "rejects": "id IS NULL"}
        other = runs_in(tmp_path, staged=staging_table("orders", sql=str(tmp_path / name), **options))
        return other

    assert plan_of(edited("comment.sql", f"-- New.\n{sql}\n")).runs == []
    plan = plan_of(edited("other.sql", sql.replace("'?'", "'none'")))
    assert sql.count("'?'") == 1
    assert states_of(plan, "staging/orders") == {State.STALE: list(range(12))}
    assert "its code changed" in reason_of(plan, "staging/orders", 0)

    @mart(columns=toy.REVENUE, latest={"orders": "staging/orders"}, tags={"mds/headline": "1"})
    def revenue(orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.group_by("country").agg(orders=pl.len().cast(pl.Int64), mean=pl.lit(1.0)).sort("country")

    plan = plan_of(runs_in(tmp_path, mart=revenue))
    assert (states_of(plan, "staging/orders"), states_of(plan, "marts/revenue")) == (
        {},
        {State.STALE: list(range(12))},
    )


def test_only_what_is_selected_is_made(runs: Runs):
    shutil.rmtree(runs.lake / f"raw/orders/day={DAYS[2]}")
    rewrite(file_of(runs, "marts/revenue", 4), code="0" * 12)
    plan = plan_of(runs, selected={AssetKey(["marts", "revenue"])})
    assert list(plan.states.cells) == [AssetKey(["marts", "revenue"])]
    assert runs_of(plan) == [(4, 4, {"marts/revenue"})]
    assert runs_of(plan_of(runs, acts_on={State.MISSING}))[0] == (
        2,
        2,
        {"raw/orders", "staging/orders", "staging/orders_now"},
    )


def test_days_in_a_row_are_one_run_for_all_tables(runs: Runs):
    for table in ("raw/orders", "staging/orders", "marts/revenue"):
        for day in (3, 4, 5, 11):
            shutil.rmtree(runs.lake / table / f"day={DAYS[day]}")
    assert runs_of(plan_of(runs)) == [
        (3, 5, {"raw/orders", "staging/orders"}),
        (11, 11, {"raw/orders", "staging/orders", "staging/orders_now"}),
        (3, 11, {"marts/revenue"}),
    ]


def test_a_failed_run_stops_only_what_reads_it(runs: Runs):
    for day in (1, 9):
        (runs.lake / f"staging/orders/day={DAYS[day]}/data.parquet").unlink()
    run = make(runs)
    number, failures = healed(
        runs, make_run=lambda each, left: "no space" if each.first == DAYS[1] == each.last else run(each, left)
    )
    assert failures == ["no space"]
    plan = plan_of(runs)
    assert states_of(plan, "staging/orders") == {State.MISSING: [1]}
    assert states_of(plan, "marts/revenue") == {State.STALE: list(range(1, 8))}  # as those of day 9 were made
    assert number == 3


def test_requests_are_estimated_from_the_last_loads(runs: Runs):
    shutil.rmtree(runs.lake / f"raw/orders/day={DAYS[2]}")
    (requests,) = plan_of(runs).requests
    assert (requests.table, requests.days, requests.number) == ("raw/orders", 1, 0)


CHANGES = ("gone", "replaced", "aged", "unrecorded")


@settings(
    max_examples=6,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(CHANGES), st.sampled_from(["raw/orders", "staging/orders", "marts/revenue"]),
            st.integers(0, 11),
        ),
        min_size=1, max_size=6, unique_by=lambda change: change[1:],
    )
)  # fmt: skip
@pytest.mark.slow(12)
def test_any_holes_and_edits_end_equal_to_a_lake_built_from_nothing(
    built: Path, changes: Iterable[tuple[str, str, int]]
):
    with TemporaryDirectory() as folder:
        runs = runs_in(Path(folder, "mended"))
        shutil.copytree(built, runs.lake)
        for change, table, day in changes:
            file = file_of(runs, table, day)
            if change == "gone":
                file.unlink()
            elif table == "raw/orders":
                # Another load in its place: fewer rows, other totals.
                rows = pl.DataFrame(pq.ParquetFile(file).read())
                rows.head(2).with_columns(total=pl.col("total") + 1).write_parquet(file)
            elif change == "unrecorded":
                pq.write_table(pq.ParquetFile(file).read().replace_schema_metadata(None), file)
            else:
                rewrite(file, **({"code": "0" * 12} if change == "aged" else {"inputs": Inputs({})}))
        assert healed(runs)[1] == []
        assert plan_of(runs, DAYS[0]).runs == []
        new = runs_in(Path(folder, "new"))
        shutil.copytree(runs.lake / "raw", new.lake / "raw")
        assert new.materialise(DAYS[0], DAYS[-1], ("staging", "marts")).success
        assert tables(runs) == tables(new)
