"""The schedules.

https://docs.dagster.io/guides/automate/schedules
"""

from dagster import DefaultScheduleStatus, JobDefinition, ScheduleDefinition, build_schedule_from_partitioned_job

from mds_assets.stack.jobs import TRIGGER, daily_refresh, table_checks

daily_refresh_schedule = build_schedule_from_partitioned_job(
    daily_refresh,
    name="daily_refresh_schedule",
    description="At 00:05 UTC, the day that ended.",
    hour_of_day=0,
    minute_of_hour=5,
    tags={TRIGGER: "schedule"},
    # It runs wherever a daemon runs (`make dev`); the UI can stop it.
    default_status=DefaultScheduleStatus.RUNNING,
)

# A table that no run touches would never be told to be stale.
table_checks_schedule = ScheduleDefinition(
    job=table_checks,
    name="table_checks_schedule",
    description="At 06:30 UTC, when the day that ended has to be there.",
    cron_schedule="30 6 * * *",
    execution_timezone="UTC",
    tags={TRIGGER: "schedule"},
    default_status=DefaultScheduleStatus.RUNNING,
)


def prune_schedule(prune: JobDefinition) -> ScheduleDefinition:
    """The schedule of the job `prune`. What it deletes is gone: switch it on in the UI, after a dry run."""
    return ScheduleDefinition(
        name="prune_schedule",
        description="On Sundays at 03:00 UTC, records of old runs.",
        job=prune,
        cron_schedule="0 3 * * 0",
        execution_timezone="UTC",
        tags={TRIGGER: "schedule"},
        default_status=DefaultScheduleStatus.STOPPED,
    )
