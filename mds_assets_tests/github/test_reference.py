"""Promises of the generated pages about GitHub: its tables and its options are in them, as they are now."""

from mds_assets.definitions import defs
from mds_assets.defs.github.options import RUN_OPTIONS
from mds_assets.stack.catalog import data_dictionary
from mds_assets.stack.cli_reference import cli_reference
from mds_assets.stack.table import TABLE
from mds_assets_tests.stack.test_reference import CLI_PAGE, TABLES_PAGE, sections

GITHUB = "raw/github_repos"


def tables_of_github() -> set[str]:
    """GitHub's raw table, and every table that is made from it."""
    specs = [spec for spec in defs.resolve_all_asset_specs() if TABLE in spec.metadata]
    tables = {GITHUB}
    while True:
        made = {
            spec.key.to_user_string()
            for spec in specs
            if any(dep.asset_key.to_user_string() in tables for dep in spec.deps)
        }
        if made <= tables:
            return tables
        tables |= made


def test_each_table_of_github_is_in_the_tables_page_as_it_is_declared_now():
    written, generated = sections(TABLES_PAGE), sections(data_dictionary(defs.resolve_all_asset_specs()))
    for table in sorted(tables_of_github()):
        assert written.get(table, "").strip() == generated[table].strip(), (
            "stale: .venv/bin/mds dictionary > docs/reference/tables.md"
        )


def test_githubs_options_are_in_the_commands_page():
    (row,) = sections(cli_reference(RUN_OPTIONS))["Options of sources"].strip().splitlines()[-1:]
    assert "`GITHUB_ORG`" in row
    assert row in CLI_PAGE, "stale: .venv/bin/python -m mds_assets.stack.cli_reference > docs/reference/cli.md"
    assert "[options of sources](#options-of-sources)" in CLI_PAGE.partition("## mds run")[0]
