"""The dlt pipeline: lands what a crawl saw as one Parquet file a day.

dlt gives each load its id and types, lets new fields of GitHub in as new columns and refuses a changed type. Each run
has a pipeline and folders of its own: two runs that share them corrupt each other.

https://dlthub.com/docs/general-usage/schema-contracts
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import dlt
from dlt.common.data_types import TDataType
from dlt.common.typing import TDataItem
from dlt.destinations import filesystem
from dlt.extract import DltResource


def land(
    days: Mapping[date, Sequence[Mapping[str, Any]]], columns: Mapping[str, TDataType], folder: Path
) -> tuple[str, dict[date, Path]]:
    """Write each day's rows as one Parquet file, an empty one with all columns where there are none.

    Args:
        days: The rows of each day. Nested objects and lists become JSON text, as GitHub sent them.
        columns: The columns that exist in every file even when all their values are null, with dlt's data types. A
            value of another type fails the load.
        folder: An empty folder for dlt's working files and the result; the caller removes it.

    Returns:
        The load's id, and each day's file.
    """
    dlt.config["runtime.dlthub_telemetry"] = False
    pipeline = dlt.pipeline(
        pipeline_name=f"github_{uuid4().hex}",
        pipelines_dir=str(folder / "working"),
        # A resource a day: one extract, normalize and load for all days, which N loads of one day each are not.
        destination=filesystem(bucket_url=str(folder), layout="{table_name}/{load_id}.{file_id}.{ext}"),
        dataset_name="landed",
    )
    # dlt warns of every field that was null in all rows: GitHub has such fields on most days. The pipeline has just set
    # the level, hence not before.
    logging.getLogger("dlt").setLevel(logging.ERROR)
    load = pipeline.run([_observations(day, rows, columns) for day, rows in days.items()], loader_file_format="parquet")
    (load_id,) = load.loads_ids
    files: dict[date, Path] = {}
    for day in days:
        (files[day],) = (folder / "landed" / _table(day)).glob("*.parquet")
    return load_id, files


def _observations(day: date, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, TDataType]) -> DltResource:
    def observations() -> Iterator[TDataItem]:
        # Without rows, dlt writes a file only when told to.
        yield list(rows) if rows else dlt.mark.materialize_table_schema()

    return dlt.resource(
        observations,
        name=_table(day),
        write_disposition="append",
        max_table_nesting=0,
        columns={name: {"name": name, "data_type": data_type} for name, data_type in columns.items()},
        schema_contract={"columns": "evolve", "data_type": "freeze"},
    )


def _table(day: date) -> str:
    return f"day_{day:%Y_%m_%d}"
