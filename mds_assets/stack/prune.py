"""The job `prune`: deletes Dagster's records of old runs that nothing needs any more.

Dagster keeps every run and its events forever. Deleting a run removes its materializations from the catalog, so runs
that hold the newest one of some day of some table are kept, however old they are. The lake's files are never deleted.

https://docs.dagster.io/api/dagster/internals#dagster.DagsterInstance.delete_run
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import (
    AssetCheckKey,
    Config,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    JobDefinition,
    OpExecutionContext,
    job,
    op,
)
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
from pydantic import Field

_ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


class PruneConfig(Config):
    """What `prune` may delete."""

    older_than_days: int = Field(default=90, ge=0, description="Days since a run was created.")
    keep_newest: int = Field(default=100, ge=0, description="Number of newest runs to keep, however old they are.")
    dry_run: bool = Field(default=False, description="Log what would be deleted, and delete nothing.")


def prune_job(checks: Sequence[AssetCheckKey]) -> JobDefinition:
    """The job, which keeps the newest result of each of these checks."""

    @op(
        name="prune_runs",
        description="Deletes records of old runs; keeps runs that hold the newest materialization of a day.",
    )
    def prune_runs(context: OpExecutionContext, config: PruneConfig) -> None:
        _prune(context, config, checks)

    @job(name="prune", description="Deletes Dagster's records of old runs that nothing needs any more.")
    def prune() -> None:
        prune_runs()

    return prune


def _prune(context: OpExecutionContext, config: PruneConfig, checks: Sequence[AssetCheckKey]) -> None:
    """Delete the runs that `verdicts` finds no reason to keep, and log how many, and why the others are kept."""
    runs = verdicts(context.instance, config, checks, now=datetime.now(UTC))
    old = [run_id for run_id, reason in runs.items() if reason is None]
    for run_id in old if not config.dry_run else []:
        _delete(context.instance, run_id)
    kept = Counter(reason for reason in runs.values() if reason)
    context.log.info(
        "%s %s of %s runs; kept %s%s",
        "would delete" if config.dry_run else "deleted",
        len(old),
        len(runs),
        len(runs) - len(old),
        "".join(f"; {count} {reason}" for reason, count in kept.most_common()),
    )
    context.add_output_metadata({"deleted": 0 if config.dry_run else len(old), "old": len(old), "kept": dict(kept)})


def verdicts(
    instance: DagsterInstance, config: PruneConfig, checks: Iterable[AssetCheckKey], now: datetime
) -> Mapping[str, str | None]:
    """Why each run is kept, newest run first; None for a run to delete."""
    before = now - timedelta(days=config.older_than_days)
    materialised, checked = _newest_materialisations(instance), _newest_evaluations(instance, checks)
    reasons: dict[str, str | None] = {}
    for number, record in enumerate(instance.get_run_records()):
        run = record.dagster_run
        reasons[run.run_id] = (
            "in progress" if run.status not in _ENDED
            else f"not older than {config.older_than_days} days" if record.create_timestamp > before
            else f"among the newest {config.keep_newest}" if number < config.keep_newest
            else "with the newest materialisation of a table's day" if run.run_id in materialised
            else "with the newest evaluation of a check" if run.run_id in checked
            else None
        )  # fmt: skip
    return reasons


def _newest_materialisations(instance: DagsterInstance) -> set[str | None]:
    """The runs with the newest materialization of a partition of a table, including tables that no longer exist."""
    runs: set[str | None] = set()
    for key in instance.all_asset_keys():
        seen: set[str | None] = set()
        for event in instance.get_asset_event_summary_records(DagsterEventType.ASSET_MATERIALIZATION, key):
            if event.partition not in seen:  # they come newest first
                seen.add(event.partition)
                runs.add(event.run_id)
    return runs


def _newest_evaluations(instance: DagsterInstance, checks: Iterable[AssetCheckKey]) -> set[str]:
    """The runs with each check's newest result; planned but unfinished evaluations do not count."""
    history = instance.event_log_storage.get_asset_check_execution_history
    newest = (history(check, limit=1, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES) for check in checks)
    return {record.run_id for records in newest for record in records}


def _delete(instance: DagsterInstance, run_id: str) -> None:
    """Delete the run, its events, and what Dagster leaves behind: its SQLite event file and its captured output."""
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    file_of = getattr(instance.event_log_storage, "path_for_shard", None)
    if file_of:
        for ending in ("", "-wal", "-shm"):
            Path(file_of(run_id) + ending).unlink(missing_ok=True)
