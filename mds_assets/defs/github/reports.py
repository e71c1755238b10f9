"""The report `reports/activity`: one page per day about what happened, and an index of all pages.

`report/figures.py` computes the numbers from `report/tables.py`, `report/page.py` and the templates lay them out.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    MetadataValue,
    ResourceParam,
    StepExecutionContext,
    asset,
)

from mds_assets.defs.github.flow import ISSUE_FLOW, PUSH_ACTIVITY
from mds_assets.defs.github.people import CONTRIBUTORS, ORGANISATION
from mds_assets.defs.github.report import page
from mds_assets.defs.github.report.figures import Report, of_day
from mds_assets.defs.github.report.tables import LATEST_ISSUES, REPOSITORIES, Tables, counted
from mds_assets.defs.github.report.trends import CHARTED_DAYS, History
from mds_assets.defs.github.settings import settings as github_settings
from mds_assets.defs.github.staging_events import PUSHES, STARS
from mds_assets.stack.io_managers.pages import Pages
from mds_assets.stack.names import RUNS_LAST
from mds_assets.stack.partitions import DAILY, SINGLE_RUN, days_between, lookback, to_days, window
from mds_assets.stack.progress import each_day
from mds_assets.stack.session import Session
from mds_assets.stack.settings import previews_allowed, settings
from mds_assets.stack.table import DAY, Table

_STAGING = AssetKey(["staging", "repos"])
_HISTORY = max(CHARTED_DAYS, 2 * settings.lookback_days)
# How far the page looks back in each mart: days by date in the charts, the window before, the day itself.
_MARTS = {"daily_activity": _HISTORY, "repos_per_language": 1 + settings.lookback_days, "repo_growth": 1}
_EVENT_MARTS = ("push_activity", "issue_flow", "contributors", "organisation")
_LANDED = ("repos", "pushes", "issues", "stars")
_OF_REPOS = ("org", "repo_id", "created_at", "pushed_at", "observed_at")
_MAX_CHARTED = 3  # organisations with charts in the materialization: the event log keeps those of every day


@asset(
    key=["reports", "activity"],
    config_schema={},  # Dagster takes any run config where none is declared
    ins={
        **{mart: AssetIn(["marts", mart], partition_mapping=lookback(reach)) for mart, reach in _MARTS.items()},
        "repos": AssetIn(key=_STAGING, partition_mapping=lookback(settings.lookback_days)),
    },
    partitions_def=DAILY,
    backfill_policy=SINGLE_RUN,
    io_manager_key="page_io_manager",
    group_name="reports",
    kinds={"html"},
    # After the tables of the same run that it reads but does not depend on: steps run one after another.
    op_tags=RUNS_LAST,
)
def activity(
    context: AssetExecutionContext,
    session: ResourceParam[Session],
    daily_activity: pl.LazyFrame,
    repos_per_language: pl.LazyFrame,
    repo_growth: pl.LazyFrame,
    repos: pl.LazyFrame,
) -> Pages:
    """A page per as-of day for the browser; the newest is `latest.html`, and `index.html` lists all.

    Compares the window with the one before, and shows 90 days by date, new people, the pull requests open longest, the
    most active repositories and the dormant ones. Only public names appear, unless `MDS_PREVIEW_ROWS` allows all.
    """
    days = to_days(context.partition_keys)
    windows = {day: window(day, settings.lookback_days) for day in days}
    requested = {each for dates in windows.values() for each in dates if each >= settings.start_date}
    missing = sorted(requested - session.landed(_STAGING, requested))
    pages: dict[date, str] = {}
    with session.reading(context.get_step_execution_context()):
        inputs = Tables(
            daily_activity=daily_activity, repos_per_language=repos_per_language, repo_growth=repo_growth, repos=repos
        )
        rows = _with_history(context.get_step_execution_context(), session, days, inputs)
        history = History(settings.lookback_days, rows)
        for day in each_day(days):
            days_of_window = windows[day]
            started = time.perf_counter()
            figures = of_day(
                day,
                history,
                configured=github_settings.organisations,
                names_shown=previews_allowed(),
            )
            report = Report(
                window=days_of_window,
                organisations=figures.organisations,
                observed_at=figures.observed_at,
                missing=[lacking for lacking in missing if lacking in days_of_window],
                too_early=[lacking for lacking in days_of_window if lacking < settings.start_date],
                not_made=[f"marts/{mart}" for mart in _MARTS if day not in rows.made_days(mart)],
                has_events=any(day in rows.made_days(mart) for mart in _EVENT_MARTS),
                names_shown=previews_allowed(),
                others=figures.others,
            )
            pages[day] = page.render(report)
            facts: dict[str, object] = {"seconds": round(time.perf_counter() - started, 3)}
            if day == days[-1] and report.organisations:
                charted = report.organisations[:_MAX_CHARTED]
                facts["charts"] = MetadataValue.md("\n\n".join(map(page.pictures, charted)))
            context.add_asset_metadata(facts, partition_key=str(day))
    return Pages(pages, page.render_index)


def _with_history(step: StepExecutionContext, session: Session, days: Sequence[date], inputs: Tables) -> Tables:
    """The asset's inputs and the tables that may not exist, read once for all days of the run."""
    window_length = timedelta(days=settings.lookback_days)
    first = days[0] - timedelta(days=_HISTORY - 1)
    history = days_between(min(days[0], max(first, settings.start_date)), days[-1])
    windows = [day for day in history if day > days[0] - 2 * window_length]
    compared = sorted({*days, *(day - window_length for day in days)} & {*history})

    def mart(name: str, table: Table, days: Iterable[date]) -> pl.LazyFrame:
        return session.scan(step, AssetKey(["marts", name]), table, days)

    def staged(name: str, table: Table, days: Iterable[date] | None) -> pl.LazyFrame:
        return session.scan(step, AssetKey(["staging", name]), table, days)

    read = {
        "daily_activity": inputs.daily_activity,
        "repos_per_language": inputs.repos_per_language,
        "repo_growth": inputs.repo_growth,
        "repos": inputs.repos.select(*_OF_REPOS, DAY),
        "push_activity": mart("push_activity", PUSH_ACTIVITY, history),
        "issue_flow": mart("issue_flow", ISSUE_FLOW, history),
        "contributors": mart("contributors", CONTRIBUTORS, days),
        "organisation": mart("organisation", ORGANISATION, compared),
        "stars": staged("stars", STARS, history),
        "pushes": counted(staged("pushes", PUSHES, windows)),
        "repositories": staged("repositories", REPOSITORIES, None),
        "latest_issues": staged("latest_issues", LATEST_ISSUES, None).filter(_concerns(windows[0])),
    }
    marts = (*_MARTS, *_EVENT_MARTS)
    return replace(
        inputs,
        **{name: rows.collect(engine="streaming").lazy() for name, rows in read.items()},
        landed={name: session.landed(AssetKey(["staging", name]), history) for name in _LANDED},
        made={name: session.present(AssetKey(["marts", name]), history) for name in marts},
    )


def _concerns(first: date) -> pl.Expr:
    """Issues in which something happened since this day, and open pull requests."""
    happened = [pl.col(at).dt.date() >= first for at in ("created_at", "closed_at", "merged_at")]
    return pl.any_horizontal(*happened, pl.col("is_pull_request") & pl.col("closed_at").is_null())
