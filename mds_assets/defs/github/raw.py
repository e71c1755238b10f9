"""Raw: what GitHub's REST API returned, one table per endpoint.

| table | a day holds |
|---|---|
| `github_repos` | the repositories that were active, as GitHub described them at the time of the run |
| `github_pushes` | pushes, at their own time |
| `github_issues` | issues and pull requests that were opened, closed or merged |
| `github_stars` | stars gained, by repository |
| `github_inventory` | every repository (a snapshot) |

Requests, retries and validation are in `mds_assets/github/`.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dagster import AssetExecutionContext, AssetKey, Config, Failure, JsonMetadataValue, ResourceParam
from pydantic import Field

from mds_assets.defs.github.raw_columns import (
    GITHUB_INVENTORY,
    GITHUB_ISSUES,
    GITHUB_PUSHES,
    GITHUB_REPOS,
    GITHUB_STARS,
    LATEST,
    REPOSITORY,
)
from mds_assets.github.errors import LimitReachedError, NotSupportedError
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json
from mds_assets.github.session import Session as GitHubSession
from mds_assets.stack.blocks import raw_table
from mds_assets.stack.io_managers.duckdb import read
from mds_assets.stack.landing.days import Days
from mds_assets.stack.names import NEWEST_ACTIVITY
from mds_assets.stack.session import Session
from mds_assets.stack.table import Table

# A third of real pushes leave `updated_at` unchanged. A time of the far future counts as the day after the crawl, which
# takes less: or else each run would add a file to some day of 2099.
ACTIVE_AT = f"least(greatest(updated_at, pushed_at), {LATEST})"

_LISTED = "repositories_listed"
_OPTIONS: dict[str, Any] = {"kinds": {"github", "dlt", "parquet"}, "pool": "github"}


class Organisations(Config):
    """Which organisations a run reads, so that a day can be split into several runs (`groups.py`)."""

    organisations: list[str] = Field(default=[], description="Some of GITHUB_ORG; all of them where it is empty.")

    def of(self, github: GitHubSession) -> GitHubSession:
        """The run's session for these organisations.

        Raises:
            Failure: One is not in GITHUB_ORG.
        """
        unknown = sorted(set(self.organisations) - set(github.github.organisations))
        if unknown:
            # Not by name: `{env: GITHUB_TOKEN}` in a run's configuration would put the token into the event log.
            raise Failure(
                f"{len(unknown)} of the {len(self.organisations)} organisations in the run's configuration are not in "
                "GITHUB_ORG: add them, or start the run anew without them.",
                allow_retries=False,
            )
        return github.only(self.organisations) if self.organisations else github


@raw_table(columns=GITHUB_REPOS, day=ACTIVE_AT, op_tags={"dagster/priority": "1"}, **_OPTIONS)
def github_repos(
    context: AssetExecutionContext, days: Days, config: Organisations, github: ResourceParam[GitHubSession]
) -> Iterator[list[Json]]:
    """The repositories that were active on the day, as GitHub described them at the time of the run.

    GitHub only knows each repository's newest state, so a later run of the same day sees fewer of them. Each run adds
    one load per day and never removes an earlier one.
    """
    # Validate the config before dlt starts, so its error surfaces unwrapped.
    return _read_changed(context, days, config.of(github), github.github.organisations)


@raw_table(columns=GITHUB_PUSHES, day=f'least("timestamp", {LATEST})', output_required=False, **_OPTIONS)
def github_pushes(days: Days, config: Organisations, github: ResourceParam[GitHubSession]) -> Iterator[list[Json]]:
    """Pushes at their own time, and branches created and deleted: exact by day, for as long as GitHub keeps them."""
    selected = config.of(github)
    pages = _read_missing(days, selected, lambda dates: selected.pushes(dates, days.log))
    if days.end.date() >= datetime.now(UTC).date():
        return pages
    # An old range leaves out the pushes after it: as early rows they would add a file to every later day, and GitHub
    # still has them.
    return ([row for row in rows if row["timestamp"] < days.end] for rows in pages)


@raw_table(columns=GITHUB_ISSUES, day="event_at", output_required=False, **_OPTIONS)
def github_issues(days: Days, config: Organisations, github: ResourceParam[GitHubSession]) -> Iterator[list[Json]]:
    """Issues and pull requests that were opened, closed or merged on the day: one row for each of these events.

    GitHub only knows the last time that an issue was closed.
    """
    selected = config.of(github)
    return _read_missing(days, selected, lambda dates: selected.issues(dates, days.log))


@raw_table(columns=GITHUB_STARS, day="date", output_required=False, **_OPTIONS)
def github_stars(
    days: Days, config: Organisations, github: ResourceParam[GitHubSession], session: Session
) -> Iterator[list[Json]]:
    """Stars gained on the day, by repository: those still held when GitHub was queried."""
    selected = config.of(github)
    return _read_missing(
        days, selected, lambda dates: selected.stars(dates, days.log, _stars_before(session, days.start))
    )


@raw_table(columns=GITHUB_INVENTORY, day=None, output_required=False, **_OPTIONS)
def github_inventory(days: Days, config: Organisations, github: ResourceParam[GitHubSession]) -> Iterator[list[Json]]:
    """Every repository as it was at the time of the run, which belongs to the newest day that has ended."""
    return _read(days, config.of(github).inventory(days.log))


def _read_missing(
    days: Days, github: GitHubSession, reading_of: Callable[[list[date]], Reading]
) -> Iterator[list[Json]]:
    """The rows of the days that no earlier load covers; none if there is no such day."""
    dates = days.missing(github.github.organisations)
    if not dates:
        return iter(())
    try:
        return _read(days, reading_of(dates))
    except NotSupportedError as error:
        days.skip(str(error))


def _read(days: Days, reading: Reading) -> Iterator[list[Json]]:
    """The rows of a reading. Without a token, skips the table if this hour's rate limit is too low for it."""
    github = reading.session
    days.scope = frozenset(github.github.organisations)
    try:
        if not reading.budget().is_affordable and not github.github.token:
            days.skip(_LIMIT_TOO_LOW)
        for rows in reading:
            github.require_ended(days.dates[-1])
            yield rows
        github.require_ended(days.dates[-1])
    except NotSupportedError as error:
        days.skip(str(error))
    except LimitReachedError:
        if github.github.token:
            raise
        days.skip(_LIMIT_TOO_LOW)
    finally:
        days.requests = reading.requests
    for organisation, error in reading.refused.items():
        days.leave_out(organisation, str(error))
    days.report(
        observed_at=reading.observed_at.isoformat(),
        rate_limit_remaining=reading.rate_limit_remaining,
        repositories_skipped=reading.skipped,
        rows_future=reading.future,
    )
    days.report_once(warnings=reading.warnings)


_LIMIT_TOO_LOW = (
    "Too few requests: GitHub allows 60 an hour without GITHUB_TOKEN. Any token raises that to 5,000 and adds exact "
    "pushes, issues and pull requests, contributors and stars."
)


def _stars_before(session: Session, start: datetime) -> dict[int, int]:
    """Stars by repository, as the newest inventory from before the range counted them; empty without one."""
    key = AssetKey(["raw", "github_inventory"])
    # An inventory is made after its day has ended. One of the day before the range already counts some of its stars.
    earlier = [day for day in session.lake.days(key) if day < start.date() - timedelta(days=1)]
    files = session.lake.files(key, earlier[-1]) if earlier else []
    rows = read(session.connection, files, _STAR_COUNTS).filter(f"observed_at <= TIMESTAMPTZ '{start.isoformat()}'")
    return dict(rows.aggregate("id, arg_max(stargazers_count, observed_at)", "id").fetchall())


_STAR_COUNTS = Table(tuple(each for each in REPOSITORY if each.name in {"id", "stargazers_count", "observed_at"}))


def _read_changed(
    context: AssetExecutionContext, days: Days, github: GitHubSession, configured: Sequence[str]
) -> Iterator[list[Json]]:
    listed_before = {name: number for name, number in _listed_before(context).items() if name in configured}
    requests_before = github.connection.requests
    days.scope = frozenset(github.github.organisations)
    try:
        for rows in github.crawl(days.dates, days.log):
            github.require_ended(days.dates[-1])
            yield rows
    finally:
        days.requests = github.connection.requests - requests_before
    crawl = github.changed(days.dates).crawl
    for organisation, error in crawl.refused.items():
        days.leave_out(organisation, str(error))
    warnings = _shrinkage_warnings(listed_before, crawl.listed)
    for warning in warnings:
        days.log.warning("%s", warning)
    days.report(
        observed_at=crawl.observed_at.isoformat(),
        rate_limit_remaining=crawl.rate_limit_remaining,
        rows_future=crawl.future,
    )
    newest = {NEWEST_ACTIVITY: str(crawl.newest.date())} if crawl.newest else {}
    days.report_once(warnings=[*crawl.warnings, *warnings], **{_LISTED: listed_before | crawl.listed}, **newest)


def _listed_before(context: AssetExecutionContext) -> dict[str, int]:
    """How many repositories each organisation had in the last run that read it, from Dagster's event log."""
    last = context.instance.get_latest_materialization_event(context.asset_key)
    listed = last.asset_materialization.metadata.get(_LISTED) if last and last.asset_materialization else None
    return dict(listed.value) if isinstance(listed, JsonMetadataValue) and isinstance(listed.value, dict) else {}


def _shrinkage_warnings(before: dict[str, int], listed: dict[str, int]) -> list[str]:
    """A warning for each organisation that lists over a tenth fewer repositories than before."""
    # Numbers above 100 are derived from the number of pages: the last one may have held a single repository.
    least = {organisation: known if known <= 100 else known - 99 for organisation, known in before.items()}
    return [
        f"GITHUB_ORG {organisation!r}: GitHub lists at most {number} repositories, and listed about "
        f"{before[organisation]} before. Were some deleted or moved, or has GITHUB_TOKEN lost a permission?"
        for organisation, number in listed.items()
        if number < 0.9 * least.get(organisation, 0)
    ]
