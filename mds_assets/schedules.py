"""The schedules.

https://docs.dagster.io/guides/automate/schedules
"""

from dagster import DefaultScheduleStatus, build_schedule_from_partitioned_job

from mds_assets.jobs import TRIGGER, daily_refresh

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
