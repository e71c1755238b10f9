"""Promises of the catalog: every column says where it comes from."""

import pytest
from dagster import CodeReferencesMetadataValue, TableColumnLineage

from mds_assets.definitions import defs
from mds_assets.defs.github.staging import REPOS_SQL
from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets.stack.table import COLUMN_LINEAGE, COLUMN_SCHEMA, declared_schema, key_of

TABLES = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs() if COLUMN_SCHEMA in spec.metadata}


def columns(table: str) -> set[str]:
    """The declared columns of a table."""
    return {column.name for column in declared_schema(table, TABLES[table].metadata).columns}


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_declares_a_key_of_its_columns(table: str):
    key = key_of(declared_schema(table, TABLES[table].metadata))
    assert key
    assert set(key) <= columns(table)


@pytest.mark.parametrize("table", sorted(name for name in TABLES if not name.startswith("raw/")))
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
            assert origin.column_name in columns(origin.asset_key.to_user_string())


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_links_to_its_code(table: str):
    references = TABLES[table].metadata["dagster/code_references"]
    assert isinstance(references, CodeReferencesMetadataValue)
    (reference,) = references.code_references
    assert str(PROJECT_ROOT / "mds_assets/assets") in str(reference)


def test_staging_shows_its_sql():
    assert REPOS_SQL in str(TABLES["staging/repos"].metadata["sql"].value)
