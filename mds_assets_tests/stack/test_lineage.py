"""Promises of the lineage page: every declared origin is a link, text is text, and a column's whole way is shown."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetSpec
from playwright.sync_api import Browser, Page
from typer.testing import CliRunner

from mds_assets.definitions import defs
from mds_assets.stack.cli.app import app
from mds_assets.stack.lineage import lineage_page, lineage_tables
from mds_assets.stack.table import TABLE, column, declared_table, table
from mds_assets_tests.chromium import UNREADABLE, chromium_browser, needs_chromium, opened
from mds_assets_tests.hostile import HOSTILE, acting
from mds_assets_tests.stack import toy

TOY = [spec for block in (toy.orders, toy.staged, toy.current, toy.revenue) for spec in block.specs]
ATTACK = """</span></button><script>alert("x")</script><img src=x onerror="alert(1)">{{ 7 * 7 }}"""


def spec(name: str, description: str) -> AssetSpec:
    declared = table([column("amount", "BIGINT", description)])
    return AssetSpec(name.split("/"), description=description, metadata=declared.metadata)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_browser() as browser:
        yield browser


@pytest.fixture
def toy_page(tmp_path: Path) -> Path:
    """The page of the toy."""
    file = tmp_path / "lineage.html"
    file.write_text(lineage_page(TOY), encoding="utf-8")
    return file


def marked(page: Page, state: str) -> set[str]:
    """The names of the columns that are highlighted as this and are visible."""
    found = page.locator(f"button[data-number]{state}").all()
    assert all(each.is_visible() for each in found)
    return {name for each in found if (name := each.get_attribute("data-name"))}


def test_every_declared_origin_of_every_table_is_linked():
    tables = [spec for spec in defs.resolve_all_asset_specs() if TABLE in spec.metadata]
    pages = lineage_tables(tables)
    names = {each.number: f"{of_table.name}.{each.name}" for of_table in pages for each in of_table.columns}
    linked = {names[each.number]: [names[origin] for origin in each.origin_numbers]
              for of_table in pages for each in of_table.columns}  # fmt: skip
    for each in tables:
        name = each.key.to_user_string()
        for derived, origins in declared_table(name, each.metadata).lineage.items():
            assert linked[f"{name}.{derived}"] == list(origins)


def test_a_current_table_knows_where_its_columns_come_from():
    (current,) = lineage_tables(toy.current.specs)
    assert {each.name: each.origins for each in current.columns} == {
        "order_id": ["staging/orders.order_id"],
        "country": ["staging/orders.country"],
        "cents": ["staging/orders.cents"],
        "day": ["staging/orders.day"],
    }


def test_an_origin_that_is_no_table_of_the_page_is_named_and_not_linked():
    (mart,) = lineage_tables(toy.revenue.specs)
    assert [(each.origins, each.origin_numbers) for each in mart.columns if each.name == "mean"] == [
        (("staging/orders.cents",), [])
    ]
    assert "From staging/orders.cents." in lineage_page(toy.revenue.specs)


def test_a_hostile_description_is_text():
    page = lineage_page([spec("raw/attacks", ATTACK)])
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert page.count(str(escape(ATTACK)).replace("&quot;", "&#34;")) == 2
    for text in HOSTILE:
        assert not acting(lineage_page([spec("raw/attacks", text)]), keep="\n")


def test_the_page_loads_nothing():
    page = lineage_page(TOY)
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_no_table_is_a_page_too():
    assert "No table declares columns." in lineage_page([AssetSpec("plain")])


def test_mds_lineage_writes_the_page_and_prints_its_path(tmp_path: Path):
    file = tmp_path / "new" / "lineage.html"
    ended = CliRunner().invoke(app, ["lineage", str(file)])
    assert (ended.exit_code, ended.output) == (0, f"{file}\n")
    assert file.read_text(encoding="utf-8").endswith("</html>\n")


@pytest.mark.slow(2)
@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_a_search_shows_all_that_is_upstream_and_downstream(toy_page: Path, chromium: Browser, width: int, scheme: str):
    page, noted = opened(chromium, toy_page, width, scheme)
    assert page.locator("button[data-number]:visible").count() == sum(len(each.columns) for each in lineage_tables(TOY))
    page.get_by_role("searchbox").fill("orders.cents")
    assert marked(page, "[aria-pressed=true]") == {"staging/orders.cents"}
    assert marked(page, ".upstream") == {"raw/orders.total"}
    assert marked(page, ".downstream") == {"staging/orders_now.cents", "marts/revenue.mean"}
    assert page.locator("button[data-number]:visible").count() == 4
    assert page.get_by_role("status").text_content() == "1 column found: 1 upstream, 2 downstream"
    mean = page.locator("[data-name='marts/revenue.mean']")
    assert mean.get_by_text("Their mean total in cents; null when none is known.").is_visible()
    assert mean.get_by_text("DOUBLE").is_visible()
    assert page.locator("svg path").count() == (3 if width == 1440 else 0)
    assert page.evaluate(UNREADABLE) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert [each for each in noted if each != "data:,"] == [toy_page.as_uri()]
    page.context.close()


@needs_chromium
def test_it_works_with_the_keyboard_alone_and_has_an_address_for_each_column(toy_page: Path, chromium: Browser):
    page, _ = opened(chromium, toy_page)
    page.keyboard.press("/")
    page.keyboard.type("parcels")
    assert page.get_by_role("status").text_content() == "No column found"
    page.keyboard.press("Escape")
    page.keyboard.type("mean total")  # in a description, as no column has the name
    assert marked(page, "[aria-pressed=true]") == {"marts/revenue.mean"}
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert marked(page, "[aria-pressed=true]") == {"raw/orders.total"}
    assert marked(page, ".downstream") == {"staging/orders.cents", "staging/orders_now.cents", "marts/revenue.mean"}
    address = page.url
    page.keyboard.press("Escape")
    assert page.locator("button[aria-pressed=true]").count() == 0
    assert page.url == toy_page.as_uri()
    again: Any = page.context.new_page()
    again.goto(address)
    assert marked(again, "[aria-pressed=true]") == {"raw/orders.total"}
    page.context.close()


@needs_chromium
def test_a_hostile_description_does_nothing_in_a_browser(tmp_path: Path, chromium: Browser):
    file = tmp_path / "lineage.html"
    file.write_text(lineage_page([spec("raw/attacks", ATTACK)]), encoding="utf-8")
    page, noted = opened(chromium, file)
    page.get_by_role("button", name="amount").click()
    assert page.get_by_role("button", name="amount").locator(".description").text_content() == ATTACK
    assert page.locator("script").count() == 1
    assert len(noted) <= 2  # the file, and its empty icon
    page.context.close()
