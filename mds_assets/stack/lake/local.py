"""The lake in a folder: a rename or link is the atomic step, and a lock ensures one writer at a time."""

import errno
import logging
import os
import shutil
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

from upath import UPath

from mds_assets.stack.lake.backend import (
    Backend,
    ConflictError,
    LakeError,
    Move,
    explain_unwritable,
    locked,
    unwritable,
)
from mds_assets.stack.lake.exchange import exchange
from mds_assets.stack.lake.layout import Partition, parse_folder, partition_folder
from mds_assets.stack.lake.mounts import host_local_locks

_LOG = logging.getLogger(__name__)
# Disks and file systems flush several files together: 365 files take 0.04 s, one after the other 0.2 s.
_FLUSHES = 8
# How a file system says that it has no hard links (exFAT, some FUSE), or cannot flush a folder.
_UNSUPPORTED = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK}


class LocalBackend(Backend):
    """A lake below a folder."""

    def __init__(self, root: str):
        """Nothing is read or written yet."""
        self._root = root
        self._place = f"the lake MDS_DATA_DIR={root!r}", "MDS_DATA_DIR"  # in errors, with its variable
        # On the lake's own file system: a rename across file systems would be a copy, which readers could see
        # half-written.
        self.scratch = Path(root, ".tmp")
        self._reached = False

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
        versions: dict[str, str] = {}
        for partition in partitions:
            name = partition_folder(partition)
            try:
                entries = os.scandir(os.path.join(str(table), name))  # noqa: PTH118  # a fifth of Path's time, for years of days
            except (FileNotFoundError, NotADirectoryError):
                continue
            with entries:
                for entry in entries:
                    if entry.name.endswith(".parquet"):
                        with suppress(FileNotFoundError):  # removed since it was listed, or a link to nothing
                            versions[f"{name}/{entry.name}" if name else entry.name] = _version(entry)
        return versions

    def version_of(self, file: Path) -> str:
        """Inode and modification time, which a move does not change."""
        return _version(file)

    def find(self, folder: UPath) -> dict[str, float]:
        """All files below a folder, by path within it, with the time of their last change."""
        found: dict[str, float] = {}
        for parent, _, names in os.walk(str(folder), followlinks=True):
            for file in (Path(parent, name) for name in names):
                with suppress(FileNotFoundError):  # removed since it was listed
                    stat = file.stat() if file.exists() else file.lstat()
                    found[file.relative_to(str(folder)).as_posix()] = stat.st_mtime
        return found

    def read_ends(self, sizes: Mapping[UPath, int]) -> dict[UPath, bytes | OSError]:
        """Open one after another: threads cost more than they save."""
        ends: dict[UPath, bytes | OSError] = {}
        for file, size in sizes.items():
            try:
                with Path(str(file)).open("rb", buffering=0) as opened:
                    opened.seek(max(0, opened.seek(0, os.SEEK_END) - size))
                    ends[file] = opened.read()
            except FileNotFoundError:
                pass
            except OSError as error:
                ends[file] = error
        return ends

    def move(self, file: UPath, target: UPath) -> None:
        """Rename it."""
        with self.explaining():
            target.parent.mkdir(parents=True, exist_ok=True)
            Path(str(file)).rename(str(target))

    def link(self, files: Mapping[UPath, UPath]) -> None:
        """Make hard links. They are safe because whoever replaces a file renames another one to its path."""
        with self.explaining():
            for folder in {target.parent for target in files.values()}:
                folder.mkdir(parents=True, exist_ok=True)
            for file, target in files.items():
                _link_or_copy(Path(str(file)), Path(str(target)))

    @contextmanager
    def side_root(self) -> Generator[str]:
        """A folder in a workspace: on the file system of the lake, and removed like all workspaces after a kill."""
        with self.workspace() as folder:
            yield str(folder / "lake")

    @contextmanager
    def adding(self, name: str, targets: Collection[UPath]) -> Generator[Move]:
        """Reject existing targets before anything is moved; wait while the table's folders are exchanged."""
        with locked(self.scratch / f"{name}.lock"):
            for target in targets:
                if target.exists():
                    raise ConflictError(target)
            yield _add

    @contextmanager
    def replacing(self, name: str, folder: UPath, targets: Collection[Path]) -> Generator[Move]:
        """Wait for other runs that replace the same files."""
        with locked(self.scratch / f"{name}.lock"):
            yield _replace

    def exchange(self, name: str, folder: UPath, replaced: Mapping[str, str], files: Iterable[Path], new: Path) -> None:
        """Exchange the folder for a new one, which has hard links to the files that stay."""
        old = Path(str(folder))
        with locked(self.scratch / f"{name}.lock"):
            names = _names(old)
            versions = self.versions(folder, [None])
            if changed := [name for name, version in replaced.items() if versions.get(name) != version]:
                raise ConflictError(folder / changed[0])
            new.mkdir()
            shutil.copymode(old, new)
            try:
                for file in (*(old / name for name in names if name not in replaced), *files):
                    os.link(file, new / file.name)
                _flush([*files, new])
                exchange(new, old)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                raise LakeError(f"{folder} stays as it is: its file system cannot exchange folders.") from None
            # The old files are deleted with the workspace, so not before the exchange survives a power cut.
            _flush([old.parent, new.parent])

    def flush_files(self, files: Iterable[Path]) -> None:
        """Flush them together."""
        _flush(files)

    def flush_folders(self, targets: Iterable[UPath]) -> None:
        """Flush their folders and all folders above, up to the root: another process may just have created them."""
        root = Path(self._root)
        folders = {folder for target in targets for folder in Path(str(target)).parents if folder.is_relative_to(root)}
        _flush(sorted(folders, reverse=True))

    def reach(self) -> None:
        """Create the scratch folder; warn once if another host may not see our locks."""
        created = [folder for folder in self.scratch.parents if not folder.exists()]
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # as in /proc; `explain` leaves it alone, because elsewhere a file is gone
            raise LakeError(unwritable(*self._place, os.strerror(error.errno or errno.ENOENT))) from None
        _flush(folder.parent for folder in created)
        if not self._reached and (kind := host_local_locks(self.scratch)):
            _LOG.warning("locks on %s (%s) may hold on this host only: let no other host write here", self._root, kind)
        self._reached = True

    def explain(self, error: Exception) -> str | None:
        """A one-line message about a folder that cannot be written."""
        return explain_unwritable(error, *self._place)


# Files enter a local lake only through the next two functions.


def _replace(file: Path, target: UPath) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file, str(target))


def _add(file: Path, target: UPath) -> None:
    """Give a file its name in the lake, unless the name is taken: a rename would replace another run's load."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, str(target))
    except FileExistsError:
        if not Path(str(target)).samefile(file):  # over NFS, a call whose answer was lost is sent twice
            raise ConflictError(target) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _add_without_links(file, target)


def _add_without_links(file: Path, target: UPath) -> None:
    """The same where there are no hard links: whoever creates the file `.<name>.claim` may use the name."""
    claim = Path(str(target.parent), f".{target.name}.claim")
    try:
        claim.open("x").close()
    except FileExistsError:
        raise ConflictError(target) from None
    try:
        if target.exists():
            raise ConflictError(target)
        os.replace(file, str(target))
    finally:
        claim.unlink()


def _link_or_copy(file: Path, target: Path) -> None:
    try:
        os.link(file.resolve(), target)  # on Linux, the link of a symbolic link would be one, too
    except OSError as error:
        if error.errno not in _UNSUPPORTED | {errno.EXDEV}:
            raise
        shutil.copy2(file, target)


def _flush(paths: Iterable[Path]) -> None:
    """Make these files' content, or these folders' entries, survive a power cut."""
    paths = list(paths)
    if os.name != "posix":  # Windows cannot open a folder
        return
    if len(paths) == 1:  # a thread costs more
        _flush_one(paths[0])
    elif paths:
        with ThreadPoolExecutor(_FLUSHES) as threads:
            list(threads.map(_flush_one, paths))


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def _version(file: "Path | os.DirEntry[str]") -> str:
    stat = file.stat()
    return f"{stat.st_ino} {stat.st_mtime_ns}"


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
