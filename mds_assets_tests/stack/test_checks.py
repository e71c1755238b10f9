"""Promises of the checks: each kind of damage is caught by its name, in numbers and keys, and does not spread."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckSeverity,
    AssetIn,
    AssetKey,
    AssetRecordsFilter,
    AssetsDefinition,
    DagsterInstance,
    ResourceParam,
    TimeWindowPartitionMapping,
    asset,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus
from upath import UPath

from mds_assets.stack import audit, checks
from mds_assets.stack.blocks import current_table, mart, raw_table, staging_table
from mds_assets.stack.failures import reason
from mds_assets.stack.lake import Lake
from mds_assets.stack.landing.days import Days
from mds_assets.stack.names import ACTIONABLE
from mds_assets.stack.partitions import DAILY, SINGLE_RUN, days_between, lookback
from mds_assets.stack.session import Session
from mds_assets.stack.settings import settings
from mds_assets.stack.table import TABLE, column, table
from mds_assets_tests.damage import Damage, failed
from mds_assets_tests.runs import Runs, evaluations
from mds_assets_tests.stack import toy

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
DAY = date(2026, 3, 9)
ALWAYS = {"is_valid"}
SUCCEEDED = AssetCheckExecutionResolvedStatus.SUCCEEDED
FAILED = AssetCheckExecutionResolvedStatus.FAILED


def shop(folder: Path, *others: AssetsDefinition, orders: list[dict[str, Any]] | None = None) -> Runs:
    """The toy source."""
    given = toy.sales() if orders is None else orders
    return Runs.of(folder, toy.orders, toy.staged, toy.current, toy.revenue, *others, shop=given)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two weeks of the toy that end yesterday; whoever changes a file puts it back."""
    runs = shop(tmp_path_factory.mktemp("sound"))
    assert runs.materialise(YESTERDAY - timedelta(days=13), YESTERDAY).success
    return runs


def test_a_sound_lake_passes_every_check(sound: Runs):
    checked = sound.checks()
    assert failed(sound) == {}
    for spec in sound.definitions.resolve_all_asset_specs():
        if TABLE in spec.metadata:
            name = spec.key.to_user_string()
            fresh = {"is_fresh"} if spec.partitions_def else set[str]()
            assert {f"{name} {check}" for check in ALWAYS | fresh} <= checked.keys()


def test_which_checks_a_table_has_follows_from_the_graph(sound: Runs):
    others = {name for name in sound.checks() if name.split()[1] not in ALWAYS}
    assert others == {
        "raw/orders is_complete",
        "raw/orders is_fresh",
        "staging/orders is_fresh",
        "staging/orders reconciles",
        "marts/revenue is_fresh",
        "marts/revenue reconciles",
        "marts/revenue window_is_complete",
    }


@pytest.mark.parametrize(
    ("table", "query", "check", "message"),
    [
        ("staging/orders", "FROM rows UNION ALL (FROM rows LIMIT 1)", "is_valid", '1 key ("day", "order_id")'),
        ("staging/orders", "SELECT * REPLACE (NULL::BIGINT AS order_id) FROM rows", "is_valid",
         '"order_id" IS NULL'),
        ("staging/orders", "SELECT * REPLACE (cents::VARCHAR AS cents) FROM rows", "is_valid", "has cents as string"),
        ("staging/orders", "SELECT * REPLACE (-1::BIGINT AS cents) FROM rows", "is_valid",
         "NOT (cents >= 0)"),
        ("staging/orders", "SELECT * REPLACE (updated_at - INTERVAL 1 DAY AS updated_at) FROM rows",
         "is_valid", "NOT (updated_at >= day AND updated_at < day + 1)"),
        ("staging/orders", "SELECT *, 1 AS surplus FROM rows", "is_valid", "undeclared columns surplus"),
        ("staging/orders", "SELECT * EXCLUDE (country) FROM rows", "is_valid", "has country as no column"),
        ("staging/orders", "FROM rows OFFSET 1", "reconciles", "1 number differs from raw/orders: only=below"),
        ("marts/revenue", "SELECT * REPLACE (orders + 1 AS orders) FROM rows", "reconciles",
         "differ from staging/orders"),
        ("marts/revenue", "SELECT * REPLACE ('x' || country AS country) FROM rows", "reconciles",
         "numbers differ from staging/orders"),
        ("marts/revenue", "SELECT * REPLACE ('NaN'::DOUBLE AS mean) FROM rows", "is_valid",
         'NOT (NOT isnan("mean"))'),
        ("raw/orders", "SELECT * EXCLUDE (updated_at) FROM rows", "is_valid", "no column"),
        ("raw/orders", "FROM rows UNION ALL (FROM rows LIMIT 1)", "is_valid",
         '1 key ("day", "_dlt_load_id", "id", "updated_at") comes more than once'),
        ("raw/orders", "SELECT * REPLACE (updated_at - INTERVAL 1 DAY AS updated_at) FROM rows", "is_valid",
         "NOT (updated_at >= day AND updated_at < day + 1)"),
    ],
)  # fmt: skip
def test_damage_is_caught_by_name(sound: Runs, table: str, query: str, check: str, message: str):
    with Damage(sound, table, YESTERDAY) as damage:
        damage.select(query)
        messages = failed(sound)
    assert message in messages[f"{table} {check}"]


def test_a_file_of_a_table_without_partitions_is_checked_too(sound: Runs):
    file = sound.lake / "staging/orders_now/data.parquet"
    before = file.read_bytes()
    rows = pl.DataFrame(pq.ParquetFile(file).read())
    pq.write_table(pl.concat([rows, rows.head(1)]).to_arrow(), file)
    messages = failed(sound)
    file.write_bytes(before)
    assert '1 key ("order_id") comes more than once' in messages["staging/orders_now is_valid"]


def test_raw_keeps_what_it_was_sent_so_that_a_key_that_comes_twice_only_warns(tmp_path: Path):
    twice = toy.sales(1)[:1] * 2
    runs = shop(tmp_path, orders=twice)
    ran = runs.materialise(YESTERDAY)
    checked = evaluations(ran)["raw/orders is_valid"]
    assert ran.success
    assert not checked.passed
    assert checked.severity == AssetCheckSeverity.WARN
    assert len(runs.rows("raw/orders")) == 2
    assert len(runs.rows("staging/orders")) == 1


def test_a_file_from_before_a_column_was_declared_is_sound_where_the_column_may_be_null(sound: Runs):
    for name, query in (
        ("raw/orders", "SELECT * EXCLUDE (total) FROM rows"),
        ("staging/orders", "SELECT * EXCLUDE (cents) FROM rows"),
    ):
        with Damage(sound, name, YESTERDAY) as damage:
            damage.select(query)
            assert failed(sound) == {}


def test_a_file_from_before_a_column_was_widened_is_sound(sound: Runs):
    with Damage(sound, "staging/orders", YESTERDAY) as damage:
        damage.select("SELECT * REPLACE (cents::INTEGER AS cents) FROM rows")
        assert failed(sound) == {}


def test_a_truncated_file_is_named(sound: Runs):
    with Damage(sound, "staging/orders", YESTERDAY) as damage:
        damage.file.write_bytes(damage.before[:-100])
        messages = failed(sound)
    assert f"day={YESTERDAY}/data.parquet cannot be read" in messages["staging/orders is_valid"]


def test_the_message_of_a_value_of_a_wrong_type_does_not_show_it(sound: Runs):
    with Damage(sound, "staging/orders", YESTERDAY) as damage:
        damage.select("SELECT * REPLACE ('a private value' AS cents) FROM rows")
        messages = failed(sound)
    assert {"staging/orders is_valid"} <= messages.keys()
    assert "a private value" not in str(messages)


def test_a_file_that_is_replaced_while_a_check_reads_it_is_checked_again(sound: Runs, monkeypatch: pytest.MonkeyPatch):
    with Damage(sound, "staging/orders", YESTERDAY) as damage:
        damage.select("SELECT *, 1 AS surplus FROM rows")

        def read_before_it_is_replaced(file: UPath) -> pq.FileMetaData:
            footer = pq.ParquetFile(str(file)).metadata
            if "surplus" in footer.schema.names:
                damage.file.write_bytes(damage.before)
            return footer

        monkeypatch.setattr(audit, "footer", read_before_it_is_replaced)
        assert failed(sound) == {}


def test_without_a_file_no_check_passes(tmp_path: Path):
    @raw_table(columns=[column("id", "BIGINT", "A thing.")], day=None, partitioned=False)
    def things(days: Days) -> list[object]:
        """Things."""
        return []

    checked = shop(tmp_path, things).checks()
    assert {"raw/things is_valid", "staging/orders_now is_valid", "marts/revenue reconciles"} <= checked.keys()
    assert [name for name, check in checked.items() if check.passed] == []
    assert not any("cannot be read" in (check.description or "") for check in checked.values())
    assert checked["marts/revenue window_is_complete"].description == "there is no file: run the table first"
    assert "there is no day yet; " in (checked["staging/orders is_fresh"].description or "")


def test_a_missing_day_is_a_warning(sound: Runs):
    missing_day = YESTERDAY - timedelta(days=3)
    with Damage(sound, "staging/orders", missing_day) as damage:
        damage.file.unlink()
        missing = sound.checks()["marts/revenue window_is_complete"]
    assert not missing.passed
    assert missing.severity == AssetCheckSeverity.WARN
    assert missing.metadata["missing"].value == str(missing_day)
    assert "1 of the 7 days" in (missing.description or "")


def test_a_window_is_as_long_as_the_tables_own_partition_mapping(tmp_path: Path):
    """Also of a mart that looks further back or reads the day itself, and of a plain asset."""
    columns = [column("n", "BIGINT", "How many.")]
    mapping = TimeWindowPartitionMapping(start_offset=-1, end_offset=0)

    def count(orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.select(n=pl.len().cast(pl.Int64))

    longer = mart(columns=columns, name="longer", window={"orders": "staging/orders"}, extra_days=2)(count)
    today = mart(columns=columns, name="today", same_day={"orders": "staging/orders"})(count)

    @asset(
        key=["marts", "plain"],
        ins={"orders": AssetIn(key=["staging", "orders"], partition_mapping=mapping)},
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        io_manager_key="polars_io_manager",
        metadata=table(columns).metadata,
    )
    def plain(orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.group_by("day").agg(n=pl.len().cast(pl.Int64))

    runs = shop(tmp_path, longer, today, plain, orders=toy.sales())
    checked = evaluations(runs.materialise(YESTERDAY))
    missing = {
        name: check.metadata["days_missing"].value
        for name, check in checked.items()
        if name.endswith("window_is_complete")
    }
    assert missing == {
        "marts/revenue window_is_complete": 6,
        "marts/longer window_is_complete": 8,
        "marts/today window_is_complete": 0,
        "marts/plain window_is_complete": 1,
    }


def test_a_mart_that_joins_an_empty_table_or_a_day_that_never_landed_says_so(tmp_path: Path):
    columns = [column("id", "BIGINT", "Who."), column("changed_at", "TIMESTAMP", "When it changed.")]

    @raw_table(columns=columns, key=["id"], day=None)
    def people(days: Days) -> list[Any]:
        return []

    (tmp_path / "people.sql").write_text("SELECT id, changed_at, day FROM people")
    staged = staging_table(
        "people", reads=["raw/people"], columns=columns, key=["id"], sql=str(tmp_path / "people.sql"), description="."
    )
    current = current_table("current_people", reads="staging/people", columns=columns, key=["id"])

    @mart(
        columns=[column("n", "BIGINT", "How many.")],
        current={"people": "staging/current_people"},
        same_day={"staged": "staging/people"},
    )
    def counted(people: pl.LazyFrame, staged: pl.LazyFrame) -> pl.LazyFrame:
        return people.select(n=pl.len().cast(pl.Int64))

    runs = Runs.of(tmp_path, people, staged, current, counted)
    # A snapshot knows nothing of an older day: the day is staged from nothing.
    evaluated = evaluations(runs.materialise(YESTERDAY - timedelta(days=1)))
    for check in ("is_valid", "is_complete"):
        missing = evaluated[f"raw/people {check}"]
        message = "there is no file: a snapshot only lands in a run of the newest day that has ended"
        assert (missing.passed, missing.severity, missing.description) == (False, AssetCheckSeverity.WARN, message)
        assert not missing.metadata[ACTIONABLE].value
    checked = evaluated["marts/counted window_is_complete"]
    assert (checked.passed, checked.severity) == (False, AssetCheckSeverity.WARN)
    assert (checked.description or "").startswith("staging/current_people has no rows: run it, then this again. 1 of ")


def test_lost_days_of_a_snapshot_are_not_called_runnable(tmp_path: Path):
    """Its source only knew its state on those days; a day of another table may still be run."""
    columns = [column("id", "BIGINT", "It.")]

    @raw_table(columns=columns, key=["id"], day=None)
    def stock(days: Days) -> list[Any]:
        """What is there now."""
        return [{"id": 1}]

    (tmp_path / "stock.sql").write_text("SELECT id, day FROM stock")
    staged = staging_table("stock", reads=["raw/stock"], columns=columns, key=["id"], sql=str(tmp_path / "stock.sql"))

    def count(**frames: pl.LazyFrame) -> pl.LazyFrame:
        return frames["stock"].select(n=pl.len().cast(pl.Int64))

    counted = [column("n", "BIGINT", "How many.")]

    @mart(columns=counted, window={"stock": "staging/stock"})
    def alone(stock: pl.LazyFrame) -> pl.LazyFrame:
        """Of the snapshot."""
        return count(stock=stock)

    @mart(columns=counted, window={"stock": "staging/stock", "orders": "staging/orders"})
    def both(stock: pl.LazyFrame, orders: pl.LazyFrame) -> pl.LazyFrame:
        """Of the snapshot and a table by day."""
        return count(stock=stock, orders=orders)

    runs = shop(tmp_path, stock, staged, alone, both)
    runs.materialise(YESTERDAY - timedelta(days=3), YESTERDAY)
    messages = {name: runs.checks()[f"marts/{name} window_is_complete"] for name in ("alone", "both")}
    assert {check.severity for check in messages.values()} == {AssetCheckSeverity.WARN}
    assert not any(check.passed for check in messages.values())
    lost = "days have no snapshot, and none can be made of past days."
    assert messages["alone"].description == f"6 of the 7 {lost}"
    assert messages["both"].description == (
        f"3 of the 7 days that {YESTERDAY} looks back on lie before the first. 3 of the 7 {lost}"
    )
    assert not any(check.metadata[ACTIONABLE].value for check in messages.values())
    assert messages["both"].metadata["days_missing"].value == 6

    # In whichever order the tables are read: Dagster keeps none.
    stock_key, orders_key = AssetKey(["staging", "stock"]), AssetKey(["staging", "orders"])
    session = Session(Lake(str(runs.lake)), sources={stock_key: frozenset({AssetKey(["raw", "stock"])})})
    for keys in ((stock_key, orders_key), (orders_key, stock_key)):
        subject = checks.CheckedTable(
            AssetKey(["marts", "both"]), table(counted), snapshots=frozenset({stock_key}),
            reads=dict.fromkeys(keys, lookback(7)),
        )  # fmt: skip
        checked = checks._Checked(subject, [YESTERDAY], alone=True, session=session)  # pyright: ignore[reportPrivateUsage]
        result = checks._window_is_complete(checked)  # pyright: ignore[reportPrivateUsage]
        assert result.description == messages["both"].description


def test_a_first_day_that_was_staged_without_being_landed_is_missing(tmp_path: Path):
    runs = shop(tmp_path)
    first = YESTERDAY - timedelta(days=2)
    runs.materialise(first, first, layers=["staging"])  # of nothing
    runs.materialise(first + timedelta(days=1), YESTERDAY)
    check = runs.checks()["marts/revenue window_is_complete"]
    assert not check.passed
    assert f"was never landed and staged: {first}. Run them" in (check.description or "")
    assert check.metadata[ACTIONABLE].value


def test_yesterday_s_snapshot_can_still_be_made(tmp_path: Path):
    @raw_table(columns=[column("id", "BIGINT", "It.")], key=["id"], day=None)
    def stock(days: Days) -> list[Any]:
        """What is there now."""
        return [{"id": 1}]

    @mart(columns=[column("id", "BIGINT", "It.")], same_day={"stock": "raw/stock"})
    def now(stock: pl.LazyFrame) -> pl.LazyFrame:
        """The same."""
        return stock.select("id")

    runs = Runs.of(tmp_path, stock, now)
    runs.materialise(YESTERDAY)
    with Damage(runs, "raw/stock", YESTERDAY) as damage:
        damage.file.unlink()
        checked = runs.checks()["marts/now window_is_complete"]
    assert checked.description == (
        f"1 of the 1 day that {YESTERDAY} looks back on was never landed and staged: {YESTERDAY}. "
        "Run them, then this again."
    )
    assert checked.metadata[ACTIONABLE].value


def test_no_private_column_of_a_key_is_shown_unless_previews_are_on(tmp_path: Path):
    columns = [column("name", "VARCHAR", "Who.", private=True), column("n", "BIGINT", "?", rule="n > 0")]
    declared = table(columns, key=["name", "n"])

    @asset(
        key=["staging", "people"],
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        io_manager_key="polars_io_manager",
        metadata=declared.metadata,
    )
    def people() -> pl.DataFrame:
        return pl.DataFrame({"name": ["hush", "hush"], "n": [-7, -7], "day": [DAY, DAY]})

    for preview_rows, shown in ((0, False), (5, True)):
        runs = Runs.of(tmp_path / str(preview_rows), people, preview_rows=preview_rows)
        assert not runs.materialise(DAY, raise_on_error=False).success
        message = str(runs.verdicts("staging/people")[str(DAY)].description)
        for kind in ("unique_key: 1 key (", "accepted_values: 2 rows"):
            assert kind in message
        assert message.count("-7") == 3
        assert ("hush" in message) == shown


def test_days_before_the_first_partition_are_not_missing(tmp_path: Path):
    runs = shop(tmp_path, orders=[])
    first = settings.start_date
    checked = evaluations(runs.materialise(first, first + timedelta(days=1)))["marts/revenue window_is_complete"]
    assert checked.passed
    assert "6 lie before the first partition" in (checked.description or "")


def test_a_table_is_stale_without_the_day_that_ended_though_an_older_one_was_made_just_now(tmp_path: Path):
    runs = shop(tmp_path)
    older = YESTERDAY - timedelta(days=9)
    stale = evaluations(runs.materialise(older))["staging/orders is_fresh"]
    assert not stale.passed
    assert stale.severity == AssetCheckSeverity.WARN
    assert f"the newest day is {older}" in (stale.description or "")
    # Before six o'clock the day before yesterday is the last one that has to be there.
    assert runs.materialise(YESTERDAY - timedelta(days=1), YESTERDAY).success
    assert evaluations(runs.materialise(older))["staging/orders is_fresh"].passed


def test_a_message_shows_five_keys_at_most_and_no_other_value(sound: Runs):
    with Damage(sound, "marts/revenue", YESTERDAY) as damage:
        damage.select("SELECT 'C' || n AS country, -1::BIGINT AS orders, 1234567e0 AS mean FROM range(9) r(n)")
        checked = sound.checks()["marts/revenue is_valid"]
    assert (checked.description or "").count(";") == 4
    assert checked.metadata["rows_wrong"].value == 9
    assert "1234567" not in str(checked)


def order(day: date, total: int = 1, minute: int = 0) -> dict[str, Any]:
    """An order of the toy; one below zero breaks staging's rule."""
    at = datetime(day.year, day.month, day.day, 12, minute, tzinfo=UTC)
    return {"id": day.toordinal(), "country": "A", "total": total, "updated_at": at}


def test_a_table_that_is_not_as_declared_is_never_published(tmp_path: Path):
    """The day keeps its last good file, and nothing downstream runs."""
    orders = [order(DAY)]
    runs = shop(tmp_path, orders=orders)
    assert runs.materialise(DAY).success
    derived = {name: content for name, content in runs.contents().items() if not name.startswith("raw")}
    orders[0] = order(DAY, -1, minute=1)
    ran = runs.materialise(DAY, raise_on_error=False)
    message = "staging/orders is not as declared, and was not published: "
    message += f"{DAY}: accepted_values: 1 row with NOT (cents >= 0)"
    assert reason(ran.get_step_failure_events()[0]).startswith(message)
    assert not runs.verdicts("staging/orders")[str(DAY)].passed
    assert {name: content for name, content in runs.contents().items() if not name.startswith("raw")} == derived
    assert {event.asset_key for event in ran.get_asset_materialization_events()} == {AssetKey(["raw", "orders"])}
    orders[0] = order(DAY, 2, minute=2)
    assert runs.materialise(DAY).success
    assert runs.verdicts("staging/orders")[str(DAY)].passed


def test_a_bad_day_of_a_range_keeps_its_last_file_and_the_others_are_published(tmp_path: Path):
    days = days_between(DAY, DAY + timedelta(days=2))
    orders = [order(day) for day in days]
    instance = DagsterInstance.ephemeral()
    runs = shop(tmp_path, orders=orders)
    assert runs.materialise(days[0], days[1], instance=instance).success
    before = runs.rows("staging/orders", days[1])
    orders[:] = [order(days[0], 5, 1), order(days[1], -1, 1), order(days[2], 5, 1)]
    ran = runs.materialise(days[0], days[2], raise_on_error=False, instance=instance)
    message = reason(ran.get_step_failure_events()[0])
    assert f"{days[1]}: accepted_values" in message
    assert "The other 2 days are published." in message
    assert {day: verdict.passed for day, verdict in runs.verdicts("staging/orders").items() if day} == {
        str(days[0]): True, str(days[1]): False, str(days[2]): True
    }  # fmt: skip
    assert runs.rows("staging/orders", days[1]) == before
    assert [runs.rows("staging/orders", day)[0][2] for day in (days[0], days[2])] == [5, 5]
    key = AssetKey(["staging", "orders"])
    assert instance.get_materialized_partitions(key) == {str(day) for day in days}
    # Dagster's own view of each day: made by this run, or failed in it.
    newest = {
        day: instance.fetch_materializations(AssetRecordsFilter(key, asset_partitions=[str(day)]), limit=1).records[0]
        for day in days
    }
    assert [record.run_id == ran.run_id for record in newest.values()] == [True, False, True]
    made = newest[days[0]].asset_materialization
    assert made and made.metadata["dagster/partition_row_count"].value == 1


def test_each_day_of_a_range_has_a_verdict_that_dagster_shows(tmp_path: Path):
    days = days_between(DAY, DAY + timedelta(days=2))
    runs = shop(tmp_path, orders=[order(day) for day in days])
    assert runs.materialise(days[0], days[-1]).success
    for name in ("raw/orders", "staging/orders", "marts/revenue"):
        assert {day for day, verdict in runs.verdicts(name).items() if verdict.passed} >= {str(day) for day in days}
        assert statuses(runs, name) == {SUCCEEDED: {str(day) for day in days}}


def test_the_job_of_the_checks_gives_the_newest_day_a_verdict(tmp_path: Path):
    runs = shop(tmp_path, orders=[order(DAY), order(DAY + timedelta(days=1))])
    assert runs.materialise(DAY, DAY + timedelta(days=1)).success
    instance = runs.instance  # with materializations: without, Dagster looks for none
    checked = runs.checks(instance)
    newest = DAY + timedelta(days=1)
    assert {check.partition for name, check in checked.items() if name.endswith("is_valid")} == {None, str(newest)}
    assert statuses(runs, "staging/orders") == {SUCCEEDED: {str(DAY), str(newest)}}
    with Damage(runs, "staging/orders", newest) as damage:
        damage.select("SELECT * REPLACE (-1::BIGINT AS cents) FROM rows")
        runs.checks(instance)
    assert statuses(runs, "staging/orders") == {SUCCEEDED: {str(DAY)}, FAILED: {str(newest)}}


def test_one_bad_mart_of_a_step_does_not_stop_the_others_nor_its_own_good_days(tmp_path: Path):
    """Marts that read the same tables share a step, and Dagster ends a step at the first output that fails."""

    def counting(name: str, rule: str | None) -> AssetsDefinition:
        @mart(columns=[column("n", "BIGINT", "Cents.", rule=rule)], name=name, same_day={"orders": "staging/orders"})
        def counted(orders: pl.LazyFrame) -> pl.LazyFrame:
            return orders.select(n=pl.col("cents").sum())

        return counted

    days = days_between(DAY, DAY + timedelta(days=2))
    orders = [order(days[0], 1), order(days[1], 7), order(days[2], 2)]
    bad = [counting(name, "n < 7") for name in ("a", "c")]
    runs = shop(tmp_path, bad[0], counting("b", None), bad[1], orders=orders)
    assert not runs.materialise(days[0], days[-1], raise_on_error=False).success
    assert {name: runs.days(f"marts/{name}") for name in "abc"} == {
        "a": [days[0], days[2]], "b": days, "c": [days[0], days[2]]
    }  # fmt: skip
    for name in "ac":
        assert [day for day, verdict in runs.verdicts(f"marts/{name}").items() if not verdict.passed] == [str(days[1])]


def test_of_several_marts_that_fail_each_error_is_logged(tmp_path: Path):
    def failing(name: str) -> AssetsDefinition:
        @mart(columns=[column("n", "BIGINT", "?")], name=name, same_day={"orders": "staging/orders"})
        def failed(orders: pl.LazyFrame) -> pl.LazyFrame:
            raise ValueError(f"{name} is broken")

        return failed

    runs = shop(tmp_path, failing("a"), failing("b"), orders=[order(DAY)])
    ran = runs.materialise(DAY, raise_on_error=False)
    assert not ran.success
    logged = str(runs.instance.all_logs(ran.run_id))
    assert "a is broken" in logged
    assert "b is broken" in logged


def test_a_bad_row_in_raw_is_reported_for_its_day_and_stops_neither_the_others_nor_its_own_repair(tmp_path: Path):
    days = days_between(DAY, DAY + timedelta(days=2))
    orders = [order(day) for day in days]

    @raw_table(columns=[replace(each, nullable=False) for each in toy.RAW], day="updated_at", name="orders")
    def strict(days: Days, shop: ResourceParam[Any]) -> Iterator[dict[str, Any]]:
        """Orders with a country."""
        yield from (order for order in shop if order["updated_at"] >= days.start)

    runs = Runs.of(tmp_path, strict, toy.staged, shop=orders)
    orders[1]["country"] = None
    assert runs.materialise(days[0], days[-1]).success
    bad = {
        day: verdict.description for day, verdict in runs.verdicts("raw/orders").items() if day and not verdict.passed
    }
    assert bad.keys() == {str(days[1])}
    assert 'not_null: 1 row with "country" IS NULL' in str(bad)
    assert runs.days("staging/orders") == days
    orders[1] |= {"country": "B", "updated_at": orders[1]["updated_at"] + timedelta(minutes=1)}
    assert runs.materialise(days[1]).success
    assert runs.rows("staging/orders", days[1])[0][1] == "B"


def test_a_current_table_that_is_not_as_declared_is_not_published(tmp_path: Path):
    columns = [column("order_id", "BIGINT", "It."), column("cents", "BIGINT", "Price.", rule="cents < 3")]
    current = current_table("cheap", reads="staging/orders", columns=columns, key=["order_id"])
    orders = [order(DAY)]
    runs = shop(tmp_path, current, orders=orders)
    assert runs.materialise(DAY).success
    file = runs.lake / "staging/cheap/data.parquet"
    before = file.read_bytes()
    orders[0] = order(DAY, 7, 1)
    assert not runs.materialise(DAY, raise_on_error=False).success
    assert file.read_bytes() == before
    assert not runs.verdicts("staging/cheap")[None].passed


def statuses(runs: Runs, name: str) -> dict[AssetCheckExecutionResolvedStatus, set[str]]:
    """The partitions of a table by the status of `is_valid` that Dagster shows."""
    key = AssetCheckKey(AssetKey(name.split("/")), "is_valid")
    state = runs.instance.event_log_storage.get_asset_check_state([(key, DAILY)])[key]
    return {
        status: set(subset.subset_value.get_partition_keys()) for status, subset in state.subsets.items() if subset.size
    }


def test_a_day_by_day_reconciliation_of_a_range_is_that_of_each_day(tmp_path: Path):
    days = days_between(YESTERDAY - timedelta(days=2), YESTERDAY)
    runs = shop(tmp_path)
    checked = evaluations(runs.materialise(days[0], days[-1]))
    assert checked["staging/orders reconciles"].description == "agrees with 12 rows of raw/orders"
    assert checked["marts/revenue reconciles"].passed


def test_a_large_window_is_reconciled_only_when_the_check_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checks, "_MAX_ROWS", 3)
    runs = shop(tmp_path)
    within = evaluations(runs.materialise(YESTERDAY))["marts/revenue reconciles"]
    assert within.passed
    assert "not counted: 4 rows" in (within.description or "")
    assert runs.checks()["marts/revenue reconciles"].description == "agrees with 4 rows of staging/orders"
