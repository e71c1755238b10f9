"""Promises of the catalog: every column says where it comes from, and every table links to the user's code."""

from pathlib import Path

import pytest
from dagster import AssetSpec, CodeReferencesMetadataValue, LocalFileCodeReference, TableColumnLineage

from mds_assets.definitions import defs
from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets.stack.table import COLUMN_LINEAGE, DAY, TABLE, declared_table
from mds_assets_tests.stack import toy

TABLES = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs() if TABLE in spec.metadata}
SPECS = [spec for block in (toy.orders, toy.staged, toy.current, toy.revenue) for spec in block.specs]


def columns(table: str) -> set[str]:
    """The declared columns of a table."""
    return set(declared_table(table, TABLES[table].metadata).names)


def partition(table: str) -> set[str]:
    """The column that nobody declares: a table with partitions has their day."""
    return {DAY} if TABLES[table].partitions_def else set()


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_declares_a_key_of_its_columns(table: str):
    key = declared_table(table, TABLES[table].metadata).key
    assert key
    assert set(key) <= columns(table)


@pytest.mark.parametrize("table", sorted(name for name in TABLES if COLUMN_LINEAGE in TABLES[name].metadata))
def test_every_column_is_made_from_columns_of_a_layer_below(table: str):
    lineage = TABLES[table].metadata[COLUMN_LINEAGE]
    assert isinstance(lineage, TableColumnLineage)
    made_from = lineage.deps_by_column
    assert made_from.keys() == columns(table)
    upstream = {dep.asset_key for dep in TABLES[table].deps}
    for origins in made_from.values():
        assert origins
        for origin in origins:
            assert origin.asset_key in upstream
            name = origin.asset_key.to_user_string()
            assert origin.column_name in columns(name) | partition(name)


def code_of(spec: AssetSpec) -> LocalFileCodeReference:
    """The one place that the UI links to."""
    references = spec.metadata["dagster/code_references"]
    assert isinstance(references, CodeReferencesMetadataValue)
    (reference,) = references.code_references
    assert isinstance(reference, LocalFileCodeReference)
    return reference


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_links_to_its_source_and_not_to_the_stack(table: str):
    file = Path(code_of(TABLES[table]).file_path)
    assert file.is_relative_to(PROJECT_ROOT / "mds_assets" / "defs")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key.to_user_string())
def test_a_block_links_to_the_users_function_query_or_call(spec: AssetSpec):
    code = code_of(spec)
    lines = Path(code.file_path).read_text().splitlines()[(code.line_number or 1) - 1 :]
    first = {"orders": "@raw_table(", "orders_now": "current = current_table(", "revenue": "@mart("}
    expected = "SELECT" if spec.key.path[0] == "staging" and spec.key.path[-1] == "orders" else first[spec.key.path[-1]]
    assert any(line.startswith(expected) for line in lines[:2])


def test_staging_shows_its_sql():
    (spec,) = toy.staged.specs
    query = (Path(toy.__file__).parent / "staging/orders.sql").read_text()
    assert query in str(spec.metadata["sql"].value)
