"""The schedule that mends gaps by itself: what `mds run --missing --stale` makes, one run at a time."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import (
    AssetKey,
    DagsterRunStatus,
    DefaultScheduleStatus,
    Definitions,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
)

from mds_assets.stack.jobs import TRIGGER, daily_refresh
from mds_assets.stack.names import FIRST_DAY_TAG, LAST_DAY_TAG
from mds_assets.stack.provenance import digest

if TYPE_CHECKING:
    from mds_assets.stack.plan.plan import Requests
    from mds_assets.stack.plan.runs import Run
    from mds_assets.stack.settings import Settings

_HEAL = "heal"  # the tag of its runs
_UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
]


def heal_schedule(defs: Callable[[], Definitions], settings: "Settings") -> ScheduleDefinition:
    """Each hour, the first run of the plan for the last MDS_HEAL_DAYS days; off if that is 0.

    Later runs of the plan follow in later hours, when what they read is there. The same run is requested once a day.

    Args:
        defs: The project's definitions, which include this schedule.
        settings: The stack's settings.
    """

    def first_run(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        if not settings.heal_days:  # somebody has switched it on in the UI
            return SkipReason("MDS_HEAL_DAYS is 0.")
        under_way = RunsFilter(tags={TRIGGER: _HEAL}, statuses=_UNDER_WAY)
        if context.instance.get_runs(under_way, limit=1):
            return SkipReason("The last run that it started has not ended.")
        from mds_assets.stack.lake import Lake
        from mds_assets.stack.plan.plan import make_plan

        ended = datetime.now(UTC).date() - timedelta(days=1)
        start = max(settings.start_date, ended - timedelta(days=settings.heal_days - 1))
        plan = make_plan(defs(), Lake(settings.data_dir), start, ended)
        if not plan.runs:
            return SkipReason(f"Nothing is missing or stale since {start}.")
        run = _affordable(plan.runs[0], plan.requests, settings.heal_requests)
        if not run:
            return SkipReason("A day takes more requests than MDS_HEAL_REQUESTS.")
        return _request(run)

    return ScheduleDefinition(
        name="heal_schedule",
        description="Each hour, what is missing or stale among the last MDS_HEAL_DAYS days.",
        job=daily_refresh,
        cron_schedule="35 * * * *",
        execution_timezone="UTC",
        execution_fn=first_run,
        default_status=DefaultScheduleStatus.RUNNING if settings.heal_days else DefaultScheduleStatus.STOPPED,
    )


def _affordable(run: "Run", requests: Sequence["Requests"], limit: int) -> "Run | None":
    """The run, or as many of its first days as the limit allows."""
    names = {key.to_user_string() for key in run.keys}
    a_day = sum((each.number or 0) / each.days for each in requests if each.table in names)
    days = min(run.days, int(limit / a_day) if a_day else run.days)
    return replace(run, last=run.first + timedelta(days=days - 1)) if days else None


def _request(run: "Run") -> RunRequest:
    names = sorted(key.to_user_string() for key in run.keys)
    today = str(datetime.now(UTC).date())
    return RunRequest(
        run_key=digest(json.dumps([today, str(run.first), str(run.last), names]).encode()),
        partition_key=str(run.last) if run.days == 1 else None,
        tags={
            TRIGGER: _HEAL,
            **({FIRST_DAY_TAG: str(run.first), LAST_DAY_TAG: str(run.last)} if run.days > 1 else {}),
        },
        asset_selection=[*run.keys, AssetKey(["warehouse"])],
    )
