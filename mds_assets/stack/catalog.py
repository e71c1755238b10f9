"""The data dictionary: every table's declaration as one markdown page, `docs/data-dictionary.md`.

    mds dictionary > docs/data-dictionary.md

What does not belong here: what Dagster's UI shows by itself of the same declarations.
"""

from collections.abc import Iterable

from dagster import AssetSpec, TableColumnLineage

from mds_assets.stack.table import COLUMN_LINEAGE, declared_schema, key_of, rules_of

_INTRODUCTION = """# Data dictionary

Written by `mds dictionary` from the declarations in `mds_assets/assets/`; a test fails when it is stale. Every table
also has the column `day`, a DATE in UTC: the partition that the row belongs to. Of a mart it is the as-of day.
"""


def data_dictionary(specs: Iterable[AssetSpec]) -> str:
    """A section for each table in the order of the layers: description, key, columns with their sources, rules."""
    return "\n".join([_INTRODUCTION, *(_section(spec) for spec in specs)])


def _section(spec: AssetSpec) -> str:
    name = spec.key.to_user_string()
    schema = declared_schema(name, spec.metadata)
    declared = spec.metadata.get(COLUMN_LINEAGE)
    made_from = declared.deps_by_column if isinstance(declared, TableColumnLineage) else {}
    lines = [
        f"## {name}\n",
        f"{spec.description}\n",
        f"One row a day for each: {', '.join(key_of(schema))}.\n",
        "| column | type | null | what it holds | from |",
        "|---|---|---|---|---|",
    ]
    for column in schema.columns:
        sources = ", ".join(
            f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in made_from.get(column.name, [])
        )
        null = "yes" if column.constraints.nullable else "no"
        lines.append(f"| {column.name} | {column.type} | {null} | {column.description} | {sources} |")
    rules = [f"`{rule}`" for rule in rules_of(schema)]
    return "\n".join([*lines, *([f"\nIn every row: {', '.join(rules)}."] if rules else []), ""])
