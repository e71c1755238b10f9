"""The interface of a lake's storage backend; `local` and `object_store` implement it.

`commit.py` decides which files are replaced when.
"""

import errno
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import date
from hashlib import sha256
from pathlib import Path
from platform import node
from shutil import rmtree
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

from filelock import FileLock, Timeout
from upath import UPath

from mds_assets.stack.lake.layout import Partition

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_NO_FOLDER = {errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}  # a file is in the way, and the like

# A workspace's folder: 8 hex digits of its host, 24 of its own. No other folder in `scratch` is ever removed.
_WORKSPACE = re.compile(r"[0-9a-f]{32}")
# On some network file systems, locks only hold on the host that took them. No run lasts this long.
_OTHER_HOSTS_SECONDS = 7 * 86_400

# Turns a written local file into the target, atomically for readers. Raises ConflictError.
Move: TypeAlias = Callable[[Path, UPath], None]


class LakeError(Exception):
    """The lake cannot be written or reached. One line: the location, the reason, how to fix it."""


class StoreError(OSError):
    """An object store returned an error, or did not respond. One line."""


class ConflictError(Exception):
    """Another run wrote the target first. Nothing was written."""

    def __init__(self, target: UPath):
        """Name the target."""
        super().__init__(f"{target} was replaced meanwhile")
        self.target = target


class Backend(ABC):
    """The files of a lake below its root.

    Attributes:
        scratch: A local folder for files that are not published yet.
        filesystem: The fsspec filesystem through which DuckDB reads the files, if it needs one.
        polars_options: Arguments of `polars.scan_parquet` to read the files.
    """

    scratch: Path
    filesystem: "AbstractFileSystem | None" = None
    polars_options: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def path(self, *names: str) -> UPath:
        """A path below the root."""

    @abstractmethod
    def days(self, table: UPath) -> Iterator[tuple[date, Collection[str]]]:
        """Each day folder of a table with the names of its files, newest first. Some may be empty."""

    @abstractmethod
    def versions(self, table: UPath, partitions: Collection[Partition]) -> dict[str, str]:
        """The files of these partitions, and possibly of others, by path within the table's folder.

        A file's version changes whenever the file is replaced.
        """

    @abstractmethod
    def version_of(self, file: Path) -> str | None:
        """The version that a written local file will have once it is moved into the lake; None if the lake chooses."""

    @abstractmethod
    def find(self, folder: UPath) -> dict[str, float]:
        """All files below a folder, by path within it, with the Unix time when each was last written.

        Unlike `versions`, this lists files that belong to no table too, and links to nothing.
        """

    @abstractmethod
    def read_ends(self, sizes: Mapping[UPath, int]) -> dict[UPath, bytes | OSError]:
        """The last bytes of each file, as many as given or all; why it can't be opened; nothing if it is gone."""

    @abstractmethod
    def move(self, file: UPath, target: UPath) -> None:
        """Give a file another path in the lake, where no file is.

        Raises:
            FileNotFoundError: It is gone.
        """

    @abstractmethod
    def link(self, files: Mapping[UPath, UPath]) -> None:
        """Give files of this or another lake, in the same bucket or on this machine, a path in this lake as well.

        Nothing is at these paths yet. Where a file can't have two paths, it is copied.

        Raises:
            FileNotFoundError: A file is gone. Some of the others may have their path.
        """

    @abstractmethod
    def side_root(self) -> AbstractContextManager[str]:
        """An empty root for a lake that holds some of this one's files, removed with all its contents at the end.

        No reader of this lake takes what is below it for a table.

        Raises:
            LakeError: It cannot be written, or the lake cannot be reached.
        """

    @abstractmethod
    def adding(self, name: str, targets: Collection[UPath]) -> AbstractContextManager[Move]:
        """Write targets that must not exist yet, while no other process exchanges their folders.

        Args:
            name: Identifies the table; the same for all its writers.
            targets: The paths to write.

        Raises:
            ConflictError: One exists. The move raises it too.
        """

    @abstractmethod
    def replacing(self, name: str, folder: UPath, targets: Collection[Path]) -> AbstractContextManager[Move]:
        """Replace targets as the only writer: under a lock of this name, or on condition that nobody else has.

        Args:
            name: Identifies what is replaced; the same for all its writers.
            folder: The folder of the targets.
            targets: Their paths within the folder.
        """

    def exchange(self, name: str, folder: UPath, replaced: Mapping[str, str], files: Iterable[Path], new: Path) -> None:
        """Take files out of a folder and put others in, in one step for readers; other files of the folder stay.

        Args:
            name: Identifies the table; the same for all its writers.
            folder: The folder.
            replaced: The names of the files to take out, with their versions.
            files: The written files to put in, under their own names.
            new: A path in a workspace, where the old folder will be.

        Raises:
            LakeError: There is no such step here.
            ConflictError: One of the files has another version, or is gone.
        """
        raise LakeError(f"{folder} stays as it is: an object store cannot replace several files in one step.")

    @abstractmethod
    def flush_files(self, files: Iterable[Path]) -> None:
        """Make the content of written files survive a power cut, before they are moved."""

    @abstractmethod
    def flush_folders(self, targets: Iterable[UPath]) -> None:
        """Make the names of moved files survive a power cut, before Dagster hears of them."""

    @abstractmethod
    def reach(self) -> None:
        """Create the scratch folder, and fail now, not after hours of work, if the lake cannot be written."""

    @abstractmethod
    def explain(self, error: Exception) -> str | None:
        """A one-line message about an error of this backend: location, reason, how to fix it. None for other errors."""

    @contextmanager
    def explaining(self) -> Generator[None]:
        """Turn errors of this backend into a `LakeError`."""
        try:
            yield
        except Exception as error:
            if message := self.explain(error):
                raise LakeError(message) from None
            raise

    @contextmanager
    def workspace(self) -> Generator[Path]:
        """A new empty folder in `scratch`, removed with all its contents when the block ends.

        A killed process leaves its folder behind but no longer holds the lock beside it; the next process on its host
        that needs a workspace removes it.

        Raises:
            LakeError: The folder cannot be written, or the lake cannot be reached.
        """
        with self.explaining():
            self.reach()
            for lock_file in self.scratch.glob("*.lock"):
                with suppress(Timeout, FileNotFoundError):  # its process still runs, or has just ended
                    _remove_leftover(lock_file)
            folder = self.scratch / f"{_own_host()}{uuid4().hex[8:]}"
            with locked(folder.with_suffix(".lock"), folder):
                folder.mkdir()
                yield folder

    def leftovers(self) -> Iterator[Path | UPath]:
        """The workspaces, and in a store the side lakes, whose process was killed."""
        for lock_file in self.scratch.glob("*.lock"):
            with suppress(Timeout, FileNotFoundError):
                if _is_leftover(lock_file):
                    with FileLock(lock_file, blocking=False):
                        pass
                    yield lock_file.with_suffix("")

    def remove(self, folder: Path | UPath) -> None:
        """Remove one of the `leftovers`, unless a process holds its lock."""
        with suppress(Timeout), locked(Path(f"{folder}.lock"), Path(str(folder)), blocking=False):
            pass


@contextmanager
def locked(lock_file: Path, folder: Path | None = None, *, blocking: bool = True) -> Generator[None]:
    """Hold a lock. When the block ends, remove the lock file and the folder that it guards, if any."""
    with FileLock(lock_file, blocking=blocking):
        try:
            yield
        finally:
            if folder:
                rmtree(folder, ignore_errors=True)
            if not (folder and folder.exists()):  # otherwise the next process tries again
                lock_file.unlink()


def _remove_leftover(lock_file: Path) -> None:
    """Remove what a killed process left: its workspace, or the lock of a table, which is an empty file."""
    folder = lock_file.with_suffix("")
    if _is_leftover(lock_file):
        with locked(lock_file, folder, blocking=False):
            pass
    elif not _WORKSPACE.fullmatch(folder.name) and not lock_file.stat().st_size:
        with locked(lock_file, blocking=False):
            pass


def _is_leftover(lock_file: Path) -> bool:
    """Whether it is the lock of a workspace of this host, or of another one that is long gone; it may still be held."""
    name = lock_file.with_suffix("").name
    is_old = time.time() - lock_file.stat().st_mtime > _OTHER_HOSTS_SECONDS
    return bool(_WORKSPACE.fullmatch(name)) and (name.startswith(_own_host()) or is_old)


def _own_host() -> str:
    return sha256(node().encode()).hexdigest()[:8]


def explain_unwritable(error: Exception, place: str, variable: str) -> str | None:
    """A one-line message about a full disk or missing permissions; None for other errors."""
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno in _UNWRITABLE | _NO_FOLDER else None
    else:  # DuckDB only quotes the system's message
        reason = next((text for text in map(os.strerror, sorted(_UNWRITABLE)) if str(error).endswith(text)), None)
    return unwritable(place, variable, reason) if reason else None


def unwritable(place: str, variable: str, reason: str) -> str:
    """The one-line message about a place that cannot be written."""
    return (
        f"{place} cannot be written: {reason}. Make room or get access, or set {variable} to another "
        "folder, and run it again."
    )
