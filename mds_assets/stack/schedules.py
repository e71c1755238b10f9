"""The schedules.

https://docs.dagster.io/guides/automate/schedules
"""

from typing import Any

from dagster import DefaultScheduleStatus, JobDefinition, ScheduleDefinition, build_schedule_from_partitioned_job

from mds_assets.stack.jobs import TRIGGER, daily_refresh, table_checks

# Without this, a table that no run touches would never be reported stale.
table_checks_schedule = ScheduleDefinition(
    job=table_checks,
    name="table_checks_schedule",
    description="At 06:30 UTC, when the last complete day must be there.",
    cron_schedule="30 6 * * *",
    execution_timezone="UTC",
    tags={TRIGGER: "schedule"},
    default_status=DefaultScheduleStatus.RUNNING,
)


def daily_refresh_schedule(*, partitioned: bool) -> Any:
    """The schedule of the job `daily_refresh`. It runs wherever a daemon runs (`make dev`); the UI can stop it.

    Args:
        partitioned: Whether any table has days; a project may have none, or no source yet.
    """
    options: dict[str, Any] = {
        "name": "daily_refresh_schedule",
        "description": "At 00:05 UTC, the day that has just ended.",
        "tags": {TRIGGER: "schedule"},
        "default_status": DefaultScheduleStatus.RUNNING,
    }
    if partitioned:
        return build_schedule_from_partitioned_job(daily_refresh, hour_of_day=0, minute_of_hour=5, **options)
    return ScheduleDefinition(job=daily_refresh, cron_schedule="5 0 * * *", execution_timezone="UTC", **options)


def prune_schedule(prune: JobDefinition) -> ScheduleDefinition:
    """The schedule of the job `prune`. Deletion is irreversible: switch it on in the UI, after a dry run."""
    return _on_sundays(prune, 3, "records of old runs")


def compact_schedule(compact: JobDefinition) -> ScheduleDefinition:
    """The schedule of the job `compact`. Only lakes with many loads a day need it: switch it on in the UI."""
    return _on_sundays(compact, 4, "raw days with many loads")


def _on_sundays(job: JobDefinition, hour: int, what: str) -> ScheduleDefinition:
    return ScheduleDefinition(
        name=f"{job.name}_schedule",
        description=f"On Sundays at {hour:02}:00 UTC, {what}.",
        job=job,
        cron_schedule=f"0 {hour} * * 0",
        execution_timezone="UTC",
        tags={TRIGGER: "schedule"},
        default_status=DefaultScheduleStatus.STOPPED,
    )
