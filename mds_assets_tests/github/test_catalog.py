"""Promises of the catalog of GitHub's tables: every column says where it comes from."""

import pytest

from mds_assets.definitions import defs
from mds_assets.stack.table import TABLE, declared_table

DERIVED = {
    spec.key.to_user_string(): spec
    for spec in defs.resolve_all_asset_specs()
    if TABLE in spec.metadata
    and "github" in str(spec.metadata["dagster/code_references"])
    and spec.key.path[0] != "raw"
}


@pytest.mark.parametrize("table", sorted(DERIVED))
def test_every_column_is_made_from_columns_of_a_layer_below(table: str):
    declared = declared_table(table, DERIVED[table].metadata)
    assert list(declared.lineage) == declared.names
    assert all(declared.lineage.values())
