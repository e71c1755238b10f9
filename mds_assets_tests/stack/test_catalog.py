"""Promises of the catalog, of whatever tables there are: a key, where columns come from, a link to the code."""

from pathlib import Path

import pytest
from dagster import CodeReferencesMetadataValue

from mds_assets.definitions import defs
from mds_assets.stack import blocks
from mds_assets.stack.table import TABLE, Table, declared_table

TABLES = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs() if TABLE in spec.metadata}


def declared(table: str) -> Table:
    return declared_table(table, TABLES[table].metadata)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_declares_a_key_of_its_columns(table: str):
    assert declared(table).key
    assert set(declared(table).key) <= set(declared(table).names)


@pytest.mark.parametrize("table", sorted(name for name in TABLES if not name.startswith("raw/")))
def test_a_lineage_names_columns_of_tables_that_the_table_reads(table: str):
    upstream = {dep.asset_key.to_user_string() for dep in TABLES[table].deps}
    for origins in declared(table).lineage.values():
        for origin in origins:
            source, _, column = origin.rpartition(".")
            assert source in upstream
            assert column in declared(source).names


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_links_to_the_users_own_code_and_not_to_the_stacks(table: str):
    references = TABLES[table].metadata["dagster/code_references"]
    assert isinstance(references, CodeReferencesMetadataValue)
    (reference,) = references.code_references
    file = Path(str(getattr(reference, "file_path", "")))
    assert file.exists()
    assert Path(blocks.__file__).parent not in file.parents


@pytest.mark.parametrize("table", sorted(name for name in TABLES if name.startswith("staging/")))
def test_staging_shows_its_query(table: str):
    references = TABLES[table].metadata["dagster/code_references"]
    (reference,) = references.code_references
    assert Path(reference.file_path).read_text(encoding="utf-8") in str(TABLES[table].metadata["sql"].value)
