"""Promises of `examples/shop`: copied into `defs/`, it is a pipeline, also in a project without GitHub."""

from collections.abc import Generator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mds_assets_tests.examples.copied import CopiedProject
from mds_assets_tests.examples.shop import OrdersAPI, customers_database, execute, orders_api
from mds_assets_tests.services import postgres_bins

pytestmark = pytest.mark.skipif(not postgres_bins(), reason="PostgreSQL is not installed")

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
BEFORE = YESTERDAY - timedelta(days=1)
TODAY = YESTERDAY + timedelta(days=1)


def order(number: int, day: date, customer: int = 1, hour: int = 10, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "customer_id": customer,
        "sku": "tea",
        "quantity": 2,
        "status": "open",
        "updated_at": f"{day}T{hour:02}:00:00Z",
        "noteForStaff": {"deep": [number]},  # a field that nobody declared
        **fields,
    }


@pytest.fixture
def api() -> Generator[OrdersAPI]:
    with orders_api() as server:
        server.orders = [
            order(1, BEFORE),
            order(2, BEFORE, customer=2, sku="cup"),
            order(3, YESTERDAY, customer=3, hour=0),
            order(4, YESTERDAY, status="cancelled"),
            order(5, TODAY, customer=2, hour=0),  # changed between midnight and the run
        ]
        yield server


@pytest.fixture
def database() -> Generator[str]:
    # Where PostgreSQL's own user may enter, unlike pytest's folders.
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with customers_database(Path(folder)) as url:
            yield url


@pytest.fixture
def project(tmp_path: Path, api: OrdersAPI, database: str) -> CopiedProject:
    prices = tmp_path / "prices"
    prices.mkdir()
    (prices / "2026-01.csv").write_text("sku,price\ntea,1.10\ncup,7.00\n")
    (prices / "2026-02.csv").write_text("sku,price\ntea,1.25\n")
    copied = CopiedProject(tmp_path, ["shop"])
    copied.environment |= {
        "SHOP_API_URL": api.url,
        "SHOP_DATABASE_URL": database,
        "SHOP_PRICES_DIR": str(prices),
    }
    return copied


def test_a_copied_folder_is_a_pipeline_without_any_other_edit(project: CopiedProject, api: OrdersAPI, database: str):
    """Pages, late updates, DECIMAL, DATE, TIMESTAMP, snapshots, current tables, a join: equal to what was sent."""
    ran = project.command("mds", "run", "--days", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert api.since[0].startswith(f"{BEFORE}T00:00:00")
    assert project.rows("staging/orders", "day, order_id, is_cancelled") == [
        (BEFORE, 1, False),
        (BEFORE, 2, False),
        (YESTERDAY, 3, False),
        (YESTERDAY, 4, True),
    ]
    # Both days look back on the one snapshot of customers that there is, and on the newest prices.
    assert project.rows("marts/revenue", "day, country, orders, revenue") == [
        (BEFORE, "GB", 1, 2.5),
        (BEFORE, "US", 1, 14.0),
        (YESTERDAY, "GB", 1, 2.5),
        (YESTERDAY, "US", 1, 14.0),
        (YESTERDAY, "Unknown", 1, 2.5),
    ]
    # What changed after the range lies in its own day, which was not landed by that.
    assert [path.name.endswith(".early.parquet") for path in (project.lake / f"raw/orders/day={TODAY}").iterdir()] == [
        True
    ]
    assert project.rows("raw/customers", "id, credit, since, changed_at")[0] == (
        1,
        Decimal("1000.50"),
        date(2020, 2, 29),
        datetime(2026, 1, 1, 12, 0, 0, 123456),  # noqa: DTZ001  # the database keeps no zone
    )
    assert project.rows("raw/orders", "note_for_staff")[0] == ('{"deep":[1]}',)
    for place in (ran.stdout, ran.stderr):
        assert "kept-secret-4711" not in place


@pytest.mark.slow(6)
def test_each_customer_is_current_also_one_who_left(project: CopiedProject, database: str):
    assert project.command("mds", "run", "--days", "1").returncode == 0
    execute(database, "DELETE FROM customers WHERE id = 1", "UPDATE customers SET country = 'FI' WHERE id = 3")
    again = project.command("mds", "run", "--days", "1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert project.rows("staging/current_customers", "customer_id, country, day") == [
        (1, "GB", YESTERDAY),  # raw keeps the first snapshot of the day, which had this customer
        (2, "US", YESTERDAY),
        (3, "FI", YESTERDAY),
    ]


@pytest.mark.slow(9)
def test_the_same_commands_work_without_github(project: CopiedProject):
    """`mds run` has no --org, `mds show` and its closing lines name nothing of GitHub, dagster's own commands work."""
    day = str(YESTERDAY)
    made = project.command(
        "dagster", "asset", "materialize", "-m", "mds_assets.definitions", "--select", "*", "--partition", day
    )
    assert made.returncode == 0, made.stdout + made.stderr
    shown = project.command("mds", "show")
    assert shown.returncode == 0, shown.stderr
    assert "marts/revenue" in shown.stdout
    assert "github" not in shown.stdout.lower().replace(str(project.root).lower(), "")
    assert max(len(line) for line in shown.stdout.splitlines() if str(project.lake) not in line) <= 80
    assert "--org" not in project.command("mds", "run", "--help").stdout
    answer = project.command("mds", "sql", "SELECT count(*) AS n FROM marts.revenue_latest", "--csv")
    assert answer.stdout.split() == ["n", "1"], answer.stderr


@pytest.mark.slow(6)
def test_a_wrong_value_is_one_line_that_names_the_column_and_lands_nothing(project: CopiedProject, api: OrdersAPI):
    api.orders.append(order(6, YESTERDAY, quantity="many"))
    ran = project.command("mds", "run", "--days", "1")
    assert ran.returncode == 1
    assert "raw/orders.quantity is declared INTEGER" in ran.stderr
    assert not (project.lake / "raw/orders").exists()
