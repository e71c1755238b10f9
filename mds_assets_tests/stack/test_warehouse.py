"""Promises of the warehouse: every table of the lake to query, at once, from anywhere, and built as a whole or not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import AssetKey, AssetsDefinition, ExecuteInProcessResult, asset

from mds_assets.definitions import defs
from mds_assets.stack.lake.lake import Lake
from mds_assets.stack.names import WAREHOUSE
from mds_assets.stack.partitions import SINGLE_RUN, days_between
from mds_assets.stack.table import TABLE, Table, column, declared_table
from mds_assets.stack.table import table as declare
from mds_assets.stack.warehouse import warehouse
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.clone import Clone
from mds_assets_tests.stack.io_managers.warehouse import DAILY, PAIRS, Warehouse

D1, D2, D3 = date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)
EVENTS = declare(
    [
        column("id", "BIGINT", "Its id; it's unique."),
        column("count", "INTEGER", "How many.", nullable=True),
        column("tags", "VARCHAR[]", "Words."),
        column("seen_at", "TIMESTAMPTZ", "When it was seen, UTC.", nullable=True),
    ]
)


def table(key: str, declared: Table = PAIRS, *, partitioned: bool = True) -> AssetsDefinition:
    """A table of this declaration; the tests put its files into the lake themselves."""

    def nothing() -> None:
        """What it is: somebody's table."""

    return asset(
        key=key.split("/"),
        partitions_def=DAILY if partitioned else None,
        backfill_policy=SINGLE_RUN,
        metadata=declared.metadata,
    )(nothing)


STAGED, MART = table("staging/pairs"), table("marts/pairs")


@pytest.fixture
def lake(tmp_path: Path) -> Warehouse:
    """A lake in a folder whose name is a pattern, a quote and worse."""
    return Warehouse(tmp_path / "it's {a,b} [of] *mine*; #1 --")


def land(lake: Warehouse, of: AssetsDefinition, day: date, *rows: dict[str, Any], declared: Table = PAIRS) -> None:
    """Put a day's file into a table."""
    lake.land(of, day, {"data": pa.Table.from_pylist(list(rows), declared.arrow_schema())})


def build(lake: Warehouse, *tables: AssetsDefinition) -> ExecuteInProcessResult:
    """Build the warehouse of these tables."""
    asset = warehouse([spec for table in tables for spec in table.specs])
    return lake.run([*tables, asset], None, only=asset)


def ask(lake: Warehouse, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a reader gets."""
    with duckdb.connect(lake.root / WAREHOUSE, read_only=True) as con:
        return con.execute("SET TimeZone = 'UTC'").execute(query, values).fetchall()


def views(lake: Warehouse) -> set[str]:
    return {f"{schema}.{name}" for schema, name in ask(lake, "SELECT schema, name FROM (SHOW ALL TABLES)")}


def columns(lake: Warehouse, view: str) -> dict[str, str]:
    return {name: sql_type for name, sql_type, *_ in ask(lake, f"DESCRIBE {view}")}


# --- The warehouse of a project

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
BY_DAY = ("raw/orders", "staging/orders", "marts/revenue")
TABLES = (*BY_DAY, "staging/orders_now")
TYPES = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A project with the toy after its first run, of two days, by Dagster's own command."""
    project = Clone(tmp_path_factory.mktemp("project"))
    ended = project.dagster("--partition-range", f"{YESTERDAY - timedelta(days=1)}...{YESTERDAY}")
    assert ended.returncode == 0, ended.stderr
    return project


def connect(runs: Runs) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(runs.lake / WAREHOUSE, read_only=True)
    return con.execute("SET TimeZone = 'UTC'")


def test_a_range_makes_every_table_a_view_with_its_rows_and_each_mart_another_with_the_newest(project: Clone):
    with connect(project) as con:
        names = con.sql("SELECT schema || '/' || name FROM (SHOW ALL TABLES)").fetchall()
        assert {name for (name,) in names} == {*TABLES, "marts/revenue_latest"}
        for table in BY_DAY:
            rows = con.sql(f"FROM {table.replace('/', '.')} ORDER BY ALL").fetchall()
            assert rows == project.rows(table)
            assert {row[-1] for row in rows} == {YESTERDAY - timedelta(days=1), YESTERDAY}
        newest = con.sql("FROM marts.revenue_latest ORDER BY ALL").fetchall()
        assert newest == project.rows("marts/revenue", YESTERDAY)
        orders = con.sql("SELECT DISTINCT order_id, max(day) FROM staging.orders GROUP BY 1 ORDER BY 1").fetchall()
        assert con.sql("SELECT order_id, day FROM staging.orders_now ORDER BY 1").fetchall() == orders


@pytest.mark.parametrize("asset", [toy.orders, toy.staged, toy.current, toy.revenue], ids=TABLES)
def test_each_view_has_the_declared_columns_and_raw_all_that_landed(project: Clone, asset: AssetsDefinition):
    (spec,) = asset.specs
    declared = declared_table("the toy's", spec.metadata)
    day = {"day": "DATE"} if spec.partitions_def else {}
    types = {c.name: TYPES.get(c.type, c.type) for c in declared.columns} | day
    with connect(project) as con:
        for suffix in ("", "_latest") if spec.key.has_prefix(["marts"]) else ("",):
            view = ".".join(spec.key.path) + suffix
            described = {name: sql_type for name, sql_type, *_ in con.sql(f"DESCRIBE {view}").fetchall()}
            assert list(described.items()) == list(types.items())
            comments = dict(
                con.execute(
                    "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name || '.' || table_name = ?",
                    [view],
                ).fetchall()
            )
            assert comments == {c.name: c.description for c in declared.columns} | {"day": comments["day"]}
            assert comments["day"]
            about = "SELECT comment FROM duckdb_views() WHERE schema_name || '.' || view_name = ?"
            assert con.execute(about, [view]).fetchall() == [(spec.description,)]


def test_one_partition_and_the_job_of_the_schedule_make_it_too(project: Clone):
    """The schedule launches the job with this tag (test_definitions.py holds it to that)."""
    by_tag = json.dumps({"dagster/partition": str(YESTERDAY)})
    for command in (
        ["asset", "materialize", "-m", "mds_assets.definitions", "--select", "*", "--partition", str(YESTERDAY)],
        ["job", "execute", "-m", "mds_assets.definitions", "-j", "daily_refresh", "--tags", by_tag],
    ):
        (project.lake / WAREHOUSE).unlink()
        ended = project.command("dagster", *command)
        assert ended.returncode == 0, ended.stderr
        with connect(project) as con:
            assert con.sql("SELECT DISTINCT day FROM marts.revenue_latest").fetchall() == [(YESTERDAY,)]


def test_it_can_be_built_alone_and_reports_how_many_views_it_has_where_and_how_large(tmp_path: Path):
    runs = Runs.of(tmp_path, toy.orders, toy.staged, toy.current, toy.revenue, shop=[])
    result = runs.materialise(YESTERDAY, layers=["warehouse"])
    (event,) = result.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    file = runs.lake / WAREHOUSE
    assert event.partition is None
    assert metadata["views"] == len(TABLES) + 1
    assert metadata["dagster/uri"] == str(file)
    assert metadata["bytes"] == file.stat().st_size
    with connect(runs) as con:
        assert con.sql("FROM staging.orders").fetchall() == []
        assert con.sql("FROM staging.orders_now").fetchall() == []


def test_early_rows_are_in_raws_view(tmp_path: Path):
    at = datetime(2024, 2, 28, 12, tzinfo=UTC)
    rows = [{"id": n, "country": "A", "total": 1, "updated_at": at + timedelta(days=n)} for n in range(2)]
    runs = Runs.of(tmp_path, toy.orders, shop=rows)
    runs.materialise(D1, layers=["raw", "warehouse"])
    with connect(runs) as con:
        assert con.sql("SELECT id, day FROM raw.orders ORDER BY id").fetchall() == [(0, D1), (1, D2)]


# --- Any table


def test_a_table_of_a_layer_that_is_new_gets_its_view_and_schema(lake: Warehouse):
    reports = table("reports/weekly")
    land(lake, reports, D1, {"id": 1, "name": "a"})
    build(lake, STAGED, reports)
    assert views(lake) == {"staging.pairs", "reports.weekly"}
    assert ask(lake, "FROM reports.weekly") == [(1, "a", D1)]


def test_types_and_comments_are_the_declared_ones_with_and_without_files(lake: Warehouse):
    full, empty = table("marts/full", EVENTS), table("marts/empty", EVENTS)
    moment = datetime(2024, 2, 28, 12, tzinfo=UTC)
    land(lake, full, D1, {"id": 1, "count": 2, "tags": ["a'b"], "seen_at": moment}, declared=EVENTS)
    build(lake, full, empty)
    types = {
        "id": "BIGINT", "count": "INTEGER", "tags": "VARCHAR[]", "seen_at": "TIMESTAMP WITH TIME ZONE", "day": "DATE",
    }  # fmt: skip
    for name in ("full", "full_latest", "empty", "empty_latest"):
        assert list(columns(lake, f"marts.{name}").items()) == list(types.items())
        comment = "SELECT comment FROM duckdb_columns() WHERE table_name = ? AND column_name = 'id'"
        assert ask(lake, comment, name) == [("Its id; it's unique.",)]
        assert ask(lake, "SELECT comment FROM duckdb_views() WHERE view_name = ?", name) == [
            ("What it is: somebody's table.",)
        ]
    row = (1, 2, ["a'b"], moment, D1)
    assert ask(lake, "FROM marts.full UNION ALL FROM marts.full_latest") == [row, row]
    assert ask(lake, "FROM marts.empty UNION ALL FROM marts.empty_latest") == []


def test_a_table_without_days_is_a_view_without_days_and_without_a_newest_one(lake: Warehouse):
    current, raw = table("marts/now", partitioned=False), table("raw/prices", partitioned=False)
    build(lake, current, raw)
    assert views(lake) == {"marts.now", "raw.prices"}
    assert ask(lake, "FROM marts.now") == ask(lake, "FROM raw.prices") == []
    for of, name in ((current, "data"), (raw, "load1"), (raw, "load2")):
        lake.folder(of).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": [1], "name": [name]}), lake.folder(of) / f"{name}.parquet")
    build(lake, current, raw)
    assert list(columns(lake, "marts.now")) == ["id", "name"]
    assert ask(lake, "FROM marts.now") == [(1, "data")]
    assert ask(lake, "FROM raw.prices ORDER BY name") == [(1, "load1"), (1, "load2")]


def test_a_table_without_files_is_empty_and_becomes_real_at_the_next_build(lake: Warehouse):
    land(lake, STAGED, D1, {"id": 1, "name": "a"})
    build(lake, STAGED, MART)
    assert ask(lake, "FROM staging.pairs") == [(1, "a", D1)]
    assert ask(lake, "FROM marts.pairs") == ask(lake, "FROM marts.pairs_latest") == []
    land(lake, MART, D1, {"id": 2, "name": "b"})
    build(lake, STAGED, MART)
    assert ask(lake, "FROM marts.pairs") == ask(lake, "FROM marts.pairs_latest") == [(2, "b", D1)]


def test_days_that_are_written_after_the_build_are_seen(lake: Warehouse):
    land(lake, MART, D1, {"id": 1, "name": "a"})
    build(lake, MART)
    land(lake, MART, D3, {"id": 3, "name": "c"})
    assert ask(lake, "FROM marts.pairs ORDER BY day") == [(1, "a", D1), (3, "c", D3)]
    assert ask(lake, "FROM marts.pairs_latest") == [(3, "c", D3)]
    land(lake, MART, D2, {"id": 2, "name": "b"})
    assert ask(lake, "SELECT id FROM marts.pairs ORDER BY day") == [(1,), (2,), (3,)]
    assert ask(lake, "FROM marts.pairs_latest") == [(3, "c", D3)]


def test_the_latest_day_is_the_newest_that_was_materialised_though_it_has_no_rows(lake: Warehouse):
    land(lake, MART, D1, {"id": 1, "name": "a"})
    land(lake, MART, D2)
    build(lake, MART)
    assert ask(lake, "FROM marts.pairs_latest") == []
    land(lake, MART, D3, {"id": 3, "name": "c"})
    assert ask(lake, "FROM marts.pairs_latest") == [(3, "c", D3)]
    land(lake, MART, D3)
    assert ask(lake, "FROM marts.pairs_latest") == []


def test_files_from_before_a_column_was_declared_or_widened_read_as_declared(lake: Warehouse):
    wider = declare([*PAIRS.columns, column("stars", "BIGINT", "Stars.", nullable=True)])
    narrow = declare([PAIRS.columns[0], column("stars", "INTEGER", "Stars.", nullable=True)])
    land(lake, MART, D1, {"id": 1, "name": "a"})
    land(lake, MART, D2, {"id": 2, "stars": 2}, declared=narrow)
    mart = table("marts/pairs", wider)
    build(lake, mart)
    land(lake, mart, D3, {"id": 3, "name": "c", "stars": 2**40}, declared=wider)
    assert ask(lake, "FROM marts.pairs ORDER BY day") == [
        (1, "a", None, D1), (2, None, 2, D2), (3, "c", 2**40, D3)
    ]  # fmt: skip
    assert ask(lake, "FROM marts.pairs_latest") == [(3, "c", 2**40, D3)]


def test_raw_shows_the_fields_of_all_loads_and_a_new_one_breaks_nothing_until_the_next_build(lake: Warehouse):
    raw = table("raw/pairs")
    lake.land(raw, D1, {"load1": pa.table({"id": [1], "name": ["a"]}), "load2": pa.table({"id": [2], "old": [True]})})
    build(lake, raw)
    assert columns(lake, "raw.pairs") == {"id": "BIGINT", "name": "VARCHAR", "old": "BOOLEAN", "day": "DATE"}
    assert ask(lake, "FROM raw.pairs ORDER BY id") == [(1, "a", None, D1), (2, None, True, D1)]
    lake.land(raw, D2, {"load3": pa.table({"id": [3], "new": [1.5]})})
    assert ask(lake, "FROM raw.pairs WHERE day > DATE '2024-02-28'") == [(3, None, None, D2)]
    build(lake, raw)
    assert ask(lake, "SELECT id, old, new, day FROM raw.pairs WHERE new > 1") == [(3, None, 1.5, D2)]


_READ = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql(sys.argv[2]).fetchall())"


def test_it_works_from_any_folder_under_any_name_beside_other_databases(lake: Warehouse, tmp_path: Path):
    land(lake, MART, D1, {"id": 1, "name": "a"})
    build(lake, MART)
    for folder in ("/", lake.root):
        words = [sys.executable, "-c", _READ, lake.root / WAREHOUSE, "SELECT id FROM marts.pairs_latest"]
        ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
        assert ended.stdout == "[(1,)]\n"
    renamed = shutil.copy(lake.root / WAREHOUSE, tmp_path / "elsewhere.duckdb")
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{renamed}' AS gh (READ_ONLY); CREATE SCHEMA marts; CREATE TABLE marts.pairs (other INT)")
        assert con.sql("SELECT id FROM gh.marts.pairs UNION ALL SELECT id FROM gh.marts.pairs_latest").fetchall() == [
            (1,), (1,)
        ]  # fmt: skip


# --- Hundreds of days

YEAR = days_between(D3 - timedelta(days=364), D3)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The warehouse of four tables of 365 days."""
    lake = Warehouse(tmp_path_factory.mktemp("year") / "lake")
    tables = [table(key) for key in ("raw/a", "staging/a", "marts/a", "marts/b")]
    for of in tables:
        land(lake, of, YEAR[0], {"id": 1, "name": "a"}, {"id": 2, "name": "b"})
        for day in YEAR[1:]:
            lake.file(of, day).parent.mkdir()
            shutil.copy(lake.file(of, YEAR[0]), lake.file(of, day))
    build(lake, *tables)
    return lake


def test_a_year_of_days_is_there(year: Warehouse):
    counts = "SELECT count(*), count(DISTINCT day), min(day), max(day)"
    for view in ("raw.a", "staging.a", "marts.a", "marts.b"):
        assert ask(year, f"{counts} FROM {view}") == [(730, 365, YEAR[0], D3)]
    assert ask(year, f"{counts} FROM marts.a_latest") == [(2, 1, D3, D3)]


@pytest.fixture
def unreadable(year: Warehouse) -> Iterator[Warehouse]:
    """The same, while `staging.a` and `marts.a` can be read on the newest day only.

    And on the first, whose footer tells DuckDB the columns of all files.
    """
    files = [file for layer in ("staging", "marts") for file in (year.root / layer / "a").glob("*/*.parquet")]
    contents = {file: file.read_bytes() for file in files if file.parent.name not in {f"day={YEAR[0]}", f"day={D3}"}}
    for file in contents:
        file.write_bytes(b"no Parquet, but as long")
    yield year
    for file, content in contents.items():
        file.write_bytes(content)


def test_a_filter_on_day_and_the_latest_day_read_no_other_day(unreadable: Warehouse):
    assert ask(unreadable, "SELECT count(*) FROM marts.a_latest") == [(2,)]
    assert ask(unreadable, "SELECT count(*) FROM marts.a WHERE day = ?", D3) == [(2,)]
    assert ask(unreadable, "SELECT count(*) FROM staging.a WHERE day > ? AND id = 1", D3 - timedelta(days=1)) == [(1,)]
    with pytest.raises(duckdb.Error):
        ask(unreadable, "SELECT count(*) FROM marts.a WHERE id = 1")


_LATEST = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=True)
one_day = f"SELECT count(*) FROM marts.a WHERE day = '{sys.argv[2]}'"
comment = "SELECT comment FROM duckdb_columns() WHERE table_name = 'a' AND schema_name = 'marts' AND column_name = 'id'"
for query in ("SELECT count(*) FROM marts.a_latest", one_day, comment):
    print(con.sql(query).fetchall())
"""


def test_duckdb_1_0_opens_it_and_reads_the_latest_day_only(unreadable: Warehouse):
    uv = Path(sys.executable).with_name("uv")
    old = [uv, "run", "--no-project", "--quiet", "--no-build", "--python", "3.11", "--with", "duckdb==1.0.0", "python"]
    if not uv.exists() or subprocess.run([*old, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("DuckDB 1.0.0 cannot be downloaded")
    ended = subprocess.run(
        [*old, "-c", _LATEST, unreadable.root / WAREHOUSE, str(D3)], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "[(2,)]\n[(2,)]\n[('A number.',)]\n", ended.stderr


def test_it_is_marked_as_readable_by_duckdb_1_0(year: Warehouse):
    ((tags,),) = ask(year, "SELECT tags FROM duckdb_databases() WHERE database_name = 'warehouse'")
    assert tags["storage_version"].startswith("v1.0.0")


# --- As a whole or not at all


_READER = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=True)
while True:
    print([name for (name,) in con.sql("SELECT name FROM (SHOW ALL TABLES)").fetchall()], flush=True)
    print(con.sql("FROM staging.pairs SELECT id ORDER BY id").fetchall(), flush=True)
    if not sys.stdin.readline():
        break
"""


def test_a_reader_that_has_it_open_goes_on_while_it_is_built_anew(lake: Warehouse):
    land(lake, STAGED, D1, {"id": 1, "name": "a"})
    build(lake, STAGED)
    with subprocess.Popen(
        [sys.executable, "-c", _READER, lake.root / WAREHOUSE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin and reader.stdout
        assert [reader.stdout.readline() for _ in range(2)] == ["['pairs']\n", "[(1,)]\n"]
        build(lake, STAGED, MART)
        land(lake, STAGED, D2, {"id": 2, "name": "b"})
        assert ask(lake, "SELECT count(*) FROM staging.pairs, marts.pairs") == [(0,)]
        # It keeps the views that it has opened, and they see the new day.
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert [reader.stdout.readline() for _ in range(2)] == ["['pairs']\n", "[(1,), (2,)]\n"]
        reader.stdin.close()
    assert reader.returncode == 0


_KILLED = """
import os, signal
from dagster import AssetKey, DagsterInstance
from mds_assets.definitions import defs
move = os.replace
def killed(source, target):
    if str(target).endswith(".duckdb"):
        os.kill(os.getpid(), signal.SIGKILL)
    move(source, target)
os.replace = killed
job = defs.resolve_implicit_global_asset_job_def()
job.execute_in_process(asset_selection=[AssetKey("warehouse")], instance=DagsterInstance.ephemeral())
"""


@pytest.mark.slow(5)
def test_a_build_that_fails_or_is_killed_leaves_the_old_one_and_the_next_leaves_no_trace(
    lake: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    land(lake, STAGED, D1, {"id": 1, "name": "a"})
    build(lake, STAGED)
    file = lake.root / WAREHOUSE
    before = sha256(file.read_bytes()).hexdigest()

    environment = os.environ | {"MDS_DATA_DIR": str(lake.root)}
    ended = subprocess.run([sys.executable, "-c", _KILLED], env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert list((lake.root / ".tmp").glob(f"*/{WAREHOUSE}"))
    assert sha256(file.read_bytes()).hexdigest() == before

    with monkeypatch.context() as patched, pytest.raises(duckdb.Error):
        patched.setattr("mds_assets.stack.warehouse.scan", lambda *_, **__: "no SQL")
        build(lake, STAGED, MART)
    assert sha256(file.read_bytes()).hexdigest() == before

    build(lake, STAGED, MART)
    assert views(lake) == {"staging.pairs", "marts.pairs", "marts.pairs_latest"}
    assert list((lake.root / ".tmp").iterdir()) == []
    assert sorted(path.name for path in lake.root.iterdir() if path.is_file()) == [WAREHOUSE]


def test_of_two_builds_at_once_the_last_to_look_is_the_last_to_write(tmp_path: Path):
    """Else the one that saw fewer tables could replace what the other has built."""
    lake = Lake(str(tmp_path))
    seen: list[str] = []

    def second() -> None:
        with lake.replacing_file(WAREHOUSE) as file:
            seen.append((tmp_path / WAREHOUSE).read_text())
            file.write_text("second")

    with lake.replacing_file(WAREHOUSE) as file:
        thread = Thread(target=second)
        thread.start()
        thread.join(0.5)
        assert seen == []
        file.write_text("first")
    thread.join()
    assert seen == ["first"]
    assert (tmp_path / WAREHOUSE).read_text() == "second"


def test_it_is_made_after_every_table_that_no_run_skips_and_last_of_all():
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    spec = specs.pop(AssetKey("warehouse"))
    tables = {key for key, spec in specs.items() if TABLE in spec.metadata}
    optional = {key for key in tables if specs[key].skippable and key.path[0] == "raw"}
    for _ in tables:
        optional |= {key for key in tables if {dep.asset_key for dep in specs[key].deps} & optional}
    assert {dep.asset_key for dep in spec.deps} == tables - optional
    (definition,) = [each for each in defs.assets or () if isinstance(each, AssetsDefinition) and spec.key in each.keys]
    assert definition.op.tags["dagster/priority"] == "-1"
    assert spec.group_name == "warehouse"
    assert spec.kinds == {"duckdb"}
    assert spec.partitions_def is None
