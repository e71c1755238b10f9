"""The lake in a folder: a rename is the atomic step, and a lock ensures one writer at a time."""

import os
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from upath import UPath

from mds_assets.stack.lake.backend import Backend, ConflictError, Move, explain_unwritable, locked
from mds_assets.stack.lake.layout import Partition, parse_folder, partition_folder


class LocalBackend(Backend):
    """A lake below a folder."""

    def __init__(self, root: str):
        """Nothing is read or written yet."""
        self._root = root
        # On the lake's own file system: a rename across file systems would be a copy, which readers could see
        # half-written.
        self.scratch = Path(root, ".tmp")

    def path(self, *names: str) -> UPath:
        """A path below the root."""
        return UPath(self._root, *names)

    def days(self, table: UPath) -> Iterator[tuple[date, list[str]]]:
        """Each day folder with the names of its files, newest first; folders are listed lazily."""
        folder = Path(str(table))
        days = {day for name in _names(folder) if (day := parse_folder(name))}
        for day in sorted(days, reverse=True):
            yield day, _names(folder / partition_folder(day))

    def versions(self, table: UPath, partitions: Collection[Partition]) -> dict[str, str]:
        """The files of these partitions with inode and modification time; no other folder is listed."""
        folder = Path(str(table))
        versions: dict[str, str] = {}
        for partition in partitions:
            for file in folder.joinpath(partition_folder(partition)).glob("*.parquet"):
                stat = file.stat()
                versions[file.relative_to(folder).as_posix()] = f"{stat.st_ino} {stat.st_mtime_ns}"
        return versions

    def adding(self, targets: Collection[UPath]) -> Move:
        """Reject existing targets before anything is moved."""
        for target in targets:
            if target.exists():
                raise ConflictError(target)
        return _move

    @contextmanager
    def replacing(self, name: str, folder: UPath, targets: Collection[Path]) -> Generator[Move]:
        """Wait for other runs that replace the same files."""
        with locked(self.scratch / f"{name}.lock"):
            yield _move

    def reach(self) -> None:
        """Create the scratch folder."""
        self.scratch.mkdir(parents=True, exist_ok=True)

    def explain(self, error: Exception) -> str | None:
        """A one-line message about a folder that cannot be written."""
        return explain_unwritable(error, f"the lake MDS_DATA_DIR={self._root!r}", "MDS_DATA_DIR")


def _move(file: Path, target: UPath) -> None:
    """Move a written file onto its target: the only place where files enter a local lake."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file, str(target))


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
