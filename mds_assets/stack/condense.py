"""Dagster's records of an old run without what nobody asks for: its log, superseded events, previews, schemas.

Dagster only deletes whole runs. This module works on the tables of its event log, which SQLite and PostgreSQL share; on
SQLite, each run also has a file of its own. `prune` decides about which runs.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from dagster import AssetCheckKey, DagsterEvent, DagsterInstance, EventLogEntry
from dagster import DagsterEventType as EventType
from dagster._core.events import StepMaterializationData
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as COMPLETED,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable as Checks,
)
from dagster._core.storage.event_log.schema import (
    AssetEventTagsTable as EventTags,
)
from dagster._core.storage.event_log.schema import (
    SqlEventLogStorageTable as Events,
)
from dagster._core.storage.runs import SqlRunStorage
from dagster._serdes import deserialize_value, serialize_value
from sqlalchemy import URL, NullPool, bindparam, create_engine, select, text
from sqlalchemy.exc import OperationalError

CONDENSED = {"mds/condensed": "true"}  # a run's tag: it also tells in the UI why the log is empty

_KEPT_METADATA = {"dagster/partition_row_count", "dagster/uri"}
_COMPLETED = {status.value for status in COMPLETED}  # planned ones are not results
_RESULTS = select(
    *(Checks.c.id, Checks.c.run_id, Checks.c.asset_key, Checks.c.check_name, Checks.c.partition),
    *(Checks.c.execution_status, Checks.c.create_timestamp),
).order_by(Checks.c.id.desc())


@dataclass
class Needed:
    """What of a run nothing newer replaces, as ids of rows.

    Attributes:
        materializations: The newest of some day of some table.
        whole: Those of them that are the newest of their table: the next run may read their metadata.
        evaluations: The newest of a check, and the newest of a check on a day if it failed.
    """

    materializations: set[int] = field(default_factory=set[int])
    whole: set[int] = field(default_factory=set[int])
    evaluations: set[int] = field(default_factory=set[int])


def check_results(instance: DagsterInstance) -> Sequence[Any]:
    """Every result of a check, planned ones too, the newest first, without what it says."""
    with _log(instance).index_connection() as con:
        return con.execute(_RESULTS).fetchall()


def needed_rows(
    instance: DagsterInstance, checks: Iterable[AssetCheckKey], results: Iterable[Any]
) -> dict[str, Needed]:
    """What each run holds of the tables, including those that no longer exist, and of these checks."""
    needed: dict[str, Needed] = defaultdict(Needed)
    for key in instance.all_asset_keys():
        seen: set[str | None] = set()
        for event in instance.get_asset_event_summary_records(EventType.ASSET_MATERIALIZATION, key):
            if event.partition not in seen:  # they come newest first
                run = needed[event.run_id or RUNLESS_RUN_ID]
                run.materializations.add(event.storage_id)
                if not seen:
                    run.whole.add(event.storage_id)
                seen.add(event.partition)
    seen_days = {(check.asset_key.to_string(), check.name): set[str | None]() for check in checks}
    for row in results:
        days = seen_days.get((row.asset_key, row.check_name))
        if days is None or row.partition in days or row.execution_status not in _COMPLETED:
            continue
        if not days or row.execution_status == AssetCheckExecutionRecordStatus.FAILED.value:
            needed[row.run_id].evaluations.add(row.id)
        days.add(row.partition)
    return needed


def condense(instance: DagsterInstance, run_id: str, needed: Needed, before: datetime) -> None:
    """Leave of a run's records before this time only what is needed, each materialization without what is large.

    What stays: key, day, data version, row count, URI.
    """
    with _log(instance).index_connection() as con:
        before = before.astimezone(UTC).replace(tzinfo=None)
        ids = con.execute(select(Events.c.id).where(Events.c.run_id == run_id, Events.c.timestamp < before)).scalars()
        unneeded = [{"row": id_} for id_ in ids if id_ not in needed.materializations]
        if unneeded:
            con.execute(Events.delete().where(Events.c.id == bindparam("row")), unneeded)
            con.execute(EventTags.delete().where(EventTags.c.event_id == bindparam("row")), unneeded)
        for id_ in needed.materializations - needed.whole:
            query = select(Events.c.event).where(Events.c.id == id_, Events.c.timestamp < before)
            for event in con.execute(query).scalars():
                con.execute(Events.update().where(Events.c.id == id_).values(event=_shortened(event)))
    if run_id != RUNLESS_RUN_ID:
        instance.add_run_tags(run_id, CONDENSED)
        _delete_files(instance, run_id, leave_log=True)


def delete_run(instance: DagsterInstance, run_id: str) -> None:
    """Delete the run, its events, and what Dagster leaves behind: its SQLite file and its captured output."""
    instance.delete_run(run_id)
    _delete_files(instance, run_id)


def delete_results(
    instance: DagsterInstance,
    results: Iterable[Any],
    whole: Collection[str],
    needed: Mapping[str, Needed],
    before: datetime,
) -> None:
    """Delete the results of checks that are not needed, unless they are of a whole run, or of none and young.

    Dagster's `delete_run` leaves all of a run's behind.
    """
    evaluations = {id_ for run in needed.values() for id_ in run.evaluations}
    young = before.astimezone(UTC).replace(tzinfo=None)
    rows = [
        {"row": row.id}
        for row in results
        if row.id not in evaluations
        and row.run_id not in whole
        and (row.run_id != RUNLESS_RUN_ID or row.create_timestamp < young)
    ]
    if rows:
        with _log(instance).index_connection() as con:
            con.execute(Checks.delete().where(Checks.c.id == bindparam("row")), rows)


def return_space(instance: DagsterInstance) -> None:
    """Give the space of deleted rows back to the disk where SQLite would keep it for new ones."""
    runs = cast(SqlRunStorage, instance.run_storage)
    for connection in (_log(instance).index_connection(), runs.connect()):
        with connection as con:
            if con.dialect.name != "sqlite":
                continue
            free, pages = (
                con.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("freelist_count", "page_count")
            )
            # Of a quarter, since it copies the file. The next time will do if another process writes now.
            if 4 * free > pages:
                with suppress(OperationalError):
                    con.execute(text("VACUUM"))
                    con.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))  # the file shrinks when this is merged into it


def _log(instance: DagsterInstance) -> SqlEventLogStorage:
    return cast(SqlEventLogStorage, instance.event_log_storage)


def _delete_files(instance: DagsterInstance, run_id: str, leave_log: bool = False) -> None:
    """Delete the run's captured output, and on SQLite its log or all that is in it."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    file_of = getattr(instance.event_log_storage, "path_for_shard", None)
    if file_of:
        log = Path(file_of(run_id))
        for ending in ("", "-wal", "-shm"):
            Path(f"{log}{ending}").unlink(missing_ok=True)
        if leave_log:
            # A process that has read it before, such as the webserver, would miss the table. Dagster's own takes 80 kB.
            engine = create_engine(URL.create("sqlite", database=str(log)), poolclass=NullPool)
            with engine.begin() as con:
                con.execute(text("PRAGMA page_size = 512"))
                Events.create(con)


def _shortened(serialized: str) -> str:
    event = deserialize_value(serialized, EventLogEntry)
    materialization = event.asset_materialization
    if not materialization:
        return serialized
    metadata: dict[str, Any] = {name: each for name, each in materialization.metadata.items() if name in _KEPT_METADATA}
    short = StepMaterializationData(materialization.with_metadata(metadata))
    kind, job = EventType.ASSET_MATERIALIZATION.value, event.job_name or ""
    return serialize_value(
        EventLogEntry(
            error_info=None,
            level=event.level,
            user_message="",
            run_id=event.run_id,
            timestamp=event.timestamp,
            step_key=event.step_key,
            job_name=event.job_name,
            dagster_event=DagsterEvent(kind, job, step_key=event.step_key, event_specific_data=short),
        )
    )
