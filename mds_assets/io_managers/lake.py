"""The lake: where a table's days lie, and how files come into it: as a whole or not at all, one run beside another.

What does not belong here: what a file holds, and how an engine reads or writes it.
"""

import errno
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from shutil import copyfile, rmtree
from typing import TypeAlias
from uuid import uuid4

from dagster import AssetKey, ConfigurableResource
from filelock import FileLock, Timeout
from upath import UPath

from mds_assets.io_managers.schema import DAY
from mds_assets.partitions import to_days

FILE_NAME = "data.parquet"

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

# What changes whenever a file of a table's day is added, replaced or removed: names, inodes, times.
State: TypeAlias = frozenset[tuple[str, int, int]]
Inputs: TypeAlias = Mapping[tuple[AssetKey, date], State]


class Lake(ConfigurableResource[None]):
    """Where tables lie: `<root>/<asset key>/day=YYYY-MM-DD/*.parquet`."""

    root: str

    def folder(self, key: AssetKey) -> UPath:
        """The folder of a table."""
        return UPath(self.root).joinpath(*key.path)

    def files(self, key: AssetKey, day: date) -> list[UPath]:
        """The Parquet files of one day in order of name; none when the day was never materialised.

        Only this day is listed: thousands of other days cost nothing.
        """
        return sorted(self.folder(key).joinpath(f"{DAY}={day}").glob("*.parquet"))

    def days(self, key: AssetKey) -> list[date]:
        """The days that are materialised, in order."""
        return [day for day in self._day_folders(key) if self.files(key, day)]

    def newest_day(self, key: AssetKey) -> date | None:
        """The last day that is materialised, if there is one; only the folders' names are read of the days before."""
        return next((day for day in reversed(self._day_folders(key)) if self.files(key, day)), None)

    def _day_folders(self, key: AssetKey) -> list[date]:
        folders = self.folder(key).glob(f"{DAY}=????-??-??")
        return to_days(path.name.removeprefix(f"{DAY}=") for path in folders)

    @property
    def scratch(self) -> Path:
        """A folder on the lake's own file system for what is not a table yet, nor ever."""
        return Path(self.root) / ".tmp"

    @contextmanager
    def workspace(self) -> Generator[Path]:
        """A new empty folder below `scratch`, removed with all that is in it when the block ends.

        A killed process leaves its folder behind, but no longer holds the lock beside it: whoever needs a workspace
        next removes it.

        Raises:
            LakeError: The lake cannot be written.
        """
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            for lock_file in self.scratch.glob("*.lock"):
                with suppress(Timeout), _removing(lock_file, blocking=False):
                    pass
            lock_file = self.scratch / f"{uuid4().hex}.lock"
            with _removing(lock_file, blocking=True) as folder:
                folder.mkdir()
                yield folder
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            raise LakeError(
                f"the lake MDS_DATA_DIR={self.root!r} cannot be written: {error.strerror}. Make room or get access, or "
                "set MDS_DATA_DIR to another folder, and run it again."
            ) from None

    def add(self, key: AssetKey, name: str, files: Mapping[date, Path]) -> None:
        """Move each day's file into the table under this name, beside the files that are there.

        Raises:
            FileExistsError: A day has a file of this name; nothing has moved then.
        """
        targets = {files[day]: Path(str(self.folder(key))) / f"{DAY}={day}" / name for day in files}
        for target in targets.values():
            if target.exists():
                raise FileExistsError(f"{target} exists: raw is append-only, a load never replaces another")
        moved: list[Path] = []
        try:
            _move(targets, moved)
        except BaseException:
            for target in moved:
                target.unlink(missing_ok=True)
            raise

    @contextmanager
    def replacing(
        self, key: AssetKey, inputs: Inputs, newest: str | None = None
    ) -> Generator[tuple[Path, dict[Path, Path]]]:
        """Replace files of a table atomically: all that were written, once the block ends well; none when it fails.

        Args:
            key: The table.
            inputs: What the table was computed from.
            newest: A name in the table's folder for a copy of the newest day's file, of this run or of another.

        Yields:
            A folder for the block to write into, and a mapping for the block to fill, from each file it wrote to the
            file that it becomes, relative to the table's folder.

        Raises:
            InputsChangedError: Another run changed an input since it was read; nothing is replaced then.
        """
        with self.workspace() as folder:
            becomes: dict[Path, Path] = {}
            yield folder, becomes
            table = Path(str(self.folder(key)))
            # Of two runs of a day at once, the one that read less must not replace what the other has written: under
            # the lock, what is written is newer than what was written before.
            with _removing(self.scratch / f"{'.'.join(key.path)}.lock", blocking=True):
                for (source, day), seen in inputs.items():
                    if seen != self.state(source, day):
                        raise InputsChangedError(f"{source.to_user_string()} of {day} changed while it was read")
                _move({written: table / target for written, target in becomes.items()}, [])
                if newest:
                    (name,) = {target.name for target in becomes.values()}
                    copied = copyfile(max(table.glob(f"{DAY}=????-??-??/{name}")), folder / newest)
                    _move({copied: table / newest}, [])

    @contextmanager
    def replacing_file(self, name: str) -> Generator[Path]:
        """Replace a file that lies beside the tables atomically: once the block ends well; not when it fails.

        One run at a time, so that what the last one saw of the tables is the newest.

        Yields:
            The path for the block to write to, in place of `<root>/<name>`.
        """
        with self.workspace() as folder, _removing(self.scratch / f"{name}.lock", blocking=True):
            yield folder / name
            os.replace(folder / name, Path(self.root) / name)

    def state(self, key: AssetKey, day: date) -> State:
        """The state of a table's day."""
        return frozenset((file.name, (stat := file.stat()).st_ino, stat.st_mtime_ns) for file in self.files(key, day))


class LakeError(Exception):
    """The lake cannot be written. One line: the folder, why, the way out."""


class InputsChangedError(Exception):
    """What a table was computed from has changed meanwhile: it has to be computed again."""


@contextmanager
def _removing(lock_file: Path, *, blocking: bool) -> Generator[Path]:
    """Hold this lock; in the end remove the folder of its name, and itself."""
    folder = lock_file.with_suffix("")
    with FileLock(lock_file, blocking=blocking):
        try:
            yield folder
        finally:
            rmtree(folder, ignore_errors=True)
            if not folder.exists():  # else the next run tries again
                lock_file.unlink()


def _move(files: Mapping[Path, Path], moved: list[Path]) -> None:
    """Move each file onto its target, which a reader sees as the old or the new one; `moved` tells how far it came."""
    for target in files.values():
        target.parent.mkdir(parents=True, exist_ok=True)
    for file, target in files.items():
        moved.append(target)
        os.replace(file, target)
