"""A run's session with the lake: its only DuckDB connection, and what its steps have read.

Dagster opens one when the run starts and closes it when the run ends, whether it succeeded or not.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
from dagster import AssetKey, Failure, RetryRequested, StepExecutionContext
from upath import UPath

from mds_assets.stack.hand_off import HandOff
from mds_assets.stack.io_managers import duckdb as duckdb_engine
from mds_assets.stack.io_managers import polars as polars_engine
from mds_assets.stack.lake import Files, Index, InputsChangedError, Lake, Partition
from mds_assets.stack.lake.footers import why_unreadable
from mds_assets.stack.lake.layout import is_landed
from mds_assets.stack.provenance import Footer, Versions, file_versions, read_footers
from mds_assets.stack.table import Table, literal

if TYPE_CHECKING:
    from mds_assets.stack.audit import Verdict

_RETRIES = 10  # of a step whose inputs other runs keep changing


class Session:
    """A run's access to the lake.

    Attributes:
        lake: The lake.
        sources: For each table, the tables it is derived from day by day, directly or not; for staging, its raw tables.
        preview_rows: How many rows of a table the event log may show.
        public_rows: How many rows that their table declares public it may show at least.
        verdicts: What the run's audits have found so far, by table and partition.
        footers: What the footer of a table's files records beside their provenance, by table.
        handed: Tables that the run has written, in memory.
        merged_before: By table, the files that a previous run merged into it, with their versions, by table and day.
    """

    def __init__(
        self,
        lake: Lake,
        *,
        sources: Mapping[AssetKey, frozenset[AssetKey]] | None = None,
        preview_rows: int = 0,
        public_rows: int = 0,
        duckdb_config: Mapping[str, Any] | None = None,
        memory: int = 0,
    ) -> None:
        """Open nothing yet; `memory` is how many bytes of the tables it writes it hands over in memory."""
        self.lake = lake
        self.handed = HandOff(memory)
        self.sources = sources or {}
        self.preview_rows = preview_rows
        self.public_rows = public_rows
        self.verdicts: dict[AssetKey, Mapping[Partition, Verdict]] = {}
        self.footers: dict[AssetKey, Mapping[str, str]] = {}
        self.merged_before: dict[AssetKey, Mapping[str, Mapping[Partition, Versions]]] = {}
        self._duckdb_config = dict(duckdb_config or {})
        self._closing = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._unreadable: dict[tuple[UPath, str], str] = {}
        self._footers: dict[tuple[UPath, str], Footer] = {}
        self._reads: dict[tuple[str, int], dict[tuple[AssetKey, Partition], Files]] = {}
        self._lost: dict[tuple[str, int], dict[Partition, str]] = {}

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The run's only in-memory connection, opened on first use; relations must share a connection to be joined."""
        if self._connection is None:
            # In a folder of this run's own, because the spill files of two processes have the same names.
            spilled = self._closing.enter_context(self.lake.workspace())
            connection = self._closing.enter_context(duckdb.connect(":memory:", config=self._duckdb_config))
            connection.execute(f"{duckdb_engine.SETTINGS} SET GLOBAL temp_directory = {literal(spilled)};")
            self.lake.register(connection)
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the connection and remove its spill files."""
        self._closing.close()
        self._connection = None

    def landed(self, key: AssetKey, days: Iterable[date]) -> set[date]:
        """Which of these days the table has, built from landed sources.

        A day staged from nothing (because raw was skipped), or from early rows only, still counts as missing, as does
        one whose file cannot be read: its rows are unknown, not zero.
        """
        landed = self.present(key, set(days))
        for source in self.sources.get(key, frozenset()):
            landed &= self.present(source, landed)
        return landed

    def present(self, key: AssetKey, days: Iterable[date]) -> set[date]:
        """Which of these days the table has, in a file that can be read; unlike `landed`, whatever its sources have."""
        return {
            day
            for day, files in self.lake.read_set(key, days).items()
            if day
            and any(
                is_landed([file.name]) and not self.unreadable({day: {file: version}})
                for file, version in files.items()
            )
        }

    def unreadable(self, read_set: Mapping[Partition, Files]) -> dict[UPath, str]:
        """Those of these files that are no Parquet files, such as truncated ones, each with the reason.

        Each file is looked at once. In a store none is before a query has failed: a put is whole or not at all.
        """
        files = [(file, version) for of_partition in read_set.values() for file, version in of_partition.items()]
        if not self.lake.is_remote:
            self._read_footers(files)
        return {file: reason for file, version in files if (reason := self._unreadable.get((file, version)))}

    def _read_footers(self, files: Iterable[tuple[UPath, str]]) -> None:
        new = dict(each for each in files if each not in self._footers and each not in self._unreadable)
        for file, footer in read_footers(self.lake, new.keys()).items():
            if isinstance(footer, str):
                self._unreadable[file, new[file]] = footer
            else:
                self._footers[file, new[file]] = footer

    def inputs(self, step: StepExecutionContext, key: AssetKey) -> dict[str, dict[Partition, Versions]]:
        """What the step has read for a table, by table and partition: the versions of the files."""
        reads = {each: files for each, files in self._reads.get(_attempt(step), {}).items() if each[0] != key}
        self._read_footers((file, version) for files in reads.values() for file, version in files.items())
        inputs: dict[str, dict[Partition, Versions]] = {}
        for (table, partition), files in reads.items():
            footers = {
                file.name: footer
                for file, version in files.items()
                if (footer := self._footers.get((file, version))) and (file, version) not in self._unreadable
            }
            inputs.setdefault(table.to_user_string(), {})[partition] = file_versions(footers)
        return inputs

    def read(
        self, step: StepExecutionContext, key: AssetKey, partitions: Iterable[Partition]
    ) -> dict[Partition, Files]:
        """The files of these partitions. Records them as inputs of the step; logs and leaves out unreadable ones."""
        files = self.lake.read_set(key, partitions)
        noted = self._reads.setdefault(_attempt(step), {})
        for partition, found in files.items():
            noted.setdefault((key, partition), found)  # a second read may see newer files than the first one used
        left_out = self.unreadable(files)
        for partition, found in files.items():
            for file in (file for file in found if file in left_out):
                name = key.to_user_string()
                message = f"{file} cannot be read: {left_out[file]}"
                way_out = f"Move it to quarantine/ (`mds doctor --fix` does), and run {name} of its day again."
                step.log.error(f"left out {message} {way_out}")
                # A later load of raw has fetched the day again. If there is none, the day's rows are lost.
                later = [other for other in found if other.name > file.name and other not in left_out]
                if key.has_prefix(["raw"]) and not is_landed(other.name for other in later):
                    self._lost.setdefault(_attempt(step), {})[partition] = (
                        f"{name} has lost rows, as {message} {way_out}"
                    )
        return {
            partition: {file: version for file, version in found.items() if file not in left_out}
            for partition, found in files.items()
        }

    def lost(self, step: StepExecutionContext) -> Mapping[Partition, str]:
        """The partitions for which the step could not read all that raw has landed, each with the reason."""
        return self._lost.get(_attempt(step), {})

    def scan(
        self, step: StepExecutionContext, key: AssetKey, table: Table, days: Iterable[date] | None
    ) -> pl.LazyFrame:
        """These columns of a table that may not exist yet, recorded as an input of the step.

        For tables that are not among the asset's Dagster inputs: if one of those is skipped, Dagster skips the asset.

        Args:
            step: The step that reads it.
            key: The table.
            table: The columns to read; a column that a file lacks is null.
            days: The days to read; a day without a file has no rows. None for a table without partitions.
        """
        files = self.read(step, key, [None] if days is None else days)
        with self.reading(step):
            return self.frame(files, table)

    def frame(self, files: Mapping[Partition, Files], table: Table) -> pl.LazyFrame:
        """The files of these partitions as one lazy frame, from memory as far as the run has just written them."""
        rows, stored = self.handed.find(files, table)
        in_memory = [] if rows is None else [polars_engine.from_arrow(rows)]
        if in_memory and not stored:
            return in_memory[0]
        options, partitioned = self.lake.polars_options, None not in files
        scanned = polars_engine.scan(stored, table, partitioned=partitioned, polars_options=options)
        return pl.concat([scanned, *in_memory])

    def relation(
        self, con: duckdb.DuckDBPyConnection, files: Mapping[Partition, Files], table: Table
    ) -> duckdb.DuckDBPyRelation:
        """The files of these partitions as a lazy relation, from memory as far as the run has just written them."""
        rows, stored = self.handed.find(files, table)
        partitioned = None not in files
        in_memory = duckdb_engine.from_arrow(con, rows, table, partitioned=partitioned) if rows is not None else None
        if in_memory is not None and not stored:
            return in_memory
        relation = duckdb_engine.read(con, stored, table, partitioned=partitioned)
        return relation if in_memory is None else relation.union(in_memory)  # its truth value would run its query

    def rows(self, files: Mapping[Partition, Files], table: Table) -> pa.Table:
        """The files of these partitions as an Arrow table; what is in memory is not copied."""
        rows, stored = self.handed.find(files, table)
        if rows is None or stored:
            return self.relation(self.connection, files, table).to_arrow_table()
        like = duckdb_engine.read(self.connection.cursor(), [], table, partitioned=None not in files)
        return rows.cast(like.to_arrow_table().schema)

    @contextmanager
    def reading(self, step: StepExecutionContext) -> Generator[None]:
        """Run the block again if it fails while another run replaces what the step has read: that may be why.

        Raises:
            RetryRequested: An input changed.
        """
        with _retried(step.step.key), self._naming_damage(step):
            yield

    @contextmanager
    def _naming_damage(self, step: StepExecutionContext) -> Generator[None]:
        """If the block fails, look for the reason in what the step has read: replaced meanwhile, or damaged.

        Raises:
            InputsChangedError: One or the other. Damaged files are left out from now on.
        """
        try:
            yield
        except (Failure, RetryRequested, InputsChangedError):
            raise
        except Exception:
            inputs = self._reads.get(_attempt(step), {})
            self.lake.refuse_changed(inputs)
            files = {file: version for found in inputs.values() for file, version in found.items()}
            damaged = {file: reason for file in files if (reason := why_unreadable(file, deep=True))}
            new = {file: reason for file, reason in damaged.items() if (file, files[file]) not in self._unreadable}
            self._unreadable |= {(file, files[file]): reason for file, reason in new.items()}
            if new:
                raise InputsChangedError(f"{next(iter(new))} is damaged, and left out from now on") from None
            raise

    @contextmanager
    def replacing(
        self,
        step: StepExecutionContext,
        key: AssetKey,
        newest: str | None = None,
        index: tuple[str, Index] | None = None,
    ) -> Generator[tuple[Path, dict[Path, Path]]]:
        """`Lake.replacing`, provided that no other run has changed an input of the step.

        Raises:
            RetryRequested: An input changed. Nothing is replaced.
        """
        inputs = self._reads.get(_attempt(step), {})
        with (
            _retried(key.to_user_string()),
            self._naming_damage(step),
            self.lake.replacing(key, inputs, newest, index) as writing,
        ):
            yield writing


@contextmanager
def _retried(name: str) -> Generator[None]:
    try:
        yield
    except InputsChangedError as error:
        failure = Failure(f"{name}: {error}: run it again.")
        raise RetryRequested(max_retries=_RETRIES) from failure


def _attempt(step: StepExecutionContext) -> tuple[str, int]:
    return step.step.key, step.previous_attempt_count
