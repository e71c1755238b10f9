"""A run's session with the lake: its one DuckDB connection, and what its steps have read.

Dagster makes one as the run begins and closes it as the run ends, however it ends. What does not belong here: where
files lie (`lake/`), how an engine reads them (`io_managers/`).
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from dagster import AssetKey, Failure, RetryRequested, StepExecutionContext

from mds_assets.stack.io_managers import duckdb as duckdb_engine
from mds_assets.stack.lake import Files, InputsChangedError, Lake, Partition
from mds_assets.stack.table import literal

_RETRIES = 10  # of a step whose inputs other runs keep changing


class Session:
    """A run's access to the lake.

    Attributes:
        lake: The lake.
        sources: For each table the tables it is made from day by day, directly or not: staging's are its raw tables.
        preview_rows: How many rows the event log may show of a table.
    """

    def __init__(
        self,
        lake: Lake,
        *,
        sources: Mapping[AssetKey, frozenset[AssetKey]] | None = None,
        preview_rows: int = 0,
        duckdb_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Open nothing yet."""
        self.lake = lake
        self.sources = sources or {}
        self.preview_rows = preview_rows
        self._duckdb_config = dict(duckdb_config or {})
        self._closing = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._reads: dict[tuple[str, int], dict[tuple[AssetKey, Partition], Files]] = {}

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The run's one in-memory connection, opened at the first use: relations of one connection can be joined."""
        if self._connection is None:
            # A folder of this run's own: the spill files of two processes have the same names.
            spilled = self._closing.enter_context(self.lake.workspace())
            connection = self._closing.enter_context(duckdb.connect(":memory:", config=self._duckdb_config))
            connection.execute(f"{duckdb_engine.SETTINGS} SET GLOBAL temp_directory = {literal(spilled)};")
            self.lake.register(connection)
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the connection and remove what it spilled."""
        self._closing.close()
        self._connection = None

    def landed(self, key: AssetKey, days: Iterable[date]) -> set[date]:
        """Which of these days the table has, made from sources that were landed.

        A day can be staged from nothing (when raw was skipped), or from early rows alone: it is missing all the same.
        """
        landed = self.lake.landed(key, set(days))
        for source in self.sources.get(key, frozenset()):
            landed &= self.lake.landed(source, landed)
        return landed

    def read(
        self, step: StepExecutionContext, key: AssetKey, partitions: Iterable[Partition]
    ) -> dict[Partition, Files]:
        """The files of these partitions, noted as what the step was made from."""
        files = self.lake.read_set(key, partitions)
        noted = self._reads.setdefault(_attempt(step), {})
        noted |= {(key, partition): found for partition, found in files.items()}
        return files

    @contextmanager
    def reading(self, step: StepExecutionContext) -> Generator[None]:
        """Run the block again if it fails while another run replaces what the step has read: that may be why.

        Raises:
            RetryRequested: An input changed.
        """
        with _retried(step.step.key):
            try:
                yield
            except (Failure, RetryRequested):
                raise
            except Exception:
                self.lake.refuse_changed(self._reads.get(_attempt(step), {}))
                raise

    @contextmanager
    def replacing(
        self, step: StepExecutionContext, key: AssetKey, newest: str | None = None
    ) -> Generator[tuple[Path, dict[Path, Path]]]:
        """`Lake.replacing`, as long as nothing that the step has read was changed by another run.

        Raises:
            RetryRequested: An input changed. Nothing is replaced then.
        """
        inputs = self._reads.get(_attempt(step), {})
        with _retried(key.to_user_string()), self.lake.replacing(key, inputs, newest) as writing:
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
