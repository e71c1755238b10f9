"""How the tests write to a lake and look at it."""

from datetime import date
from pathlib import Path

import duckdb
import polars as pl
from dagster import AssetKey

from mds_assets.stack.lake import Lake, ReadSet
from mds_assets.stack.lake.layout import partition_folder

D1, D2, D3 = date(2026, 3, 7), date(2026, 3, 8), date(2026, 3, 9)
RAW, TABLE, PAGE = AssetKey(["raw", "orders"]), AssetKey(["staging", "orders"]), AssetKey(["reports", "orders"])


def written(folder: Path, name: str, content: str = "") -> Path:
    """A local file with this content."""
    file = folder / name
    file.write_text(content or name)
    return file


def replace(
    lake: Lake,
    key: AssetKey,
    *days: date | None,
    content: str,
    inputs: ReadSet | None = None,
    name: str = "data.parquet",
    newest: str | None = None,
) -> None:
    """A run that replaces these days of a table."""
    with lake.replacing(key, inputs or {}, newest) as (folder, targets):
        for number, day in enumerate(days):
            targets[written(folder, str(number), content)] = Path(partition_folder(day), name)


def content(lake: Lake, key: AssetKey, day: date | None) -> list[str]:
    """The content of each file of a day."""
    return [file.read_text() for file in lake.files(key, day)]


def names(lake: Lake, key: AssetKey, day: date | None) -> list[str]:
    """The names of a day's files."""
    return [file.name for file in lake.files(key, day)]


def read_set(lake: Lake, key: AssetKey, *partitions: date | None) -> ReadSet:
    """What a run notes that reads these partitions of a table."""
    return {(key, partition): files for partition, files in lake.read_set(key, partitions).items()}


def write_and_read(lake: Lake, folder: Path) -> None:
    """Write to the lake, and read it with each engine."""
    pl.DataFrame({"id": [1, 2]}).write_parquet(folder / "file")
    with lake.workspace():
        lake.add(RAW, "1", {D1: folder / "file"})
    (file,) = lake.files(RAW, D1)
    with duckdb.connect() as con:
        lake.register(con)
        assert con.read_parquet(str(file)).aggregate("sum(id)::INT").fetchall() == [(3,)]
    assert pl.scan_parquet(str(file), **lake.polars_options).collect()["id"].sum() == 3
