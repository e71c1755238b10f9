"""The lake's public interface: which days exist, which files to read, and how to publish new ones.

Reading and writing the content of a file is in `io_managers/`.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import AssetKey
from upath import UPath

from mds_assets.stack.lake import commit
from mds_assets.stack.lake.backend import Backend
from mds_assets.stack.lake.commit import Files, Index, InputsChangedError, ReadSet
from mds_assets.stack.lake.layout import Partition, is_early, is_landed, load_file, partition_folder, table_files
from mds_assets.stack.lake.local import LocalBackend
from mds_assets.stack.names import PRIVATE
from mds_assets.stack.settings import is_remote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mds_assets.stack.lake.object_store import StoreOptions

_PRIVATE = """\
Rows of this lake were fetched with a secret, such as a token, and may be private: only their owner may read the files,
and previews and reports show public rows only. Remove this file once everyone may see everything.
"""


class Lake:
    """The tables below a root: `<root>/<asset key>/day=YYYY-MM-DD/*.parquet`; see `layout` for all names.

    Attributes:
        root: A folder or an `s3://` URL.
        is_remote: Whether the lake is in an object store.
    """

    def __init__(self, root: str, store_options: "StoreOptions | None" = None):
        """Nothing is read or written yet.

        Args:
            root: A folder or an `s3://` URL.
            store_options: How to reach the object store; by default from the settings.
        """
        self.root = root
        self.is_remote = is_remote(root)
        self._store_options = store_options

    @cached_property
    def backend(self) -> Backend:
        """Storage backend. Connections and cached listings live as long as this object."""
        if not self.is_remote:
            return LocalBackend(self.root)
        from mds_assets.stack.lake.object_store import ObjectStoreBackend, read_options  # an extra has its client

        return ObjectStoreBackend(self.root, self._store_options or read_options())

    def at(self, root: str) -> "Lake":
        """A lake at another root, reached in the same way."""
        return Lake(root, self._store_options)

    def path(self, *names: str) -> UPath:
        """A path below the root."""
        return self.backend.path(*names)

    def folder(self, key: AssetKey) -> UPath:
        """The folder of a table."""
        return self.path(*key.path)

    @property
    def scratch(self) -> Path:
        """A local folder for files that are not published yet."""
        return self.backend.scratch

    @property
    def polars_options(self) -> Mapping[str, Any]:
        """Arguments of `polars.scan_parquet` to read the files."""
        return self.backend.polars_options

    def register(self, con: "DuckDBPyConnection") -> None:
        """Let DuckDB read the files."""
        if self.backend.filesystem:
            con.register_filesystem(self.backend.filesystem)

    def workspace(self) -> AbstractContextManager[Path]:
        """A new empty folder in `scratch`, removed with all its contents when the block ends.

        Raises:
            LakeError: The folder cannot be written, or the lake cannot be reached.
        """
        return self.backend.workspace()

    def version_of(self, file: Path) -> str | None:
        """The version that a written local file will have in the lake once it is published; None in a store."""
        return self.backend.version_of(file)

    def read_set(self, key: AssetKey, partitions: Iterable[Partition]) -> dict[Partition, Files]:
        """The table's files of each of these partitions, sorted by name, early ones included, with their versions.

        A folder lists only these partitions; a store lists the whole table if that takes fewer requests.

        Raises:
            LakeError: The store does not respond.
        """
        return commit.read_files(self.backend, key, partitions)

    @property
    def is_private(self) -> bool:
        """Whether a source that was given a secret has landed rows here.

        Raises:
            LakeError: The store does not respond.
        """
        with self.backend.explaining():
            return self.path(PRIVATE).exists()

    def mark_private(self) -> None:
        """Record it for good, for runs and readers without the secret: call it before the rows are added."""
        if not self.is_private:
            with suppress(InputsChangedError), self.replacing_file(PRIVATE) as file:  # another run did it
                file.write_text(_PRIVATE)

    def files(self, key: AssetKey, partition: Partition) -> list[UPath]:
        """The table's files of one partition, sorted by name, early ones included."""
        return list(self.read_set(key, [partition])[partition])

    def size(self, files: Iterable[UPath]) -> int:
        """The bytes of these files."""
        return sum(file.stat().st_size for file in files)

    def read_ends(self, sizes: Mapping[UPath, int]) -> dict[UPath, bytes | OSError]:
        """The last bytes of each file, as many as given or all; why it can't be opened; nothing if it is gone.

        Raises:
            StoreError: The store does not respond.
        """
        return self.backend.read_ends(sizes)

    def days(self, key: AssetKey) -> list[date]:
        """The landed days, in order: those with a file that is not an early one."""
        return sorted(day for day, names in self._days(key) if is_landed(names))

    def early_days(self, key: AssetKey) -> list[date]:
        """The days that only have early files, in order."""
        return sorted(day for day, names in self._days(key) if is_early(names))

    def newest_day(self, key: AssetKey) -> date | None:
        """The newest landed day, if any. In a folder, only the days after it are listed."""
        return next((day for day, names in self._days(key) if is_landed(names)), None)

    def landed(self, key: AssetKey, days: Iterable[date]) -> set[date]:
        """Which of these days are landed; takes as many listings as `read_set`."""
        read = self.read_set(key, days)
        return {day for day, files in read.items() if day and is_landed(file.name for file in files)}

    def _days(self, key: AssetKey) -> Iterator[tuple[date, list[str]]]:
        """Each day folder with the names of the table's files, newest first."""
        return ((day, table_files(key, names)) for day, names in self.backend.days(self.folder(key)))

    def add(
        self,
        key: AssetKey,
        name: str,
        files: Mapping[Partition, Path] | Mapping[date, Path],
        early: Mapping[date, Path] | None = None,
    ) -> None:
        """Add a load to a table, beside the existing loads: all of its files or none.

        Args:
            key: The table.
            name: The load's name.
            files: The written file for each partition; its target is `<name>.parquet`.
            early: The written file for each day after the requested ones; its target is `<name>.early.parquet`.

        Raises:
            FileExistsError: A partition has a file of this name.
        """
        table = self.folder(key)
        landed = {table / partition_folder(day) / load_file(name): file for day, file in files.items()}
        ahead = {
            table / partition_folder(day) / load_file(name, early=True): file for day, file in (early or {}).items()
        }
        commit.append(self.backend, ".".join(key.path), landed | ahead)

    def replace_loads(
        self, key: AssetKey, day: date, loads: Files, merged: Mapping[str, Path], workspace: Path
    ) -> None:
        """Replace loads of a day by files with the same rows, in one step: a reader sees these or those, never both.

        A reader that listed the loads before, and opens them after, fails; a step of a run then starts again. Files
        that other runs add meanwhile stay.

        Args:
            key: The table.
            day: The day.
            loads: The files to replace, with their versions.
            merged: The written files, by their names in the lake.
            workspace: The folder from `workspace` where they were written.

        Raises:
            InputsChangedError: A load was replaced or removed. Nothing is replaced.
            LakeError: The object store or file system cannot do this in one step.
        """
        commit.exchange(self.backend, key, day, loads, merged, workspace)

    def flush(self, files: Iterable[UPath]) -> None:
        """Make sure that files which another run published survive a power cut, before Dagster hears of them."""
        self.backend.flush_folders(files)

    def refuse_changed(self, inputs: ReadSet) -> None:
        """Compare a read set with the lake as it is now.

        Raises:
            InputsChangedError: Another run added, replaced or removed a file.
        """
        commit.refuse_changed(self.backend, inputs)

    def replacing(
        self, key: AssetKey, inputs: ReadSet, newest: str | None = None, index: tuple[str, Index] | None = None
    ) -> AbstractContextManager[tuple[Path, dict[Path, Path]]]:
        """Replace files of a table, each atomically, if the block succeeds; none if it fails.

        The block gets a folder to write to, and a dict to fill: it maps each written file to its target, a path within
        the table's folder.

        Args:
            key: The table.
            inputs: The files that the table was computed from.
            newest: The name of a copy of the newest day's file, in the table's folder. The newest day may come from
                another run.
            index: The name of an index beside that copy, and the function that writes it from all days that have a
                file when it is published, newest first, and the newest day's file.

        Raises:
            InputsChangedError: Another run changed an input, and nothing is replaced; or, in a store, it replaced one
                of the targets in the meantime.
        """
        return commit.publishing(self.backend, key, inputs, newest, index)

    def replacing_file(self, name: str) -> AbstractContextManager[Path]:
        """Replace a file beside the tables atomically, if the block succeeds; not if it fails.

        The block gets the path to write to. Runs take turns, so the last one has seen the newest tables.

        Raises:
            InputsChangedError: Another run replaced the file in a store since the block began.
        """
        return commit.publishing_file(self.backend, name)
