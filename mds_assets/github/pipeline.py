"""The dlt pipeline: lands what a crawl sees as one Parquet file a day.

dlt pulls the crawl page by page, gives the load its id and types, and lets new fields of GitHub in as new columns. Each
run has a pipeline and folders of its own: two runs that share them corrupt each other.

https://dlthub.com/docs/general-usage/resource
"""

import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import uuid4

import dlt
from dlt.common.libs.pydantic import pydantic_to_table_schema_columns
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.typing import TDataItem
from dlt.destinations import filesystem
from dlt.pipeline.exceptions import PipelineStepFailed

from mds_assets.github.client import Crawl
from mds_assets.github.repository import Repository

# These columns exist in every file, even when all their values are null. Nested objects and lists become JSON text.
_COLUMNS: TTableSchemaColumns = {
    **pydantic_to_table_schema_columns(Repository),
    "org": {"name": "org", "data_type": "text"},
    "observed_at": {"name": "observed_at", "data_type": "timestamp"},
}


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
    # A day's rows wait in memory until there are so many: dlt's own 5,000 is for one table, and here are many.
    dlt.config["extract.data_writer.buffer_max_items"] = 200
    schema = dlt.Schema("github")
    # An unknown field is what GitHub sent: text that looks like a time stays text.
    schema.remove_type_detection("iso_timestamp")
    pipeline = dlt.pipeline(
        pipeline_name=f"github_{uuid4().hex}",
        pipelines_dir=str(folder / "working"),
        # A table a day: one extract, normalize and load for all days, which N loads of one day each are not.
        destination=filesystem(bucket_url=str(folder), layout="{table_name}/{load_id}.{file_id}.{ext}"),
        dataset_name="landed",
    )
    # dlt warns of every field that was null in all rows: GitHub has such fields on most days. The pipeline has just set
    # the level, hence not before.
    logging.getLogger("dlt").setLevel(logging.ERROR)
    repositories = dlt.resource(_rows, name="repositories", max_table_nesting=0)
    try:
        load = pipeline.run(repositories(crawl), schema=schema, loader_file_format="parquet")
    except PipelineStepFailed as failed:
        raise _innermost(failed) from None
    (load_id,) = load.loads_ids
    files: dict[date, Path] = {}
    for day in crawl.days:
        (files[day],) = (folder / "landed" / _table(day)).glob("*.parquet")
    return load_id, files


def _rows(crawl: Crawl) -> Iterator[TDataItem]:
    """Each page's rows, marked with the tables of their days."""
    declared: set[date] = set()

    def of_day(day: date, rows: TDataItem) -> TDataItem:
        if day in declared:
            return dlt.mark.with_table_name(rows, _table(day))
        declared.add(day)
        hints = dlt.mark.make_hints(
            table_name=_table(day),
            write_disposition="append",
            columns=_COLUMNS,
            # The declared columns' types are checked before; a changed type of another becomes one more column.
            schema_contract="evolve",
        )
        return dlt.mark.with_hints(rows, hints, create_table_variant=True)

    for page in crawl:
        for day, rows in page.items():
            yield of_day(day, rows)
    for day in set(crawl.days) - declared:
        yield of_day(day, dlt.mark.materialize_table_schema())


def _table(day: date) -> str:
    return f"day_{day:%Y_%m_%d}"


def _innermost(error: BaseException) -> BaseException:
    """What broke: dlt wraps it several times, each quoting the other."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return error
