"""A side lake: chosen files of a lake under the same names, for runs that must not touch the lake itself.

In a folder, its files are hard links: they take no space and no time, and since every writer of a lake renames a new
file to its place, a run in the side lake replaces its own link and never what the lake has. In a store, they are copies
that the store makes by itself.

A side lake can also hold raw as it was at a time in the past (`add_loads_before`): raw only ever gains loads, and each
load is a file that says when it was published.
"""

import errno
import json
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from glob import escape
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
from dagster import AssetKey
from upath import UPath

from mds_assets.stack.io_managers.duckdb import SETTINGS, kv_metadata
from mds_assets.stack.lake import Files, InputsChangedError, Lake, LakeError, Partition
from mds_assets.stack.lake.layout import compacted_file, is_landed, load_of, partition_folder
from mds_assets.stack.names import LEFT_OUT, LOAD, LOADS, SCOPE
from mds_assets.stack.provenance import Footer, read_footers
from mds_assets.stack.table import literal, quote

# Files of tables, by partition: what `Lake.read_set` returns, or a part of it.
ReadSets: TypeAlias = Mapping[AssetKey, Mapping[Partition, Iterable[UPath]]]

_LOAD_ID = "_dlt_load_id"


@dataclass(frozen=True)
class Loads:
    """What a partition of a raw table held at some time.

    Attributes:
        whole: The files of which every row was there, with their versions.
        parts: Compacted files of which only some loads were there, each with the names of these loads' files.
    """

    whole: Files = field(default_factory=dict[UPath, str])
    parts: Mapping[UPath, Sequence[str]] = field(default_factory=dict[UPath, Sequence[str]])

    @property
    def is_landed(self) -> bool:
        """Whether they make their partition a landed one."""
        return is_landed([*(file.name for file in self.whole), *chain.from_iterable(self.parts.values())])


@contextmanager
def side_lake(lake: Lake, read_sets: ReadSets) -> Generator[Lake]:
    """A side lake with these files, in a temporary place; removed when the block ends, whether it fails or not.

    In a folder, it is in a workspace of the lake: after a kill, the next run on this host removes it. In a store, it is
    below `.side_lakes/` in the lake's own prefix: after a kill, `mds doctor` shows it and the next side lake removes it
    once nothing has been added to it for a day.

    Raises:
        InputsChangedError: Another run replaced or removed one of the files: list them again.
        LakeError: The lake cannot be written or reached.
    """
    with lake.backend.side_root() as root:
        side = lake.at(root)
        add_files(lake, side, read_sets)
        yield side


def new_side_lake(lake: Lake, root: str, read_sets: ReadSets) -> Lake:
    """A side lake with these files that stays, at an empty root; a failure leaves the root empty again.

    Raises:
        InputsChangedError: Another run replaced or removed one of the files: list them again.
        LakeError: The root has files, is part of the lake, or is in another bucket, or cannot be written.
    """
    side = lake.at(root)
    _refuse_unfit(lake, side)
    if any(side.backend.find(side.path())):
        raise LakeError(f"{root} is not empty: delete it first, or choose another folder or prefix.")
    side.backend.reach()
    add_files(lake, side, read_sets)
    return side


def add_files(lake: Lake, side: Lake, read_sets: ReadSets) -> None:
    """Give the side lake these files of the lake, and the lake's mark that its rows are private, if it has it.

    Raises:
        InputsChangedError: Another run replaced or removed one of the files. The side lake has none of them.
        LakeError: The side lake cannot be written.
    """
    links = {
        file: side.folder(key) / partition_folder(partition) / file.name
        for key, partitions in read_sets.items()
        for partition, files in partitions.items()
        for file in files
    }
    try:
        if lake.is_private:  # before there are rows
            side.mark_private()
        side.backend.link(links)
        _refuse_replaced(lake, read_sets)
    except BaseException as error:
        for target in links.values():
            target.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError):
            raise InputsChangedError(f"{error.filename or 'a file'} was removed meanwhile") from None
        raise


def add_loads_before(lake: Lake, side: Lake, tables: Mapping[AssetKey, Iterable[Partition]], at: datetime) -> None:
    """Give the side lake the loads of these raw tables and partitions that were visible at a time.

    Of a compacted file with later loads, the side lake gets a copy without them. Such a copy keeps what the compacted
    file says of all its loads together: which parts of the source they cover, and which are missing.

    Raises:
        InputsChangedError: A file was compacted or removed meanwhile: try again in another side lake.
        LakeError: Rows of a compacted file don't say which load they came with, or the side lake cannot be written.
        ValueError: The time has no zone.
    """
    add_loads(lake, side, {key: loads_before(lake, key, partitions, at) for key, partitions in tables.items()})


def add_loads(lake: Lake, side: Lake, loads: Mapping[AssetKey, Mapping[Partition, Loads]]) -> None:
    """Give the side lake these loads, see `add_loads_before`.

    Raises:
        InputsChangedError: A file was compacted or removed meanwhile: try again in another side lake.
        LakeError: Rows of a compacted file don't say which load they came with, or the side lake cannot be written.
    """
    whole = {key: {partition: of.whole for partition, of in found.items()} for key, found in loads.items()}
    add_files(lake, side, whole)
    parts = [
        (key, partition, file, names)
        for key, found in loads.items()
        for partition, of in found.items()
        for file, names in of.parts.items()
    ]
    if parts:
        with duckdb.connect() as con:
            con.execute(SETTINGS)
            lake.register(con)
            for part in parts:
                _add_part(con, lake, side, *part)


def loads_before(lake: Lake, key: AssetKey, partitions: Iterable[Partition], at: datetime) -> dict[Partition, Loads]:
    """What these partitions of a raw table held at a time, early rows included.

    A load was there once it was published, as its file's footer says. A file that doesn't say, such as an older one or
    a compacted one, has the ids of its loads: the times at which they *started*. So a load that was under way at the
    time may count. A load whose id is no time counts from when its file was written.

    Raises:
        InputsChangedError: A file was compacted or removed meanwhile.
        LakeError: The store does not respond.
        ValueError: The time has no zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    read = lake.read_set(key, partitions)
    listed = [file for files in read.values() for file in files]
    # A load is published after it has started: no footer changes anything for one that had not.
    begun = [file for file in listed if _is_compacted(file) or (_started(file.name) or at) <= at]
    with lake.backend.explaining():
        footers = read_footers(lake, begun)
    if gone := [file for file in begun if file not in footers]:
        raise InputsChangedError(f"{gone[0]} was removed meanwhile")
    there = {file: _loads_in(lake, file, footers[file], at) for file in begun}
    return {
        partition: Loads(
            {file: version for file, version in files.items() if there.get(file) is True},
            {file: names for file in files if isinstance(names := there.get(file), list) and names},
        )
        for partition, files in read.items()
    }


def _loads_in(lake: Lake, file: UPath, footer: Footer | str, at: datetime) -> bool | list[str]:
    """Whether all rows of a file were there at a time, or which of its loads were.

    One that cannot be read has no footer: it is for those to say who need its rows.
    """
    facts = {file.name: {}} if isinstance(footer, str) else footer.loads(file.name)
    names = facts.keys() if isinstance(footer, str) else footer.load_names(file.name)
    there = [name for name in names if (_published(facts.get(name)) or _started(name) or _written(lake, file)) <= at]
    return True if len(there) == len(names) else there


def _published(fact: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(fact["published"])
    except (TypeError, KeyError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _started(name: str) -> datetime | None:
    """When the load of this file started; None if its id is no time."""
    try:
        return datetime.fromtimestamp(float(Decimal(load_of(name))), UTC)
    except (InvalidOperation, ValueError, OverflowError, OSError):
        return None


def _written(lake: Lake, file: UPath) -> datetime:
    changed = lake.backend.find(file.parent).get(file.name)
    if changed is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    return datetime.fromtimestamp(changed, UTC)


def _is_compacted(file: UPath) -> bool:
    return file.name in {compacted_file([file.name])}


def _add_part(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    side: Lake,
    key: AssetKey,
    partition: Partition,
    file: UPath,
    names: Sequence[str],
) -> None:
    """Add a copy of a compacted file with the rows of these loads only."""
    newest = max(names)
    ids = ", ".join(literal(load_of(name)) for name in names)
    footer = Footer.of(lake, file)
    kept = {name: facts for name, facts in footer.loads(file.name).items() if name in names}
    recorded = {LOADS: json.dumps(sorted(names)), LOAD: json.dumps({"loads": kept})}
    recorded |= {name: text for name in (SCOPE, LEFT_OUT) if (text := footer.text(name))}
    rows = f"FROM read_parquet({literal(escape(str(file)))}, hive_partitioning = false)"
    with side.workspace() as folder:
        target = folder / "part"
        try:
            con.execute(
                f"COPY ({rows} WHERE {quote(_LOAD_ID)} IN ({ids})) "
                f"TO {literal(target)} (FORMAT parquet, COMPRESSION zstd, {kv_metadata(recorded)})"
            )
        except duckdb.BinderException:
            raise LakeError(
                f"{file} has no column {_LOAD_ID}: which of its rows were there before {load_of(file.name)} is unknown."
            ) from None
        files: dict[Partition, Path] = {partition: target}
        name = f"{load_of(newest)}.compacted"
        if is_landed([newest]):
            side.add(key, name, files)
        else:
            side.add(key, name, dict[Partition, Path](), {day: each for day, each in files.items() if day})


def _refuse_replaced(lake: Lake, read_sets: ReadSets) -> None:
    """Reject links to files that were not all there at one time, as far as their versions were given."""
    for key, partitions in read_sets.items():
        given = [files for files in partitions.values() if isinstance(files, Mapping)]
        if not given:
            continue
        now = dict(chain.from_iterable(files.items() for files in lake.read_set(key, partitions).values()))
        for file, version in chain.from_iterable(files.items() for files in given):
            if now.get(file) != version:
                raise InputsChangedError(f"{file} was replaced meanwhile")


def _refuse_unfit(lake: Lake, side: Lake) -> None:
    """Reject a root that cannot have the lake's files, or where they would be taken for the lake's own."""
    if lake.is_remote != side.is_remote or (lake.is_remote and _bucket(lake) != _bucket(side)):
        where = f"the bucket of {lake.root}" if lake.is_remote else "a folder"
        raise LakeError(f"{side.root} cannot have files of {lake.root} without copying them: choose {where}.")
    one, other = (_parts(each) for each in (lake, side))
    if one[: len(other)] == other or other[: len(one)] == one:
        raise LakeError(f"{side.root} overlaps the lake {lake.root}: choose a folder or prefix beside it.")


def _bucket(lake: Lake) -> str:
    return lake.path().path.partition("/")[0]


def _parts(lake: Lake) -> tuple[str, ...]:
    return tuple(lake.root.rstrip("/").split("/")) if lake.is_remote else Path(lake.root).resolve().parts
