"""Many organisations: split a day's crawl into several runs, one per group of organisations, then build the tables.

A group is not a partition: 10,000 organisations times 365 days are more partitions than Dagster handles well. It need
not be one: raw is append-only, so each group adds its load to the day, and staging reads all of them. A failed group
doesn't stop the others.

All this exists only if `MDS_ORGS_PER_RUN` is set. The schedule then replaces the stack's daily one.

https://docs.dagster.io/guides/automate/schedules/dynamic-schedules
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

from dagster import (
    AssetSelection,
    DagsterRun,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    RunRequest,
    RunsFilter,
    ScheduleEvaluationContext,
    SensorEvaluationContext,
    SkipReason,
    define_asset_job,
    definitions,
    schedule,
    sensor,
)

from mds_assets.defs.github.settings import settings
from mds_assets.stack.jobs import TRIGGER

GROUP = "mds/group"  # the tag of a crawl's run: which group of how many
_PARTITION = "dagster/partition"
_DAYS_BACK = 7  # a crawl may finish, or be rerun, days later

_TABLES = ("github_repos", "github_pushes", "github_issues", "github_stars", "github_inventory")
_RAW = AssetSelection.assets(*(f"raw/{table}" for table in _TABLES))

crawl = define_asset_job(
    "crawl",
    selection=_RAW,
    description="GitHub's raw of one day: of all organisations, or of those in the run's configuration.",
)

tables = define_asset_job(
    "tables",
    selection=AssetSelection.all() - _RAW,
    description="Everything but GitHub's raw, for one day. It lands the other sources.",
)


def groups(organisations: Sequence[str], size: int) -> list[list[str]]:
    """The organisations in order, in the fewest groups of at most this size."""
    return [list(organisations[start : start + size]) for start in range(0, len(organisations), size)]


@schedule(
    job=crawl,
    name="daily_refresh_schedule",
    description="At 00:05 UTC, raw of the day that ended, a run for each group of MDS_ORGS_PER_RUN organisations.",
    cron_schedule="5 0 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
)
def crawl_schedule(context: ScheduleEvaluationContext) -> Iterator[RunRequest]:
    """One run per group. Dagster starts as many at once as `dagster.yaml` allows."""
    day = context.scheduled_execution_time.date() - timedelta(days=1)
    found = _groups()
    for number, organisations in enumerate(found, start=1):
        yield RunRequest(
            run_key=f"{day} {number}",
            partition_key=str(day),
            run_config={"ops": {f"raw__{table}": {"config": {"organisations": organisations}} for table in _TABLES}},
            tags={TRIGGER: "schedule", GROUP: f"{number} of {len(found)}"},
        )


@sensor(
    job=tables,
    name="tables_follow_crawls",
    description="Builds a day's tables once all groups of its crawl have ended; again when a failed one is repaired.",
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
)
def tables_follow_crawls(context: SensorEvaluationContext) -> Iterator[RunRequest | SkipReason]:
    """A run for each recent day, once per set of successful crawls."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    asked = False
    for day in (yesterday - timedelta(days=back) for back in reversed(range(_DAYS_BACK))):
        newest = _newest_of_groups(context, day)
        crawled = sorted(run.run_id for run in newest.values() if run.status == DagsterRunStatus.SUCCESS)
        waiting = len(_groups()) - sum(run.is_finished for run in newest.values())
        if waiting <= 0 and crawled:
            asked = True
            # A digest, because PostgreSQL's index of tags is limited to 2,704 bytes.
            key = f"{day} {sha256(','.join(crawled).encode()).hexdigest()}"
            yield RunRequest(run_key=key, partition_key=str(day), tags={TRIGGER: "crawls"})
        elif newest and day == yesterday:
            context.log.info("%s: %s groups are not crawled yet, %s succeeded", day, max(waiting, 0), len(crawled))
    if not asked:
        yield SkipReason(f"no day since {yesterday - timedelta(days=_DAYS_BACK - 1)} has all groups crawled yet")


def _groups() -> list[list[str]]:
    # The sample is one empty group: a run whose configuration names no organisation reads all of them.
    return groups(settings.organisations, settings.orgs_per_run or 1) or [[]]


def _newest_of_groups(context: SensorEvaluationContext, day: date) -> dict[str, DagsterRun]:
    """The newest run of each group of a day: the retry, if the first one failed."""
    runs = context.instance.get_runs(RunsFilter(job_name=crawl.name, tags={_PARTITION: str(day)}))
    return {run.tags[GROUP]: run for run in reversed(runs) if GROUP in run.tags}


@definitions
def grouped() -> Definitions:
    """The definitions above, if a day is crawled in several runs; otherwise nothing."""
    if settings.orgs_per_run is None:
        return Definitions()
    return Definitions(jobs=[crawl, tables], schedules=[crawl_schedule], sensors=[tables_follow_crawls])
