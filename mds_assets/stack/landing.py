"""The dlt pipeline: lands what a crawl sees as one Parquet file a day.

dlt pulls the crawl page by page, gives the load its id, and lets new fields of GitHub in as new columns. Each run has a
pipeline and folders of its own: two runs that share them corrupt each other.

https://dlthub.com/docs/general-usage/resource
"""

import os

# dlt marks values of some types by a first character of its own, and takes text that begins with one for such a value.
# By default these are characters that icon fonts use; those from U+FDD0 on are never part of a text.
os.environ["DLT_JSON_TYPED_PUA_START"] = "0xfdd0"

import json
import logging
from collections.abc import Iterator
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import uuid4

import dlt
from dlt.common.data_types import TDataType
from dlt.common.libs.pydantic import pydantic_to_table_schema_columns
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.typing import TDataItem
from dlt.destinations import filesystem
from dlt.pipeline.exceptions import PipelineStepFailed

from mds_assets.github.client import Crawl
from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json, Repository

# These columns exist in every file, even when all their values are null. Nested objects and lists are JSON text.
_DECLARED: TTableSchemaColumns = {
    **{
        name: {**column, "data_type": "text" if column.get("data_type") == "json" else column.get("data_type")}
        for name, column in pydantic_to_table_schema_columns(Repository).items()
    },
    "org": {"name": "org", "data_type": "text"},
    "observed_at": {"name": "observed_at", "data_type": "timestamp"},
}
_OTHERS = {"day", "_dlt_id", "_dlt_load_id"}  # columns that the lake and dlt add

_TYPES: dict[type, TDataType] = {bool: "bool", int: "bigint", float: "double", str: "text"}


def land(crawl: Crawl, folder: Path) -> tuple[str, dict[date, Path]]:
    """Crawl, and write each day's rows as one Parquet file, an empty one with all columns where there are none.

    Args:
        crawl: What to land; it has not been iterated yet.
        folder: An empty folder for dlt's working files and the result; the caller removes it.

    Returns:
        The load's id, and each day's file.

    Raises:
        GitHubError: The crawl failed.
        OSError: The folder cannot be written.
    """
    dlt.config["runtime.dlthub_telemetry"] = False
    # Rows wait in memory until there are so many: dlt's own 5,000 is for one table, and here is one a day.
    dlt.config["extract.data_writer.buffer_max_items"] = 200
    dlt.config["normalize.data_writer.buffer_max_items"] = 2_000
    pipeline = dlt.pipeline(
        pipeline_name=f"github_{uuid4().hex}",
        pipelines_dir=str(folder / "working"),
        # A table a day: one extract, normalize and load for all days, which N loads of one day each are not.
        destination=filesystem(bucket_url=folder.as_uri(), layout="{table_name}/{load_id}.{file_id}.{ext}"),
        dataset_name="landed",
    )
    # dlt warns of every field that was null in all rows: GitHub has such fields on most days. The pipeline has just set
    # the level, hence not before.
    logging.getLogger("dlt").setLevel(logging.ERROR)
    repositories = dlt.resource(_rows, name="repositories", max_table_nesting=0)
    try:
        load = pipeline.run(repositories(crawl), loader_file_format="parquet")
    except PipelineStepFailed as failed:
        raise _innermost(failed) from None
    (load_id,) = load.loads_ids
    files: dict[date, Path] = {}
    for day in crawl.days:
        (files[day],) = (folder / "landed" / _table(day)).glob("*.parquet")
    return load_id, files


def _rows(crawl: Crawl) -> Iterator[TDataItem]:
    """Each page's rows, marked with the tables of their days; in the end the columns of all tables."""
    columns = _Columns()
    for page in crawl:
        for day, rows in page.items():
            yield dlt.mark.with_table_name([columns.landed(row) for row in rows], _table(day))
    # Once for all, as dlt begins another file where a column turns up late.
    for day in crawl.days:
        hints = dlt.mark.make_hints(table_name=_table(day), write_disposition="append", columns=columns.declared)
        nothing = [] if crawl.rows[day] else dlt.mark.materialize_table_schema()
        yield dlt.mark.with_hints(nothing, hints, create_table_variant=True)


class _Columns:
    """Which column a field of GitHub's lands in, so that dlt has nothing to convert and no two fields to merge.

    A declared field keeps its name. Any other gets the name that dlt would give it, or `github_...` if that is taken;
    where its values have several types, each further type has a column of its own.
    """

    def __init__(self) -> None:
        self.declared = dict(_DECLARED)
        self._columns: dict[tuple[str, TDataType], str] = {}
        self._fields: set[str] = set()
        self._name = dlt.Schema("github").naming.normalize_identifier

    def landed(self, row: Json) -> Json:
        """The row by column, without nulls."""
        values = {field: _plain(value) for field, value in row.items() if value is not None}
        return {
            field if field in _DECLARED else self._column(field, _TYPES[type(value)]): value
            for field, value in values.items()
        }

    def _column(self, field: str, kind: TDataType) -> str:
        if (field, kind) not in self._columns:
            name = field.strip() or "_"
            column = self._name(f"{name}_as_{kind}" if field in self._fields else name)
            while column in self.declared or column in _OTHERS:
                column = f"github_{column}"
            self.declared[column] = {"name": column, "data_type": kind}
            self._columns[field, kind] = column
            self._fields.add(field)
        return self._columns[field, kind]


def _plain(value: Any) -> Any:
    """The value as one of the types that a column has: a nested one as JSON text, a number out of range as text."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if (isinstance(value, int) and not -(2**63) <= value < 2**63) or (isinstance(value, float) and not isfinite(value)):
        return str(value)
    return value


def _table(day: date) -> str:
    return f"day_{day:%Y_%m_%d}"


def _innermost(error: BaseException) -> BaseException:
    """What broke: dlt wraps it several times, each quoting the other."""
    while not isinstance(error, GitHubError | OSError) and (
        cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    ):
        error = cause
    return error
