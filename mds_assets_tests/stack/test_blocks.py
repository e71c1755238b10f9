"""Promises of the building blocks: what lands, what is staged, what is current, what a mart is given."""

import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import (
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AutomationCondition,
    Config,
    DagsterEventType,
    DagsterInstance,
    ResourceParam,
    asset,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

import mds_assets.stack.settings as stack_settings
from mds_assets.stack.blocks import AsOf, current_table, mart, newest_rows, raw_table, staging_table
from mds_assets.stack.blocks import raw as raw_block
from mds_assets.stack.lake import Lake
from mds_assets.stack.landing import days as landing_days
from mds_assets.stack.landing.days import Days
from mds_assets.stack.partitions import DAILY, SINGLE_RUN, days_between, to_days
from mds_assets.stack.table import SchemaError, column, declared_table, table
from mds_assets_tests.runs import Runs, evaluations, failure, metadata
from mds_assets_tests.stack import toy

D1, D2, D3, D4, D5 = days_between(date(2024, 2, 27), date(2024, 3, 2))  # around a leap day
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
RAW_ORDERS = AssetKey(["raw", "orders"])


def order(
    id: int | None, day: date, total: int | None = 100, country: str | None = "A", hour: int = 12
) -> dict[str, Any]:
    """An order that changed on the day."""
    at = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    return {"id": id, "country": country, "total": total, "updated_at": at}


def shop(folder: Path, *orders: dict[str, Any]) -> Runs:
    """The toy source with these orders."""
    return Runs.of(folder, toy.orders, toy.staged, toy.current, toy.revenue, shop=list(orders))


def parquet(file: Path) -> pl.DataFrame:
    """One file's rows; Polars takes a bracket in a path for a pattern."""
    return pl.DataFrame(pq.ParquetFile(file).read())


def events(instance: DagsterInstance, kind: DagsterEventType) -> int:
    """How many events of this kind the newest run has."""
    (record,) = instance.get_run_records(limit=1)
    logged = instance.all_logs(record.dagster_run.run_id)
    return sum(entry.dagster_event_type == kind for entry in logged if entry.dagster_event_type)


# --- raw_table


def test_rows_after_the_range_land_in_their_own_day_as_early_rows(tmp_path: Path):
    runs = shop(tmp_path, order(1, D1), order(2, D2), order(3, D4), order(4, D4))
    facts = metadata(runs.materialise(D1, D2, ["raw"]), "raw/orders", D2)
    assert [row[0] for row in runs.rows("raw/orders")] == [1, 2, 3, 4]
    assert [row[0] for row in runs.rows("raw/orders", D4)] == [3, 4]
    assert [file.name.endswith(".early.parquet") for file in (runs.lake / f"raw/orders/day={D4}").iterdir()] == [True]
    assert (facts["rows_landed"], facts["rows_early"], facts["rows_before"]) == (1, 2, 0)


def test_early_rows_are_observations_of_their_day_once_it_runs(tmp_path: Path):
    """The shop's present state no longer has the total that was seen early."""
    early = shop(tmp_path, order(1, D1), order(2, D2, total=5), order(3, D2, total=7))
    early.materialise(D1)
    later = shop(tmp_path, order(2, D2, total=6, hour=13), order(3, D5))
    later.materialise(D2)
    assert [row[:3] for row in later.rows("staging/orders", D2)] == [(2, "A", 6), (3, "A", 7)]


def test_early_rows_alone_land_no_day(tmp_path: Path):
    runs = shop(tmp_path, order(1, D1), order(2, D3))
    with DagsterInstance.ephemeral() as instance:
        runs.materialise(D1, instance=instance)
        assert instance.get_materialized_partitions(RAW_ORDERS) == {str(D1)}
    lake = Lake(str(runs.lake))
    assert lake.days(RAW_ORDERS) == [D1]
    assert lake.early_days(RAW_ORDERS) == [D3]
    assert lake.newest_day(RAW_ORDERS) == D1


def test_a_day_staged_from_early_rows_alone_is_missing_from_a_window(tmp_path: Path):
    runs = shop(tmp_path, order(1, D1), order(2, D2))
    runs.materialise(D1)
    runs.materialise(D2, layers=["staging"])
    assert runs.rows("staging/orders", D2)
    checked = evaluations(runs.materialise(D2, layers=["marts"]))["marts/revenue window_is_complete"]
    assert not checked.passed
    assert str(D2) in str(checked.metadata["missing"].value)
    assert str(D1) not in str(checked.metadata["missing"].value)


def test_a_day_of_early_rows_alone_is_not_fresh(tmp_path: Path):
    before = YESTERDAY - timedelta(days=1)
    two_before = before - timedelta(days=1)
    runs = shop(tmp_path, order(1, two_before), order(2, before), order(3, YESTERDAY))
    runs.materialise(two_before)
    runs.materialise(before, YESTERDAY, layers=["staging"])
    checked = runs.checks()
    for name in ("raw/orders", "staging/orders"):
        assert not checked[f"{name} is_fresh"].passed
    runs.materialise(before, YESTERDAY)
    assert runs.checks()["staging/orders is_fresh"].passed


def test_rows_before_the_range_are_counted_and_not_landed(tmp_path: Path):
    @raw_table(columns=toy.RAW, day="updated_at")
    def orders(days: Days) -> list[dict[str, Any]]:
        """All there ever were."""
        return [order(1, D1), order(2, D3)]

    runs = Runs.of(tmp_path, orders)
    facts = metadata(runs.materialise(D2, D3), "raw/orders", D3)
    assert runs.days("raw/orders") == [D2, D3]
    assert [row[0] for row in runs.rows("raw/orders")] == [2]
    assert facts["rows_before"] == 1


def test_a_run_adds_a_load_and_a_day_without_rows_gets_a_file(tmp_path: Path):
    runs = shop(tmp_path, order(1, D1))
    for _ in range(2):
        runs.materialise(D1, D2, ["raw"])
    for day, rows in ((D1, 2), (D2, 0)):
        assert len(list((runs.lake / f"raw/orders/day={day}").iterdir())) == 2
        assert len(runs.rows("raw/orders", day)) == rows


def stock(fetched: list[Days], partitioned: bool = True) -> AssetsDefinition:
    """A snapshot, which notes each time that the source is asked."""

    @raw_table(columns=[column("id", "BIGINT", "A thing.")], key=["id"], day=None, partitioned=partitioned)
    def things(days: Days) -> list[dict[str, Any]]:
        """What is there now."""
        fetched.append(days)
        return [{"id": 1}, {"id": 2}]

    return things


def test_a_snapshot_belongs_to_the_newest_day_that_ended(tmp_path: Path):
    fetched: list[Days] = []
    runs = Runs.of(tmp_path, stock(fetched))
    ran = runs.materialise(YESTERDAY - timedelta(days=2), YESTERDAY)
    assert runs.days("raw/things") == [YESTERDAY]
    assert [row[0] for row in runs.rows("raw/things", YESTERDAY)] == [1, 2]
    assert metadata(ran, "raw/things", YESTERDAY)["rows_landed"] == 2
    for day in days_between(YESTERDAY - timedelta(days=2), YESTERDAY - timedelta(days=1)):
        facts = metadata(ran, "raw/things", day)
        assert (facts["rows_landed"], facts["observable"]) == (0, False)
    assert all(check.passed for check in runs.checks().values())


def test_nothing_is_fetched_for_days_that_can_no_longer_be_observed(tmp_path: Path):
    fetched: list[Days] = []
    runs = Runs.of(tmp_path, stock(fetched))
    ran = runs.materialise(D1, D2)
    assert fetched == []
    assert not runs.lake.joinpath("raw").exists()
    assert metadata(ran, "raw/things", D1)["observable"] is False
    checked = evaluations(ran)
    assert not any(check.passed for check in checked.values())
    assert {check.severity for check in checked.values()} == {AssetCheckSeverity.WARN}


def test_a_window_over_a_snapshot_is_never_complete_before_its_first_day(tmp_path: Path):
    seen: list[list[date]] = []

    def looks(things: pl.LazyFrame, as_of: AsOf) -> pl.LazyFrame:
        seen.append(list(as_of.landed))
        return things.select("id").unique()

    staged = sql_table(
        tmp_path, "things", "FROM things SELECT id, day", ["raw/things"], [column("id", "BIGINT", "It.")]
    )
    looked = mart(columns=[column("id", "BIGINT", "It.")], window={"things": "staging/things"}, name="looks")(looks)
    runs = Runs.of(tmp_path, stock([]), staged, looked)
    ran = runs.materialise(YESTERDAY - timedelta(days=8), YESTERDAY)
    complete = evaluations(ran)["marts/looks window_is_complete"]
    assert not complete.passed
    assert complete.metadata["days_missing"].value == 14  # nine as-of days look back on fifteen
    assert seen[-1] == [YESTERDAY]


def test_a_snapshot_without_partitions_adds_a_file_a_run(tmp_path: Path):
    fetched: list[Days] = []
    runs = Runs.of(tmp_path, stock(fetched, partitioned=False))
    assert not any(check.passed for check in runs.checks().values())
    runs.materialise(D1)
    runs.materialise(D1, D3)
    files = list((runs.lake / "raw/things").iterdir())
    assert len(files) == len(fetched) == 2
    assert all(parquet(file)["id"].to_list() == [1, 2] for file in files)
    checked = runs.checks()
    assert checked
    assert all(check.passed for check in checked.values())


def by_day(day: str, **options: Any) -> AssetsDefinition:
    """A raw table of orders that is declared by this day."""

    @raw_table(columns=toy.RAW, day=day, **options)
    def orders(days: Days) -> list[object]:
        """Nothing."""
        return []

    return orders


@pytest.mark.parametrize("option", [{"partitioned": False}, {"partitions_def": None}])
def test_a_table_by_day_without_partitions_is_refused(option: dict[str, Any]):
    ((name, value),) = option.items()
    with pytest.raises(SchemaError, match=rf"raw/orders has day='updated_at' and {name}={value}: .* day=None"):
        by_day("updated_at", **option)


@pytest.mark.parametrize(
    ("day", "lies_in_day"),
    [
        ("updated_at", True),
        ("CAST(updated_at AS DATE)", True),
        ("updated_at AT TIME ZONE 'UTC'", True),
        ("to_timestamp(total)", True),
        ("coalesce(updated_at, seen_at)", False),  # not declared, and checks read declared columns only
        ("seen_at", False),
        ("greatest(country, 'A')", False),  # text, which is cast as it lands
        ("now()", False),  # of no row
    ],
)
def test_rows_are_checked_to_lie_in_their_day_if_it_is_a_time_of_declared_columns(day: str, lies_in_day: bool):
    (spec,) = by_day(day).specs
    rules = declared_table("raw/orders", spec.metadata).rules
    assert rules == ((f"{day} >= day AND {day} < day + 1",) if lies_in_day else ())


@pytest.mark.parametrize(("day", "why"), [("updated_at)", "syntax error"), ("gratest(updated_at)", "gratest")])
def test_a_day_that_is_no_sql_is_refused_in_one_line(day: str, why: str):
    with pytest.raises(SchemaError) as refused:
        by_day(day)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"raw/orders has day={day!r}, which is not DuckDB SQL: ")
    assert why in line


def test_a_snapshot_without_partitions_lands_while_midnight_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=1)

    @raw_table(columns=[column("id", "BIGINT", "A thing.")], day=None, partitioned=False)
    def things(days: Days) -> list[dict[str, Any]]:
        """What is there now."""
        monkeypatch.setattr(landing_days, "datetime", Tomorrow)
        return [{"id": 1}]

    runs = Runs.of(tmp_path, things)
    runs.materialise(YESTERDAY)
    (file,) = (runs.lake / "raw/things").iterdir()
    assert parquet(file)["id"].to_list() == [1]


class Basket(Config):
    """Run config of a test."""

    size: int = 3


def test_context_config_and_resources_reach_the_source(tmp_path: Path):
    @raw_table(columns=[column("id", "BIGINT", "A number.")], day="at")
    def things(context: Any, days: Days, config: Basket, prices: ResourceParam[list[int]]) -> Iterator[dict[str, Any]]:
        """What reached the source."""
        days.report(step=context.asset_key.to_user_string())
        yield {"id": config.size, "at": days.start}
        yield from ({"id": price, "at": days.start} for price in prices)

    runs = Runs.of(tmp_path, things, prices=[10, 20])
    ran = runs.materialise(D1)
    assert sorted(row[0] for row in runs.rows("raw/things")) == [3, 10, 20]
    assert metadata(ran, "raw/things", D1)["step"] == "raw/things"


class BusyError(Exception):
    """An error that a source classified."""

    retryable = True


def failing(error: Exception, *, at_once: bool) -> AssetsDefinition:
    """A raw table whose source fails: while it is read, or as it is called."""

    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": 1, "at": datetime.now(UTC)}
        raise error

    @raw_table(columns=[column("id", "BIGINT", "A number.")], day="at")
    def things(days: Days) -> Iterator[dict[str, Any]]:
        """Nothing."""
        if at_once:
            raise error
        return rows()

    return things


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("error", [BusyError("busy"), ConnectionError("no route"), TimeoutError("too slow")])
def test_what_may_pass_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, at_once: bool):
    monkeypatch.setattr(raw_block, "_RETRY_SECONDS", 0)
    runs = Runs.of(tmp_path, failing(error, at_once=at_once))
    with DagsterInstance.ephemeral() as instance:
        ran = runs.materialise(D1, instance=instance, raise_on_error=False)
        assert events(instance, DagsterEventType.STEP_UP_FOR_RETRY) == 2
    assert str(error) in failure(ran)
    assert runs.days("raw/things") == []


@pytest.mark.parametrize("at_once", [False, True])
def test_what_will_not_pass_is_one_line_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool):
    secret = stack_settings.settings.model_copy(update={"alert_webhook": SecretStr("https://hooks.acme.org/s3cret")})
    monkeypatch.setattr(stack_settings, "settings", secret)
    error = ValueError("refused https://hooks.acme.org/s3cret\nand ghp_1234567890abcdef")
    runs = Runs.of(tmp_path, failing(error, at_once=at_once))
    with DagsterInstance.ephemeral() as instance:
        ran = runs.materialise(D1, instance=instance, raise_on_error=False)
        assert events(instance, DagsterEventType.STEP_UP_FOR_RETRY) == 0
        logged = str(instance.all_logs(ran.run_id))
    assert failure(ran) == "raw/things: ValueError: refused *** and ***"
    assert "s3cret" not in logged
    assert "ghp_1234567890abcdef" not in logged


# --- staging_table


def sql_table(
    folder: Path, name: str, query: str, reads: list[str], columns: list[Any], **options: Any
) -> AssetsDefinition:
    """A staging table of this query."""
    file = folder / f"{name}.sql"
    file.write_text(query)
    return staging_table(name, reads=reads, columns=columns, sql=str(file), **options)


def test_rejected_rows_are_counted_day_by_day_and_kept_from_the_query(tmp_path: Path):
    runs = shop(tmp_path, order(1, D1), order(None, D1), order(None, D3), order(2, D3), order(None, D3))
    ran = runs.materialise(D1, D3)
    assert [metadata(ran, "staging/orders", day)["rows_rejected"] for day in (D1, D2, D3)] == [1, 0, 2]
    assert [row[0] for row in runs.rows("staging/orders")] == [1, 2]
    assert all(check.passed for name, check in evaluations(ran).items() if name.startswith("staging/orders rec"))


def test_a_reject_that_is_null_passes(tmp_path: Path):
    staged = sql_table(
        tmp_path, "kept", "SELECT id, day FROM orders", ["raw/orders"], [column("id", "BIGINT", "It.")],
        rejects="total < 0",
    )  # fmt: skip
    runs = Runs.of(tmp_path, toy.orders, staged, shop=[order(1, D1, total=None), order(2, D1, total=-1)])
    runs.materialise(D1)
    assert runs.rows("staging/kept") == [(1, D1)]


def test_a_query_joins_several_tables_of_the_day(tmp_path: Path):
    @raw_table(columns=[column("code", "VARCHAR", "A country."), column("name", "VARCHAR", "Its name.")], day="at")
    def countries(days: Days) -> Iterator[dict[str, Any]]:
        """Countries, one row a day."""
        for day in days.dates:
            yield {"code": "A", "name": f"Atlantis {day}", "at": day}

    joined = sql_table(
        tmp_path,
        "joined",
        "SELECT id, name, day FROM orders JOIN countries USING (day) WHERE country = code",
        ["raw/orders", "raw/countries"],
        [column("id", "BIGINT", "It."), column("name", "VARCHAR", "The country.")],
    )
    runs = Runs.of(
        tmp_path, toy.orders, countries, joined, shop=[order(1, D1), order(2, D2), order(3, D2, country="B")]
    )
    runs.materialise(D1, D2)
    assert runs.rows("staging/joined") == [(1, f"Atlantis {D1}", D1), (2, f"Atlantis {D2}", D2)]


def test_two_tables_that_the_query_would_call_the_same_are_refused(tmp_path: Path):
    with pytest.raises(SchemaError, match=r"staging/both.*raw/orders.*shop/orders"):
        sql_table(tmp_path, "both", "FROM orders", ["raw/orders", "shop/orders"], [column("id", "BIGINT", "It.")])


def test_a_table_without_partitions_is_staged_without_them(tmp_path: Path):
    staged = sql_table(
        tmp_path, "things", "SELECT DISTINCT id FROM things", ["raw/things"], [column("id", "BIGINT", "It.")],
        key=["id"], rejects="id = 1", partitions_def=None,
    )  # fmt: skip
    runs = Runs.of(tmp_path, stock([], partitioned=False), staged)
    runs.materialise(D1)
    ran = runs.materialise(D1)
    assert parquet(runs.lake / "staging/things/data.parquet")["id"].to_list() == [2]
    (event,) = [e for e in ran.get_asset_materialization_events() if e.asset_key == AssetKey(["staging", "things"])]
    assert event.materialization.metadata["rows_rejected"].value == 2
    assert all(check.passed for check in runs.checks().values())


def test_staging_shows_its_query():
    (spec,) = toy.staged.specs
    assert "QUALIFY row_number()" in str(spec.metadata["sql"].value)


# --- current_table

Observed = dict[date, dict[int, int]]


def account_of(key: int) -> str:
    """Whose thing it is."""
    return "ab"[key % 2]


def listed_from(state: Observed) -> AssetsDefinition:
    """The same as `staged_from`, with whose each thing is."""
    columns = [
        column("account", "VARCHAR", "Whose."),
        column("id", "BIGINT", "A thing."),
        column("value", "BIGINT", "?"),
    ]

    @asset(
        key=["staging", "listed"],
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        io_manager_key="duckdb_io_manager",
        metadata=table(columns, key=["account", "id"]).metadata,
    )
    def listed(context: AssetExecutionContext) -> pa.Table:
        rows = [
            {"account": account_of(key), "id": key, "value": value, "day": day}
            for day in to_days(context.partition_keys)
            for key, value in state.get(day, {}).items()
        ]
        types = [("account", pa.string()), ("id", pa.int64()), ("value", pa.int64()), ("day", pa.date32())]
        return pa.Table.from_pylist(rows, schema=pa.schema(types))

    return listed


def history_of(state: Observed) -> list[tuple[str, int, int, date, date, bool]]:
    """Each key with its newest value, its first and last day, and whether its account's newest day has it."""
    days = {key: sorted(day for day in state if key in state[day]) for of_day in state.values() for key in of_day}
    newest_of = {
        account: max((seen[-1] for key, seen in days.items() if account_of(key) == account), default=None)
        for account in "ab"
    }
    return sorted(
        (account_of(key), key, state[seen[-1]][key], seen[0], seen[-1], seen[-1] == newest_of[account_of(key)])
        for key, seen in days.items()
    )


def staged_from(state: Observed) -> AssetsDefinition:
    """A staging table whose days are what `state` says at the time of the run."""
    schema = pa.schema([("id", pa.int64()), ("value", pa.int64()), ("day", pa.date32())])

    @asset(
        key=["staging", "things"],
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        io_manager_key="duckdb_io_manager",
        metadata=table(
            [column("id", "BIGINT", "A thing."), column("value", "BIGINT", "Its value.")], key=["id"]
        ).metadata,
    )
    def things(context: AssetExecutionContext) -> pa.Table:
        return pa.Table.from_pylist(
            [
                {"id": key, "value": value, "day": day}
                for day in to_days(context.partition_keys)
                for key, value in state.get(day, {}).items()
            ],
            schema=schema,
        )

    return things


def newest_of(state: Observed) -> list[tuple[int, int, date]]:
    """Each key with its value of the newest day that has it, in plain Python."""
    newest = {key: (value, day) for day in sorted(state) for key, value in state[day].items()}
    return sorted((key, value, day) for key, (value, day) in newest.items())


DAYS = days_between(date(2024, 2, 27), date(2024, 3, 2))
RUNS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 9), max_size=3), min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=RUNS)
# A key leaves the first day that had it: alone, and as its day runs together with others.
@example(runs=[(0, [{1: 1}, {1: 2}]), (0, [{}])])
@example(runs=[(0, [{1: 1}, {1: 2}]), (0, [{}, {1: 2}])])
# And its newest one.
@example(runs=[(0, [{1: 1}, {1: 2}]), (1, [{}])])
# An account's newest day lacks a key, and another account's days do not matter.
@example(runs=[(0, [{1: 1, 3: 1, 2: 1}, {1: 1}]), (2, [{2: 1}])])
@pytest.mark.slow(15)
def test_a_current_table_is_what_a_rebuild_from_all_days_gives(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, list[dict[int, int]]]]
):
    """Days in any order, twice, as ranges, with keys that disappear from a day."""
    state: Observed = {}
    current = current_table(
        "things_now",
        reads="staging/things",
        columns=[column("id", "BIGINT", "A thing."), column("value", "BIGINT", "Its value.")],
        key=["id"],
    )
    known = current_table(
        "things_known",
        reads="staging/listed",
        columns=[
            column(name, kind, "?") for name, kind in (("account", "VARCHAR"), ("id", "BIGINT"), ("value", "BIGINT"))
        ],
        key=["account", "id"],
        history=True,
        listed_by=["account"],
    )
    built = Runs.of(tmp_path_factory.mktemp("current"), staged_from(state), current, listed_from(state), known)
    with DagsterInstance.ephemeral() as instance:
        for first, observed in runs:
            days = DAYS[first : first + len(observed)]
            state |= dict(zip(days, observed, strict=False))
            built.materialise(days[0], days[-1], instance=instance)
            made = parquet(built.lake / "staging/things_now/data.parquet")
            assert sorted(made.select("id", "value", "day").rows()) == newest_of(state)
            made = parquet(built.lake / "staging/things_known/data.parquet")
            columns = ["account", "id", "value", "first_seen", "last_seen", "is_listed"]
            assert made.columns == columns
            assert sorted(made.rows()) == history_of(state)


def test_a_current_table_without_days_of_a_run_is_rebuilt(tmp_path: Path):
    runs = shop(tmp_path, order(1, D1, total=1), order(2, D1), order(1, D3, total=3))
    runs.materialise(D1, D3, ["raw"])
    for day in (D3, D1):
        keys = [AssetKey(["staging", "orders"])]
        job = runs.definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(asset_selection=keys, partition_key=str(day), instance=DagsterInstance.ephemeral())
    job = runs.definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(asset_selection=[AssetKey(["staging", "orders_now"])], instance=DagsterInstance.ephemeral())
    made = parquet(runs.lake / "staging/orders_now/data.parquet")
    assert sorted(made.select("order_id", "cents", "day").rows()) == [(1, 3, D3), (2, 100, D1)]


def test_a_current_table_merges_days_that_earlier_runs_staged_only(tmp_path: Path):
    """As of a run that was killed in between, or in which another day of the range was not as declared."""
    runs = shop(tmp_path, order(1, D1, total=1), order(2, D2, total=2), order(3, D3, total=3))
    assert runs.materialise(D1).success
    runs.tables = frozenset({"raw/orders", "staging/orders"})
    assert runs.materialise(D2).success
    runs.tables = frozenset()
    assert runs.materialise(D3).success
    made = parquet(runs.lake / "staging/orders_now/data.parquet")
    assert sorted(made.select("order_id", "cents", "day").rows()) == [(1, 1, D1), (2, 2, D2), (3, 3, D3)]


def test_a_current_table_whose_key_may_be_null_is_what_a_rebuild_gives(tmp_path: Path):
    """A deleted account's things, say."""
    columns = [column("country", "VARCHAR", "Where.", nullable=True), column("id", "BIGINT", "?", nullable=True)]
    (tmp_path / "places.sql").write_text("SELECT country, id, day FROM orders")
    places = staging_table("places", reads=["raw/orders"], columns=columns, sql=str(tmp_path / "places.sql"))
    known = current_table("countries", reads="staging/places", columns=columns[:1], key=["country"], history=True)
    orders = [order(1, D1, country=None), order(2, D2, country="A"), order(3, D3, country=None)]
    runs = Runs.of(tmp_path, toy.orders, places, known, shop=orders)
    with DagsterInstance.ephemeral() as instance:
        for day in (D2, D3, D1, D2):
            runs.materialise(day, instance=instance)
    made = parquet(runs.lake / "staging/countries/data.parquet")
    assert sorted(made.rows(), key=str) == [("A", D2, D2), (None, D1, D3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"staging/now has no key: name the columns that identify a row, as in key=\['id'\]"),
        ({"key": ["id"], "listed_by": ["account"]}, r"staging/now has listed_by=\['account'\].*: add history=True"),
    ],
)
def test_a_current_table_that_cannot_be_made_is_refused(options: dict[str, Any], message: str):
    columns = [column("id", "BIGINT", "A thing."), column("account", "VARCHAR", "Whose.")]
    with pytest.raises(SchemaError, match=message):
        current_table("now", reads="staging/things", columns=columns, **options)


def test_a_current_table_declares_the_day_and_its_key_across_days():
    (spec,) = toy.current.specs
    assert spec.key == AssetKey(["staging", "orders_now"])
    assert spec.partitions_def is None
    assert [c.name for c in spec.metadata["dagster/column_schema"].columns][-1] == "day"


# --- mart

NUMBERS = table([column("id", "BIGINT", "A thing."), column("value", "BIGINT", "Its value.")], key=["id"])
WIDE: Observed = {
    D1 - timedelta(days=8): {1: 1},
    D1 - timedelta(days=6): {1: 2, 2: 2},
    D1 - timedelta(days=1): {3: 3},
    D1: {2: 4, 4: 4},
}


def seen_by(tmp_path: Path, **reads: Any) -> dict[str, list[tuple[Any, ...]]]:
    """What a mart as of D1 is given of `WIDE`, by parameter: its rows (id, value, day)."""
    given: dict[str, list[tuple[Any, ...]]] = {}
    state = dict(WIDE)

    def looks(**frames: pl.LazyFrame) -> pl.LazyFrame:
        given.update(
            {name: sorted(frame.select("id", "value", "day").collect().rows()) for name, frame in frames.items()}
        )
        return pl.LazyFrame(schema={"id": pl.Int64, "value": pl.Int64})

    current = current_table("things_now", reads="staging/things", columns=NUMBERS.columns, key=["id"])
    looked = mart(columns=NUMBERS, name="looks", **reads)(looks)
    runs = Runs.of(tmp_path, staged_from(state), current, looked)
    runs.materialise(min(WIDE), max(WIDE), ["staging"])
    runs.materialise(D1, layers=["marts"])
    return given


def test_a_mart_is_given_the_frames_it_names(tmp_path: Path):
    given = seen_by(
        tmp_path,
        latest={"newest": "staging/things"},
        window={"everything": "staging/things"},
        same_day={"today": "staging/things"},
        current={"now": "staging/things_now"},
    )
    assert given == {
        "newest": [(1, 2, D1 - timedelta(days=6)), (2, 4, D1), (3, 3, D1 - timedelta(days=1)), (4, 4, D1)],
        "everything": [
            (1, 2, D1 - timedelta(days=6)),
            (2, 2, D1 - timedelta(days=6)),
            (2, 4, D1),
            (3, 3, D1 - timedelta(days=1)),
            (4, 4, D1),
        ],
        "today": [(2, 4, D1), (4, 4, D1)],
        "now": [(1, 2, D1 - timedelta(days=6)), (2, 4, D1), (3, 3, D1 - timedelta(days=1)), (4, 4, D1)],
    }


def test_extra_days_lie_before_the_window(tmp_path: Path):
    given = seen_by(tmp_path, window={"everything": "staging/things"}, extra_days=2)
    assert (1, 1, D1 - timedelta(days=8)) in given["everything"]


def test_as_of_tells_the_day_the_window_and_the_landed_days(tmp_path: Path):
    seen: list[AsOf] = []

    def looks(orders: pl.LazyFrame, as_of: AsOf) -> pl.LazyFrame:
        seen.append(as_of)
        return orders.select(id="order_id", value="cents")

    looked = mart(columns=NUMBERS, name="looks", latest={"orders": "staging/orders"}, extra_days=1)(looks)
    runs = Runs.of(tmp_path, toy.orders, toy.staged, looked, shop=[order(1, D1), order(2, D2)])
    runs.materialise(D1 - timedelta(days=7))
    runs.materialise(D1)
    runs.materialise(D2, layers=["staging", "marts"])  # of early rows alone
    first, day, staged_early = seen
    assert first.day == D1 - timedelta(days=7)
    assert day.days == days_between(D1 - timedelta(days=6), D1)
    assert day.landed == [D1 - timedelta(days=7), D1]  # the extra day is among them
    assert staged_early.landed == [D1]


@pytest.mark.parametrize("table", ["raw/orders", "staging/orders"])
def test_a_day_whose_file_cannot_be_read_is_not_a_landed_one(tmp_path: Path, table: str):
    seen: list[AsOf] = []

    def looks(orders: pl.LazyFrame, as_of: AsOf) -> pl.LazyFrame:
        seen.append(as_of)
        return orders.select(id="order_id", value="cents")

    looked = mart(columns=NUMBERS, name="looks", latest={"orders": "staging/orders"})(looks)
    runs = Runs.of(tmp_path, toy.orders, toy.staged, looked, shop=[order(1, D1), order(2, D2)])
    runs.materialise(D1, D2)
    (file,) = (file for file in runs.lake.glob(f"{table}/day={D1}/*.parquet") if "early" not in file.name)
    file.write_bytes(file.read_bytes()[:-1])
    runs.materialise(D2)
    assert seen[-2].landed == [D1, D2]
    assert seen[-1].landed == [D2]


def test_each_as_of_day_of_a_range_is_what_it_is_alone(tmp_path: Path):
    runs = shop(tmp_path, order(1, D1, 1), order(1, D3, 3), order(2, D2, 2), order(3, D4, 4, country="B"))
    runs.materialise(D1, D4)
    in_range = runs.rows("marts/revenue")
    for day in (D3, D1, D4, D2):
        runs.materialise(day, layers=["marts"])
    assert runs.rows("marts/revenue") == in_range
    assert [row for row in in_range if row[-1] == D3] == [("A", 2, 2.5, D3)]


def test_the_newest_row_of_each_key_is_the_same_in_any_order_of_rows():
    days = [D1, D2, D3]
    rows = pl.DataFrame({"id": [1, 2, 1, 2, 3], "value": [1, 2, 3, 4, 5], "day": [D3, D1, D1, D2, D1]})
    expected = [(1, 1, D3), (2, 4, D2), (3, 5, D1)]
    for seed in range(5):
        shuffled = rows.sample(fraction=1, shuffle=True, seed=seed).lazy()
        assert sorted(newest_rows(shuffled, ["id"], days).collect().rows()) == expected
        assert sorted(newest_rows(shuffled, ["id"], days[:1]).collect().rows()) == [(1, 3, D1), (2, 2, D1), (3, 5, D1)]


def things_mart(name: str, function: Callable[..., pl.LazyFrame] | None = None, **options: Any) -> AssetsDefinition:
    """A mart of `staging/things`; by default its newest rows."""
    reads = {"window": {"things": "staging/things"}} if not options.keys() & {"latest", "window", "same_day"} else {}
    return mart(columns=NUMBERS, name=name, **reads, **options)(
        function or (lambda things: things.select("id", "value").unique("id"))
    )


def wrong_columns(things: pl.LazyFrame) -> pl.LazyFrame:
    """Not what is declared."""
    return things.select("id")


def raises(things: pl.LazyFrame) -> pl.LazyFrame:
    """A bug."""
    raise ZeroDivisionError


def breaks_later(things: pl.LazyFrame) -> pl.LazyFrame:
    """A bug that shows as rows are read."""
    return things.select("id", value=pl.lit("x").cast(pl.Int64, strict=True))


def null_key(things: pl.LazyFrame) -> pl.LazyFrame:
    """A null where none is declared."""
    return things.select(pl.lit(None, pl.Int64).alias("id"), "value")


@pytest.mark.parametrize("broken", [wrong_columns, raises, breaks_later, null_key])
def test_a_failed_mart_does_not_stop_the_others_of_its_step(tmp_path: Path, broken: Callable[..., pl.LazyFrame]):
    marts = [things_mart("a"), things_mart("b", broken), things_mart("c")]
    runs = Runs.of(tmp_path, staged_from({D1: {1: 1}, D2: {2: 2}}), *marts)
    assert "marts_of_staging__things_7_days" in steps(runs)
    ran = runs.materialise(D1, D2, raise_on_error=False)
    assert not ran.success
    for name in ("a", "c"):
        assert runs.rows(f"marts/{name}") == [(1, 1, D1), (1, 1, D2), (2, 2, D2)]
    assert runs.days("marts/b") == []
    with DagsterInstance.ephemeral() as instance:
        ran = runs.materialise(D1, layers=["marts"], instance=instance, raise_on_error=False)
        failed = [event.step_key for event in ran.get_step_failure_events()]
    assert failed == ["marts_of_staging__things_7_days"]


@pytest.mark.parametrize("error", [pl.exceptions.ColumnNotFoundError, ZeroDivisionError])
def test_a_mart_that_fails_names_the_day_that_did(tmp_path: Path, error: type[Exception]):
    def fails(things: pl.LazyFrame, as_of: AsOf) -> pl.LazyFrame:
        if as_of.day == D2:
            raise error("a bug")
        return things.select("id", "value").unique("id")

    runs = Runs.of(tmp_path, staged_from({D1: {1: 1}}), things_mart("a", fails))
    ran = runs.materialise(D1, D3, raise_on_error=False)
    assert failure(ran).strip().endswith(": a bug")
    logged = [failure(ran), *(entry.user_message for entry in runs.instance.all_logs(ran.run_id))]
    assert any(f"marts/a cannot be made for {D2}" in line for line in logged)
    assert not any(f"{D1}..." in line for line in logged)


def test_a_failed_mart_quotes_a_value_only_where_previews_are_on(tmp_path: Path):
    def parses(things: pl.LazyFrame) -> pl.LazyFrame:
        return things.select("id", value=pl.concat_str(pl.lit("patient Jane "), "value").cast(pl.Int64))

    for preview_rows in (0, 5):
        folder = tmp_path / str(preview_rows)
        runs = Runs.of(folder, staged_from({D1: {1: 1}}), things_mart("a", parses), preview_rows=preview_rows)
        ran = runs.materialise(D1, raise_on_error=False)
        assert f"SchemaError: marts/a cannot be made for {D1}: " in failure(ran)
        assert ("patient Jane" in "".join(map(repr, ran.all_events))) == (preview_rows > 0)


def test_a_failed_staging_table_quotes_a_value_only_where_previews_are_on(tmp_path: Path):
    (tmp_path / "q.sql").write_text("SELECT id, total, day FROM orders")
    for preview_rows in (0, 5):
        staged = staging_table(
            name="q", reads=["raw/orders"], columns=NUMBERS, sql=str(tmp_path / "q.sql"), rejects="country::INTEGER = 1"
        )
        folder, orders = tmp_path / str(preview_rows), [order(1, D1, country="patient Jane")]
        ran = Runs.of(folder, toy.orders, staged, shop=orders, preview_rows=preview_rows).materialise(
            D1, layers=["raw", "staging"], raise_on_error=False
        )
        failures = "".join(map(repr, ran.get_step_failure_events()))
        assert "staging/q cannot be staged: " in failures
        assert ("patient Jane" in failures) == (preview_rows > 0)


def steps(runs: Runs) -> set[str]:
    """The steps of the job that makes everything, without checks."""
    job = runs.definitions.resolve_implicit_global_asset_job_def()
    return {name for name in job.graph.node_dict if not name.endswith("__checks")} - {"warehouse", "staging__things"}


def test_marts_that_read_the_same_days_of_the_same_tables_are_one_step(tmp_path: Path):
    same_day: dict[str, Any] = {"same_day": {"things": "staging/things"}}
    runs = Runs.of(
        tmp_path,
        staged_from({D1: {1: 1}}),
        things_mart("a"),
        things_mart("b", latest={"things": "staging/things"}),
        things_mart("longer", extra_days=1),
        things_mart("c", **same_day),
        things_mart("d", **same_day),
        things_mart("pooled_1", pool="slow"),
        things_mart("pooled_2", pool="slow"),
        things_mart("a", layer="other"),
    )
    assert steps(runs) == {
        "marts_of_staging__things_7_days",
        "marts__longer",
        "marts_of_staging__things",
        "marts_of_staging__things_7_days_in_slow",
        "other__a",
    }
    assert runs.materialise(D1, layers=["staging", "marts", "other"]).success
    for name in ("marts/a", "marts/b", "marts/c", "marts/pooled_2", "other/a"):
        assert runs.rows(name) == [(1, 1, D1)]


def test_one_mart_of_a_step_can_run_alone(tmp_path: Path):
    runs = Runs.of(tmp_path, staged_from({D1: {1: 1}}), things_mart("a"), things_mart("b", raises))
    runs.materialise(D1, layers=["staging"])
    job = runs.definitions.resolve_implicit_global_asset_job_def()
    ran = job.execute_in_process(
        asset_selection=[AssetKey(["marts", "a"])], partition_key=str(D1), instance=DagsterInstance.ephemeral()
    )
    assert ran.success
    assert runs.days("marts/a") == [D1]


# --- Dagster's own arguments

PASSED: dict[str, Any] = {
    "group_name": "sales",
    "owners": ["team:sales"],
    "tags": {"domain": "sales"},
    "kinds": {"python"},
    "automation_condition": AutomationCondition.on_cron("@daily"),
    "metadata": {"contract": "v1"},
}


def test_dagsters_own_arguments_pass_through(tmp_path: Path):
    columns = [column("id", "BIGINT", "It.")]

    @raw_table(columns=columns, day=None, pool="api", **PASSED)
    def things(days: Days) -> list[object]:
        """What they are."""
        return []

    staged = sql_table(tmp_path, "things", "FROM things", ["raw/things"], columns, key=["id"], pool="api", **PASSED)
    current = current_table("now", reads="staging/things", columns=columns, key=["id"], pool="api", **PASSED)
    looked = mart(columns=columns, name="looks", latest={"things": "staging/things"}, pool="api", **PASSED)(lambda x: x)
    runs = Runs.of(tmp_path, things, staged, current, looked)
    for key in ("raw/things", "staging/things", "staging/now", "marts/looks"):
        definition = runs.definitions.resolve_assets_def(AssetKey(key.split("/")))
        spec = definition.get_asset_spec(AssetKey(key.split("/")))
        assert spec.group_name == "sales", key
        assert list(spec.owners) == ["team:sales"]
        assert spec.tags["domain"] == "sales"
        assert spec.kinds == {"python"}
        assert spec.automation_condition == PASSED["automation_condition"]
        assert spec.metadata["contract"] == "v1"
        assert definition.node_def.pool == "api", key  # pyright: ignore[reportAttributeAccessIssue]


def test_a_docstring_describes_its_table():
    (raw,), (made,) = toy.orders.specs, toy.revenue.specs
    assert raw.description == "Orders that changed on the day."
    assert made.description == textwrap.dedent("Orders of the window by country.")
