"""The lake: where a table's days lie, and how files come into it: as a whole or not at all, one run beside another.

What does not belong here: what a file holds, how an engine reads or writes it, how an object store is spoken to
(`objects.py`).
"""

import errno
import os
import re
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from getpass import getuser
from pathlib import Path
from shutil import rmtree
from stat import S_ISDIR
from typing import TypeAlias
from uuid import uuid4

from dagster import AssetKey, ConfigurableResource
from filelock import FileLock, Timeout
from upath import UPath

from mds_assets.stack.lake import object_store as objects
from mds_assets.stack.partitions import to_days
from mds_assets.stack.settings import is_remote
from mds_assets.stack.table import DAY

FILE_NAME = "data.parquet"

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

# Files with their versions, which change when a file is replaced: inode and time, or an object store's ETag.
Found: TypeAlias = dict[UPath, str]
Inputs: TypeAlias = Mapping[tuple[AssetKey, date], Found]


class Lake(ConfigurableResource[None]):
    """Where tables lie: `<root>/<asset key>/day=YYYY-MM-DD/*.parquet`."""

    root: str

    @property
    def is_remote(self) -> bool:
        """Whether it lies in an object store, which has neither folders nor locks."""
        return is_remote(self.root)

    def path(self, *names: str) -> UPath:
        """A path below the root."""
        return objects.path(self.root).joinpath(*names)

    def folder(self, key: AssetKey) -> UPath:
        """The folder of a table."""
        return self.path(*key.path)

    def files(self, key: AssetKey, day: date) -> list[UPath]:
        """The Parquet files of one day in order of name; none when the day was never materialised."""
        return list(self.found(key, [day])[day])

    def found(self, key: AssetKey, days: Iterable[date]) -> dict[date, Found]:
        """Each of these days with its Parquet files in order of name and their versions.

        Only these days are listed: thousands of others cost nothing. An object store is asked for all of them where
        that takes fewer requests.

        Raises:
            LakeError: The object store does not answer.
        """
        folder = self.folder(key)
        found: dict[date, Found] = {day: {} for day in days}
        if not self.is_remote:
            for day, files in found.items():
                for file in sorted(folder.joinpath(f"{DAY}={day}").glob("*.parquet")):
                    files[file] = f"{(stat := file.stat()).st_ino} {stat.st_mtime_ns}"
            return found
        with self._reaching():
            versions = objects.versions(folder, [f"{DAY}={day}" for day in found])
        for name, version in sorted(versions.items()):
            if (day := _day_of(name)) and day in found:
                found[day][folder / name] = version
        return found

    def days(self, key: AssetKey) -> list[date]:
        """The days that are materialised, in order."""
        if self.is_remote:
            return sorted(self._days_stored(key))
        return [day for day in self._day_folders(key) if self.files(key, day)]

    def newest_day(self, key: AssetKey) -> date | None:
        """The last day that is materialised, if there is one; only the folders' names are read of the days before."""
        if self.is_remote:
            return max(self._days_stored(key), default=None)
        return next((day for day in reversed(self._day_folders(key)) if self.files(key, day)), None)

    def _days_stored(self, key: AssetKey) -> set[date]:
        """The days of all the table's objects: a listing of them takes a request a thousand."""
        with self._reaching():
            return {day for name in objects.versions(self.folder(key)) if (day := _day_of(name))}

    def _day_folders(self, key: AssetKey) -> list[date]:
        folders = self.folder(key).glob(f"{DAY}=????-??-??")
        return to_days(path.name.removeprefix(f"{DAY}=") for path in folders)

    @property
    def scratch(self) -> Path:
        """A folder for what is not a table yet, nor ever: on the lake's own file system, else the machine's own."""
        return Path(tempfile.gettempdir(), f"mds-assets-{getuser()}") if self.is_remote else Path(self.root, ".tmp")

    @contextmanager
    def _reaching(self) -> Generator[None]:
        """Tell what the object store, or the disk, refuses in the words of a `LakeError`."""
        try:
            yield
        except Exception as error:
            errno_of = error.errno if isinstance(error, OSError) else None
            if self.is_remote and (refusal := objects.refusal(error)):
                raise LakeError(
                    f"the lake MDS_DATA_DIR={self.root!r} cannot be reached: {refusal}. Check it, AWS_ENDPOINT_URL, "
                    "AWS_REGION and the credentials, and run it again."
                ) from None
            if errno_of not in _UNWRITABLE:
                raise
            place = f"TMPDIR={tempfile.gettempdir()!r}" if self.is_remote else f"the lake MDS_DATA_DIR={self.root!r}"
            raise LakeError(
                f"{place} cannot be written: {os.strerror(errno_of)}. Make room or get access, or "
                f"set {'TMPDIR' if self.is_remote else 'MDS_DATA_DIR'} to another folder, and run it again."
            ) from None

    @contextmanager
    def workspace(self) -> Generator[Path]:
        """A new empty folder below `scratch`, removed with all that is in it when the block ends.

        A killed process leaves its folder behind, but no longer holds the lock beside it: whoever needs a workspace
        next removes it.

        Raises:
            LakeError: It cannot be written, or the object store of the lake does not answer.
        """
        with self._reaching():
            if self.is_remote:  # now, not after a crawl of hours
                objects.reach(self.path())
            # Nobody else reads what may be private.
            self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700 if self.is_remote else 0o777)
            if self.is_remote:
                _refuse_foreign(self.scratch)
            for lock_file in self.scratch.glob("*.lock"):
                with suppress(Timeout), _removing(lock_file, blocking=False):
                    pass
            lock_file = self.scratch / f"{uuid4().hex}.lock"
            with _removing(lock_file, blocking=True) as folder:
                folder.mkdir()
                yield folder

    def add(self, key: AssetKey, name: str, files: Mapping[date, Path]) -> None:
        """Move each day's file into the table under this name, beside the files that are there.

        Raises:
            FileExistsError: A day has a file of this name; nothing has moved then.
        """
        targets = {file: self.folder(key) / f"{DAY}={day}" / name for day, file in files.items()}
        exists = "{} exists: raw is append-only, a load never replaces another"
        for target in targets.values():
            if not self.is_remote and target.exists():
                raise FileExistsError(exists.format(target))
        moved: list[UPath] = []
        try:
            self._move(targets, moved)
        except BaseException as error:
            refused = moved.pop() if isinstance(error, objects.ObjectChangedError) else None
            for target in moved:
                target.unlink(missing_ok=True)
            if refused:
                raise FileExistsError(exists.format(refused)) from None
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
            InputsChangedError: Another run changed an input since it was read, and nothing is replaced; or it replaced
                the same file of an object store meanwhile.
        """
        with self.workspace() as folder:
            becomes: dict[Path, Path] = {}
            try:
                yield folder, becomes
            except Exception:
                self._refuse_changed(inputs)  # what was replaced while it was read may be why
                raise
            table = self.folder(key)
            targets = {written: table / target for written, target in becomes.items()}
            # Of two runs of a day at once, the one that read less must not replace what the other has written. Under
            # the lock, what is written is newer than what was written before. A store refuses to replace what another
            # run has written since this one looked; and if it did before, it had read inputs that are newer.
            with self._only_run_at(".".join(key.path)):
                seen = self._versions(table, becomes.values())
                self._refuse_changed(inputs)
                self._move(targets, [], seen)
                if newest:
                    (name,) = {target.name for target in becomes.values()}
                    self._renew(table, newest, name, folder)

    @contextmanager
    def replacing_file(self, name: str) -> Generator[Path]:
        """Replace a file that lies beside the tables atomically: once the block ends well; not when it fails.

        One run at a time, so that what the last one saw of the tables is the newest.

        Yields:
            The path for the block to write to, in place of `<root>/<name>`.

        Raises:
            InputsChangedError: The object store has another file than when the block began.
        """
        target = self.path(name)
        with self.workspace() as folder, self._only_run_at(name):
            seen = self._versions(self.path(), [Path(name)])
            yield folder / name
            self._move({folder / name: target}, [], seen)

    @contextmanager
    def _only_run_at(self, name: str) -> Generator[None]:
        """Wait until no other run replaces files of this name; in an object store, learn of it when it has."""
        if self.is_remote:
            try:
                yield
            except objects.ObjectChangedError as error:
                raise InputsChangedError(str(error)) from None
        else:
            with _removing(self.scratch / f"{name}.lock", blocking=True):
                yield

    def _refuse_changed(self, inputs: Inputs) -> None:
        for source in {key for key, _ in inputs}:
            now = self.found(source, [day for key, day in inputs if key == source])
            for day, found in now.items():
                if found != inputs[source, day]:
                    raise InputsChangedError(f"{source.to_user_string()} of {day} changed while it was read")

    def _versions(self, folder: UPath, names: Iterable[Path]) -> dict[UPath, str]:
        """The versions of files in a folder, by path, as far as they are there; none where a lock replaces them."""
        if not self.is_remote:
            return {}
        below = {str(name.parent) if name.parent.name else name.name for name in names}
        return {folder / name: version for name, version in objects.versions(folder, below).items()}

    def _move(self, files: Mapping[Path, UPath], moved: list[UPath], seen: Mapping[UPath, str] | None = None) -> None:
        """Move each file onto its target, which a reader sees as the old or the new one; `moved` tells how far it came.

        Raises:
            ObjectChangedError: The object store has another version of the target than the one that was seen.
        """
        if self.is_remote:
            for file, target in files.items():
                moved.append(target)
                objects.put(target, file.read_bytes(), (seen or {}).get(target))
            return
        for target in files.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        for file, target in files.items():
            moved.append(target)
            os.replace(file, str(target))

    def _renew(self, table: UPath, newest: str, name: str, folder: Path) -> None:
        """Copy the newest day's file of this name to `newest` beside the days."""
        target = table / newest
        while True:
            seen = {target: version} if self.is_remote and (version := objects.version(target)) else {}
            copied = folder / newest
            try:
                copied.write_bytes(max(table.glob(f"{DAY}=????-??-??/{name}"), key=str).read_bytes())
                return self._move({copied: target}, [], seen)
            except objects.ObjectChangedError:
                continue  # another run was faster, and may have seen less
            except OSError as error:
                if error.errno not in objects.REPLACED:
                    raise


class LakeError(Exception):
    """The lake cannot be written or reached. One line: the folder, why, the way out."""


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


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that another user could have made, as everybody may in the machine's temporary folder.

    Raises:
        LakeError: It is a link, of somebody else, or open to others.
    """
    told = folder.lstat()
    if os.name == "posix" and (not S_ISDIR(told.st_mode) or told.st_uid != os.getuid() or told.st_mode & 0o077):
        raise LakeError(
            f"{str(folder)!r} is not a folder of this user alone: remove it, or set TMPDIR to another folder."
        )


def _day_of(name: str) -> date | None:
    """The day of a table's Parquet file, by its path from the table's folder; None of anything else."""
    matched = re.fullmatch(rf"{DAY}=(\d{{4}}-\d\d-\d\d)/[^/]+\.parquet", name)
    return date.fromisoformat(matched[1]) if matched else None
