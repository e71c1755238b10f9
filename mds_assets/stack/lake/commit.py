"""Many runs, one lake: read, compute, then publish only if nothing changed in between.

No lock is held while a table is computed. Instead, a run records the version of every file that it reads (its read
set). Just before it publishes, it reads the versions again. If one differs, the result may be stale: nothing is
published, and the caller computes it again. Raw needs none of this, because a load only ever adds files.

Whatever is published survives a power cut: files are flushed before they are moved, and their folders before this
module returns, so before Dagster records anything. Raw cannot be fetched again. The other tables can be computed again,
but nothing would say that they must: Dagster would call a day materialized whose file is empty, missing or the previous
one, and a `current` table would never merge it.

The backends implement moving a file and excluding other writers.
"""

import errno
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TypeAlias

from dagster import AssetKey
from upath import UPath

from mds_assets.stack.lake.backend import Backend, ConflictError
from mds_assets.stack.lake.layout import Partition, is_table_file, parse_path, partition_folder

# The files of one partition, sorted by name, with their versions.
Files: TypeAlias = dict[UPath, str]
# The inputs of a table.
ReadSet: TypeAlias = Mapping[tuple[AssetKey, Partition], Files]
# Writes an index of a table's pages, given the days that have one, newest first, and the newest page.
Index: TypeAlias = Callable[[Sequence[date], str], str]

# A store's errors for an object that was replaced, or removed, after it was listed.
_REPLACED = {errno.EBUSY, errno.ENOENT}


class InputsChangedError(Exception):
    """An input of a table has changed since it was read: compute the table again."""


def read_files(backend: Backend, key: AssetKey, partitions: Iterable[Partition]) -> dict[Partition, Files]:
    """The table's files of each of these partitions; empty for a partition without files."""
    table = backend.path(*key.path)
    read: dict[Partition, Files] = {partition: {} for partition in partitions}
    for path, version in sorted(backend.versions(table, read).items()):
        if (parsed := parse_path(path)) and parsed[0] in read and is_table_file(key, parsed[1]):
            read[parsed[0]][table / path] = version
    return read


def refuse_changed(backend: Backend, inputs: ReadSet) -> None:
    """Compare a read set with the lake's current state.

    Raises:
        InputsChangedError: A file was added, replaced or removed.
    """
    for key in {key for key, _ in inputs}:
        now = read_files(backend, key, [partition for one, partition in inputs if one == key])
        for partition, files in now.items():
            if files != inputs[key, partition]:
                of_day = f" of {partition}" if partition else ""
                raise InputsChangedError(f"{key.to_user_string()}{of_day} changed while it was read")


@contextmanager
def publishing(
    backend: Backend, key: AssetKey, inputs: ReadSet, newest: str | None, index: tuple[str, Index] | None = None
) -> Generator[tuple[Path, dict[Path, Path]]]:
    """Publish a table's files once the block has written them; see `Lake.replacing`."""
    table, name = backend.path(*key.path), ".".join(key.path)
    with backend.workspace() as folder:
        targets: dict[Path, Path] = {}
        try:
            yield folder, targets
        except Exception:
            refuse_changed(backend, inputs)  # the cause may be a file that was replaced while it was read
            raise
        backend.flush_files(targets)
        # Of two runs of one day, the one with the older inputs must not win. Under a lock, nobody can publish between
        # the check and the move. A store records the targets' versions first: if another run publishes later, this
        # run's put fails; if it published earlier, its newer inputs make the check fail.
        try:
            with backend.replacing(name, table, targets.values()) as move:
                refuse_changed(backend, inputs)
                for file, target in targets.items():
                    move(file, table / target)
            backend.flush_folders(table / target for target in targets.values())
        except ConflictError as error:
            raise InputsChangedError(str(error)) from None
        if newest and targets:
            _publish_newest(backend, table, name, newest, index, next(iter(targets.values())).name, folder)


def _publish_newest(
    backend: Backend,
    table: UPath,
    lock: str,
    newest: str,
    index: tuple[str, Index] | None,
    name: str,
    folder: Path,
) -> None:
    """Copy the newest day's file of this name to `newest`, and write the index, whichever run finishes last."""
    targets = [Path(newest), *([Path(index[0])] if index else [])]
    while True:
        try:
            # Lists the days after the targets' versions: whoever writes last has seen the days of all others.
            with backend.replacing(f"{lock}.{newest}", table, targets) as move:
                days = (day for day, names in backend.days(table) if name in names)
                day = next(days)
                contents = {newest: (table / partition_folder(day) / name).read_bytes()}
                if index:
                    contents[index[0]] = index[1]([day, *days], contents[newest].decode()).encode()
                for target, content in contents.items():
                    (folder / target).write_bytes(content)
                backend.flush_files(folder / target for target in contents)
                for target in contents:
                    move(folder / target, table / target)
            backend.flush_folders(table / target for target in contents)
            return
        except ConflictError:
            continue  # another run was faster, but may have seen an older day
        except OSError as error:
            if error.errno not in _REPLACED:
                raise


@contextmanager
def publishing_file(backend: Backend, name: str) -> Generator[Path]:
    """Publish a file beside the tables once the block has written it; see `Lake.replacing_file`."""
    with backend.workspace() as folder:
        try:
            # In the opposite order to a table: what the block reads from the tables must be newer than the file.
            with backend.replacing(name, backend.path(), [Path(name)]) as move:
                yield folder / name
                backend.flush_files([folder / name])
                move(folder / name, backend.path(name))
            backend.flush_folders([backend.path(name)])
        except ConflictError as error:
            raise InputsChangedError(str(error)) from None


def append(backend: Backend, name: str, files: Mapping[UPath, Path]) -> None:
    """Add files to the lake, keyed by target: all of them or none. After a power cut, some may be there.

    Raises:
        FileExistsError: A target exists.
    """
    attempted: list[UPath] = []
    backend.flush_files(files.values())
    try:
        with backend.adding(name, files) as move:
            for target, file in files.items():
                attempted.append(target)
                move(file, target)
        backend.flush_folders(files)
    except BaseException as error:
        is_conflict = isinstance(error, ConflictError)
        # On a conflict, the last target belongs to another run. On any other error, it may have been written.
        for target in attempted[:-1] if is_conflict else attempted:
            target.unlink(missing_ok=True)
        if is_conflict:
            raise FileExistsError(f"{error.target} exists: raw is append-only, a load never replaces another") from None
        raise


def exchange(
    backend: Backend, key: AssetKey, day: date, loads: Files, merged: Mapping[str, Path], workspace: Path
) -> None:
    """Replace loads of a day by fewer files; see `Lake.replace_loads`."""
    folder = backend.path(*key.path, partition_folder(day))
    replaced = {file.name: version for file, version in loads.items()}
    try:
        backend.exchange(".".join(key.path), folder, replaced, merged.values(), workspace / partition_folder(day))
    except ConflictError as error:
        raise InputsChangedError(str(error)) from None
