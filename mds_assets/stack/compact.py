"""The job `compact`: merges the many small loads of an old raw day into one file, with the same rows.

An hourly run leaves 24 loads a day, each with a footer that every reader of raw reads. Compaction keeps every row,
column, type and load id. Loads that have a column in different types stay apart, as merging them would convert values;
so do early rows, whose day does not count as landed because of them.

Readers see the old files or the new one, never both: see `Lake.replace_loads`.
"""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
from dagster import AssetKey, Config, JobDefinition, OpExecutionContext, ResourceParam, job, op
from pydantic import Field
from upath import UPath

from mds_assets.stack.completeness import left_out, scope_of
from mds_assets.stack.io_managers.duckdb import kv_metadata
from mds_assets.stack.lake import Files, InputsChangedError, Lake, LakeError
from mds_assets.stack.lake.footers import recorded
from mds_assets.stack.lake.layout import compacted_file, is_landed
from mds_assets.stack.names import LEFT_OUT, LOAD, LOADS, SCOPE
from mds_assets.stack.provenance import Footer
from mds_assets.stack.session import Session
from mds_assets.stack.table import literal


class CompactConfig(Config):
    """What `compact` may merge."""

    older_than_days: int = Field(default=30, ge=2, description="Days since the day that the loads belong to.")
    more_than_loads: int = Field(default=8, ge=1, description="Leave a day alone that has no more loads than this.")
    dry_run: bool = Field(default=False, description="Log what would be merged, and merge nothing.")


def compact_job(tables: Sequence[AssetKey]) -> JobDefinition:
    """The job, over these raw tables with daily partitions."""

    @op(name="compact_loads", description="Merges the loads of old raw days; keeps every row.")
    def compact_loads(context: OpExecutionContext, config: CompactConfig, session: ResourceParam[Session]) -> None:
        last = datetime.now(UTC).date() - timedelta(days=config.older_than_days)
        for key in tables:
            compact(context, session, key, last, config)

    @job(name="compact", description="Merges the many small loads of old raw days, with the same rows.")
    def compact_raw() -> None:
        compact_loads()

    return compact_raw


def compact(context: OpExecutionContext, session: Session, key: AssetKey, last: date, config: CompactConfig) -> None:
    """Merge the loads of a table's days up to `last`, and log what became of each."""
    lake, name = session.lake, key.to_user_string()
    if lake.is_remote:
        context.log.warning("%s stays as it is: an object store cannot replace several files in one step", name)
        return
    days = [day for day in {*lake.days(key), *lake.early_days(key)} if day <= last]
    for day, files in sorted(lake.read_set(key, days).items(), key=lambda item: str(item[0])):
        if not day or len(files) <= config.more_than_loads:
            continue
        try:
            groups = [group for group in _groups(session.connection, files) if len(group) > 1]
            merged = len(files) - sum(map(len, groups)) + len(groups)
            if groups and not config.dry_run:
                _merge(session, lake, key, day, files, groups)
        except (InputsChangedError, LakeError, duckdb.Error) as error:
            context.log.warning("%s of %s stays as it is: %s", name, day, str(error).splitlines()[0])
            continue
        would = "would merge" if config.dry_run else "merged"
        context.log.info("%s of %s: %s %s files into %s", name, day, would, len(files), merged)


def _groups(con: duckdb.DuckDBPyConnection, files: Iterable[UPath]) -> Iterator[list[UPath]]:
    """The files that can be merged with each other: landed or early, and no column in two types or spellings."""
    groups: list[tuple[dict[str, tuple[str, str]], bool, list[UPath]]] = []
    for file in files:
        rows = con.sql(_select([file]))
        columns = {name.lower(): (name, str(kind)) for name, kind in zip(rows.columns, rows.types, strict=True)}
        for known, landed, members in groups:
            if landed == is_landed([file.name]) and all(
                known.get(name, column) == column for name, column in columns.items()
            ):
                known |= columns
                members.append(file)
                break
        else:
            groups.append((columns, is_landed([file.name]), [file]))
    yield from (members for _, _, members in groups)


def _merge(session: Session, lake: Lake, key: AssetKey, day: date, files: Files, groups: list[list[UPath]]) -> None:
    with lake.workspace() as folder:
        merged: dict[str, Path] = {}
        for group in groups:
            name = compacted_file(file.name for file in group)
            merged[name] = folder / name
            _write(session.connection, lake, group, merged[name])
        replaced = {file: files[file] for group in groups for file in group}
        lake.replace_loads(key, day, replaced, merged, folder)


def _write(con: duckdb.DuckDBPyConnection, lake: Lake, files: Sequence[UPath], target: Path) -> None:
    """Write the rows of these files to one, and read it again to be sure.

    Raises:
        LakeError: It does not read like the files. Nothing has changed in the lake.
    """
    facts = {name: json.dumps(sorted(set(values))) for name, values in _facts(files).items()}
    # With their versions: what was made from the loads is not stale.
    loads = {name: load for file in files for name, load in Footer.of(lake, file).loads(file.name).items()}
    facts[LOAD] = json.dumps({"loads": loads})
    if missing := left_out(files):
        facts[LEFT_OUT] = json.dumps(missing)
    before = _select(files)
    con.execute(f"COPY ({before}) TO {literal(target)} (FORMAT parquet, COMPRESSION zstd, {kv_metadata(facts)})")
    after = _select([UPath(target)])
    rows, same = con.sql(before), con.sql(after)
    is_same = rows.columns == same.columns and rows.types == same.types
    for one, other in ((before, after), (after, before)):
        is_same = is_same and not con.sql(f"({one}) EXCEPT ALL ({other}) LIMIT 1").fetchall()
    if not is_same:
        raise LakeError(f"{len(files)} files up to {files[-1]} would not read the same as one: nothing was merged.")
    # Not newer than the loads: nothing that was made from them is older than its input.
    newest = max(file.stat().st_mtime for file in files)
    os.utime(target, (newest, newest))


def _facts(files: Iterable[UPath]) -> dict[str, list[str]]:
    """What the files' footers record: scopes, and the names of the loads, also of those merged earlier."""
    facts: dict[str, list[str]] = {SCOPE: [], LOADS: []}
    for file in files:
        loads = recorded(file, LOADS)
        facts[SCOPE] += scope_of(file)
        facts[LOADS] += map(str, loads) if isinstance(loads, list) else [file.name]
    return facts


def _select(files: Iterable[UPath]) -> str:
    paths = ", ".join(literal(glob.escape(str(file))) for file in files)
    return f"FROM read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"
