"""Dagster's SQLite event log, without a new connection and a wait for the disk for every event.

The files and tables are those of Dagster's own `SqliteEventLogStorage`, so an instance can change between the two.
Dagster's opens up to three connections for an event, and waits for the disk at each: 10 ms an event, of which a week of
the sample has some 800. Here, the process that runs a run keeps its connections, and a batch is one transaction.

A power cut can take the last events with it. The files that they are about are on disk before (`lake/commit.py`).
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from dagster import DagsterEventType, EventLogEntry
from dagster._core.event_api import EventHandlerFn
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
    SqliteEventLogStorageWatchdog,
)
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, NullPool, create_engine
from watchdog.events import FileSystemEvent
from watchdog.observers import Observer

_MAX_OPEN = 8  # connections that one process keeps: the daemon writes to many runs
_MIRRORED = {*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS}
_RUN_ENDS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED}


class EventStorage(SqliteEventLogStorage):
    """Stores a run's events on connections that stay open until the run ends."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Store events in the files of this folder: one for each run, and an index of all runs."""
        super().__init__(base_dir, inst_data)
        self._db_lock = RLock()  # whoever stores a batch connects again for each of its events
        self._kept: dict[str, Connection] = {}  # by shard, in the order of their last use
        self._has_table: set[str] = set()
        self._has_index_columns = False

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event, in one transaction for each file."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of one run, in one transaction for each file."""
        run_id = events[0].run_id
        with self._db_lock:
            for shard in (run_id, INDEX_SHARD_NAME):
                self._keep(shard)
            with self._connect(run_id) as run, self._connect(INDEX_SHARD_NAME) as index:
                rows = [self._event_to_row(event) for event in events]
                run.execute(SqlEventLogStorageTable.insert(), rows)
                mirrored = [(event, row) for event, row in zip(events, rows, strict=True) if _kind(event) in _MIRRORED]
                if mirrored:
                    self._mirror(index, *zip(*mirrored, strict=True))
            if any(event.dagster_event and event.dagster_event.event_type in _RUN_ENDS for event in events):
                self._close(run_id)

    def _mirror(self, index: Connection, events: Sequence[EventLogEntry], rows: Sequence[dict[str, Any]]) -> None:
        """Store events of tables, checks and runs in the index too, which answers questions about all runs."""
        index.execute(SqlEventLogStorageTable.insert(), rows)
        # Nobody else writes during a transaction, so their ids are in a row.
        last: int = index.exec_driver_sql("SELECT last_insert_rowid()").scalar_one()
        ids = dict(zip(range(last - len(rows) + 1, last + 1), events, strict=True))
        of_assets = {number: event for number, event in ids.items() if _kind(event) in ASSET_EVENTS}
        self._store_asset_event_tags(index, list(of_assets.values()), list(of_assets))
        # A table has a row with its newest event; a batch may have one for each day.
        newest = {(_kind(event), event.get_dagster_event().asset_key): number for number, event in of_assets.items()}
        for number in newest.values():
            self._store_asset_event(index, of_assets[number], number)
        for number, event in ids.items():
            if _kind(event) in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, number)

    def _keep(self, shard: str) -> None:
        """Connect to a file, and stay connected."""
        kept = self._kept.pop(shard, None)
        if not kept:
            with super()._connect(shard):  # creates it
                pass
            options = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
            engine = create_engine(self.conn_string_for_shard(shard), poolclass=NullPool, connect_args=options)
            kept = engine.connect()
            kept.exec_driver_sql("PRAGMA synchronous = NORMAL")  # with a write-ahead log, no wait at each commit
            kept.commit()
        self._kept[shard] = kept
        while len(self._kept) > _MAX_OPEN:
            self._close(next(iter(self._kept)))

    def _close(self, shard: str) -> None:
        kept = self._kept.pop(shard)
        kept.close()
        kept.engine.dispose()

    @contextmanager
    def _connect(self, shard: str) -> Generator[Connection]:
        with self._db_lock:
            kept = self._kept.get(shard)
            if not kept:
                with super()._connect(shard) as connection:
                    yield connection
            elif kept.in_transaction():  # that of the batch
                yield kept
            else:
                with kept.begin():
                    yield kept

    def has_table(self, table_name: str) -> bool:
        """Whether the index has this table; Dagster wants to know for each event with tags."""
        if table_name not in self._has_table and super().has_table(table_name):
            self._has_table.add(table_name)
        return table_name in self._has_table

    def _has_asset_key_index_cols_on_connection(self, conn: Any) -> bool:  # likewise, for each event of a table
        self._has_index_columns = self._has_index_columns or super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_index_columns

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back when another process stores events of the run; the webserver does, to show them as they come."""
        if not self._obs:
            self._obs = Observer()
            self._obs.start()
        watchdog = _Watchdog(self, run_id, callback, cursor)
        self._watchers[run_id][callback] = (watchdog, self._obs.schedule(watchdog, self._base_dir, recursive=True))

    def dispose(self) -> None:
        """Close all connections."""
        with self._db_lock:
            for shard in list(self._kept):
                self._close(shard)
        super().dispose()


def _kind(event: EventLogEntry) -> DagsterEventType | None:
    return event.dagster_event_type if event.is_dagster_event else None


class _Watchdog(SqliteEventLogStorageWatchdog):
    """Watches the write-ahead log too: the file itself only changes when that is merged into it."""

    def __init__(self, storage: EventStorage, run_id: str, callback: EventHandlerFn, cursor: str | None) -> None:
        super().__init__(storage, run_id, callback, cursor)
        self._patterns = [self._log_path, f"{self._log_path}-wal"]

    def on_modified(self, event: FileSystemEvent) -> None:
        self._process_log()


class SqliteStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage, with the event log of this module."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Store runs, events and schedules below this folder."""
        super().__init__(base_dir, inst_data)
        folder = Path(self._event_log_storage.path_for_shard(INDEX_SHARD_NAME)).parent
        self._event_log_storage = EventStorage(str(folder))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "SqliteStorage":
        """What `dagster.yaml` says."""
        return cls.from_local(inst_data=inst_data, **config_value)
