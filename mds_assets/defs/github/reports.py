"""The report `reports/activity`: one page per day about what happened in the window.

`report/figures.py` computes the numbers, `report/page.py` and `activity.html.j2` lay them out.
"""

import time
from datetime import date

import polars as pl
from dagster import AssetExecutionContext, AssetIn, AssetKey, MetadataValue, ResourceParam, asset

from mds_assets.defs.github.report import page
from mds_assets.defs.github.report.figures import Report, of_day
from mds_assets.defs.github.settings import settings as github_settings
from mds_assets.stack.partitions import DAILY, SINGLE_RUN, lookback, to_days, window
from mds_assets.stack.session import Session
from mds_assets.stack.settings import previews_allowed, settings

_STAGING = AssetKey(["staging", "repos"])
_MARTS = ("daily_activity", "repos_per_language", "repo_growth")
_MAX_CHARTED = 3  # organisations with charts in the materialization: the event log keeps those of every day


@asset(
    key=["reports", "activity"],
    ins={
        **{mart: AssetIn(key=["marts", mart]) for mart in _MARTS},
        "repos": AssetIn(key=_STAGING, partition_mapping=lookback(settings.lookback_days)),
    },
    partitions_def=DAILY,
    backfill_policy=SINGLE_RUN,
    io_manager_key="page_io_manager",
    group_name="reports",
    kinds={"altair", "html"},
)
def activity(
    context: AssetExecutionContext,
    session: ResourceParam[Session],
    daily_activity: pl.LazyFrame,
    repos_per_language: pl.LazyFrame,
    repo_growth: pl.LazyFrame,
    repos: pl.LazyFrame,
) -> dict[date, str]:
    """What happened in the window of each as-of day, as a page for the browser; the newest is `latest.html`.

    Activity by day, languages, stars gained and lost, the newest and the quietest repositories. Repositories are named
    only if none can be private, or if `MDS_PREVIEW_ROWS` allows it.
    """
    days = to_days(context.partition_keys)
    windows = {day: window(day, settings.lookback_days) for day in days}
    requested = {each for days in windows.values() for each in days if each >= settings.start_date}
    missing = sorted(requested - session.landed(_STAGING, requested))
    pages: dict[date, str] = {}
    for day, seen in windows.items():
        started = time.perf_counter()
        organisations, observed_at, others = of_day(
            day,
            settings.lookback_days,
            daily_activity,
            repos_per_language,
            repo_growth,
            repos,
            configured=github_settings.organisations,
        )
        report = Report(
            window=seen,
            organisations=organisations,
            observed_at=observed_at,
            missing=[lacking for lacking in missing if lacking in seen],
            too_early=[lacking for lacking in seen if lacking < settings.start_date],
            not_made=[f"marts/{mart}" for mart in _MARTS if not session.lake.files(AssetKey(["marts", mart]), day)],
            names_shown=previews_allowed(),
            others=others,
        )
        pages[day] = page.render(report)
        facts: dict[str, object] = {"seconds": round(time.perf_counter() - started, 3)}
        if day == days[-1] and organisations:
            facts["charts"] = MetadataValue.md("\n\n".join(map(page.pictures, organisations[:_MAX_CHARTED])))
        context.add_asset_metadata(facts, partition_key=str(day))
    return pages
