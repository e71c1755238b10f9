"""Promises of the event log: it holds what Dagster's own does, in its files, and other processes see events come."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from dagster import DagsterEvent, DagsterInstance, EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage

from mds_assets.stack.event_storage import EventStorage
from mds_assets_tests.runs import INSTANCE, Runs
from mds_assets_tests.stack import toy

FIRST, LAST = date(2019, 3, 1), date(2019, 3, 3)
COLUMNS = {
    "event_logs": "dagster_event_type, step_key, asset_key, partition",
    "asset_keys": "asset_key, last_materialization IS NULL, last_run_id IS NULL",
    "asset_event_tags": "asset_key, key",
    "asset_check_executions": "asset_key, check_name, partition, execution_status, evaluation_event_storage_id, "
    "materialization_event_storage_id",
}


def instance_at(folder: Path, *, guarded: bool = True) -> DagsterInstance:
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(INSTANCE if guarded else "{}")
    return DagsterInstance.from_config(str(folder))


def rows_of(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of Dagster's tables in a file, in order, without what differs between two runs."""
    with closing(sqlite3.connect(file)) as con:
        there = {name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        queries = {name: f"SELECT {columns} FROM {name} ORDER BY id" for name, columns in COLUMNS.items()}  # noqa: S608
        return {name: con.execute(query).fetchall() for name, query in queries.items() if name in there}


def test_a_range_leaves_the_rows_that_dagsters_own_storage_has(tmp_path: Path) -> None:
    recorded: list[list[Any]] = []
    for guarded in (True, False):
        folder = tmp_path / f"guarded={guarded}"
        project = Runs.of(folder, toy.orders, toy.staged, toy.revenue, shop=toy.sales())
        with instance_at(folder / "home", guarded=guarded) as instance:
            assert isinstance(instance.event_log_storage, EventStorage) == guarded
            run = project.materialise(FIRST, LAST, instance=instance).run_id
        history = folder / "home" / "history" / "runs"
        assert not list(history.glob("*-wal"))  # all is in the files themselves
        # Read by Dagster's own storage.
        with instance_at(folder / "home", guarded=False) as instance:
            assert type(instance.event_log_storage) is SqliteEventLogStorage
            events = [event.dagster_event_type for event in instance.all_logs(run)]
        recorded.append([rows_of(history / "index.db"), rows_of(history / f"{run}.db"), events])
    ours, dagsters = recorded
    assert ours == dagsters


def log(run_id: str, text: str) -> EventLogEntry:
    return EventLogEntry(error_info=None, level=20, user_message=text, run_id=run_id, timestamp=0.0, dagster_event=None)


def texts(instance: DagsterInstance, run_id: str) -> list[str]:
    return [event.user_message for event in instance.all_logs(run_id)]


def test_a_watcher_sees_an_event_while_the_run_goes_on(tmp_path: Path) -> None:
    came = Event()
    with instance_at(tmp_path) as webserver, instance_at(tmp_path) as run:
        run.event_log_storage.store_event(log("a-run", "before"))
        webserver.watch_event_logs("a-run", None, lambda *_: came.set())
        run.event_log_storage.store_event(log("a-run", "during"))
        assert came.wait(30)
        assert texts(webserver, "a-run") == ["before", "during"]


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_at(tmp_path) as instance:
        storage = instance.event_log_storage
        storage.store_event(log("a-run", "first"))
        begun = log("a-run", "begun")._replace(dagster_event=DagsterEvent("PIPELINE_START", "a-job"))

        def failing(*_: object) -> None:
            raise OSError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(EventStorage, "_mirror", failing)
            with pytest.raises(OSError, match="full"):
                storage.store_event_batch([log("a-run", "second"), begun])
        assert texts(instance, "a-run") == ["first"]
        storage.store_event_batch([log("a-run", "second"), log("a-run", "third")])
        assert texts(instance, "a-run") == ["first", "second", "third"]


@pytest.mark.slow(4)
def test_a_killed_process_leaves_what_it_stored(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from mds_assets_tests.stack.test_event_storage import instance_at, log
instance = instance_at(Path(sys.argv[1]))
for number in range(3):
    instance.event_log_storage.store_event(log("a-run", str(number)))
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with instance_at(tmp_path) as instance:
        assert texts(instance, "a-run") == ["0", "1", "2"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists open files")
def test_a_process_keeps_few_connections_however_many_runs_it_writes_to(tmp_path: Path) -> None:
    with instance_at(tmp_path) as instance:
        storage = instance.event_log_storage
        for number in range(20):
            storage.store_event(log(f"run-{number}", "an event"))
        open_files = {str(link.resolve()) for link in Path("/proc/self/fd").iterdir()}
        assert len({name for name in open_files if name.startswith(str(tmp_path)) and name.endswith(".db")}) <= 8
        assert [texts(instance, f"run-{number}") for number in range(20)] == [["an event"]] * 20
