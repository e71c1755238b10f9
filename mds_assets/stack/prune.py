"""The job `prune`: deletes Dagster's records of old runs that nothing needs any more.

Dagster keeps every run and its events forever. Deleting a run removes its materializations from the catalog, so an old
run with the newest one of some day of some table stays: condensed to those (`condense`). The lake's files are never
deleted.

https://docs.dagster.io/api/dagster/internals#dagster.DagsterInstance.delete_run
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckKey,
    Config,
    DagsterInstance,
    DagsterRunStatus,
    JobDefinition,
    OpExecutionContext,
    RunsFilter,
    job,
    op,
)
from dagster._core.instance.utils import RUNLESS_RUN_ID
from pydantic import Field

if TYPE_CHECKING:
    from mds_assets.stack.condense import Needed

_ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


_NEWEST_MATERIALIZATION = "with the newest materialisation of a table's day"
_NEWEST_EVALUATION = "with the newest evaluation of a check"
_PARTLY = {_NEWEST_MATERIALIZATION, _NEWEST_EVALUATION}  # why a run is kept, but not whole


class PruneConfig(Config):
    """What `prune` may delete."""

    older_than_days: int = Field(default=30, ge=0, description="Days since a run was created.")
    keep_newest: int = Field(default=50, ge=0, description="Number of newest runs to keep, however old they are.")
    dry_run: bool = Field(default=False, description="Log what would be deleted, and delete nothing.")


def prune_job(checks: Sequence[AssetCheckKey]) -> JobDefinition:
    """The job, which keeps the newest result of each of these checks."""

    @op(
        name="prune_runs",
        description="Deletes records of old runs; of those with the newest materialization of a day, it keeps that.",
    )
    def prune_runs(context: OpExecutionContext, config: PruneConfig) -> None:
        _prune(context, config, checks)

    @job(name="prune", description="Deletes Dagster's records of old runs that nothing needs any more.")
    def prune() -> None:
        prune_runs()

    return prune


def _prune(context: OpExecutionContext, config: PruneConfig, checks: Sequence[AssetCheckKey]) -> None:
    """Delete and condense what `verdicts` allows, and log how many, and why the others are kept."""
    # SQLAlchemy takes time to import, and every command imports this module.
    from mds_assets.stack import condense

    instance, now = context.instance, datetime.now(UTC)
    # Before the runs: those of a run that starts meanwhile are not among them.
    results = condense.check_results(instance)
    needed = condense.needed_rows(instance, checks, results)
    runs = verdicts(instance, config, needed, now)
    old = [run_id for run_id, reason in runs.items() if reason is None]
    partly = [run_id for run_id, reason in runs.items() if reason in _PARTLY]
    done = {record.dagster_run.run_id for record in instance.get_run_records(RunsFilter(tags=condense.CONDENSED))}
    to_condense = [run_id for run_id in partly if run_id not in done]
    if not config.dry_run:
        before = now - timedelta(days=config.older_than_days)
        for run_id in old:
            condense.delete_run(instance, run_id)
        # Events without a run, such as those of *Report materialization* in the UI, are as old as they are.
        for run_id in (*to_condense, RUNLESS_RUN_ID):
            condense.condense(instance, run_id, needed.get(run_id, condense.Needed()), before)
        whole = runs.keys() - {*old, *partly}  # not among them: runs that are gone
        condense.delete_results(instance, results, whole, needed, before)
        condense.return_space(instance)
    kept = Counter(reason for reason in runs.values() if reason)
    context.log.info(
        "%s %s of %s runs and condense%s %s; kept %s%s",
        "would delete" if config.dry_run else "deleted",
        len(old),
        len(runs),
        "" if config.dry_run else "d",
        len(to_condense),
        len(runs) - len(old),
        "".join(f"; {count} {reason}" for reason, count in kept.most_common()),
    )
    deleted, condensed = (0, 0) if config.dry_run else (len(old), len(to_condense))
    context.add_output_metadata({"deleted": deleted, "condensed": condensed, "old": len(old), "kept": dict(kept)})


def verdicts(
    instance: DagsterInstance, config: PruneConfig, needed: Mapping[str, "Needed"], now: datetime
) -> Mapping[str, str | None]:
    """Why each run is kept, newest run first; None for a run to delete."""
    before = now - timedelta(days=config.older_than_days)
    reasons: dict[str, str | None] = {}
    for number, record in enumerate(instance.get_run_records()):
        run = record.dagster_run
        reasons[run.run_id] = (
            "in progress" if run.status not in _ENDED
            else f"not older than {config.older_than_days} days" if record.create_timestamp > before
            else f"among the newest {config.keep_newest}" if number < config.keep_newest
            else _NEWEST_MATERIALIZATION if run.run_id in needed and needed[run.run_id].materializations
            else _NEWEST_EVALUATION if run.run_id in needed and needed[run.run_id].evaluations
            else None
        )  # fmt: skip
    return reasons
