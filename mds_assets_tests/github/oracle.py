"""What the tables must hold, computed a second time: one repository at a time, in plain Python.

Written from sections 3 and 5 of the design and from nothing else, with loops and dictionaries instead of frames, so
that it is unlikely to share a mistake with the SQL and the Polars expressions that it judges. Times are UTC.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Observation:
    """One repository as one crawl saw it: a row of raw.

    Attributes:
        org: The organisation as it was asked for.
        observed_at: When the crawl fetched it.
        repo: GitHub's JSON object.
    """

    org: str
    observed_at: datetime
    repo: dict[str, Any]


class Row(NamedTuple):
    """A row of `staging/repos`, in the order of its columns."""

    org: str
    repo_id: int
    repo_name: str
    repo_full_name: str
    description: str
    stars: int
    forks: int
    open_issues: int
    size_kb: int
    language: str
    license: str | None
    topics: list[str]
    is_fork: bool
    is_archived: bool
    visibility: str | None
    created_at: datetime
    updated_at: datetime
    pushed_at: datetime | None
    active_at: datetime
    observed_at: datetime


Staged = dict[date, dict[tuple[str, int], Row]]


def active_at(repo: dict[str, Any]) -> datetime:
    """The later of `updated_at` and `pushed_at`; `pushed_at` is null where nothing was ever pushed."""
    times = [repo["updated_at"], repo.get("pushed_at")]
    return max(datetime.fromisoformat(time) for time in times if time)


def observations_seen(
    repos: Iterable[dict[str, Any]], org: str, observed_at: datetime, first_day: date
) -> list[Observation]:
    """What a crawl for days from `first_day` on lands in raw, whichever its last day.

    What is active after the range, up to the moment of the crawl, lands as early rows in its own day.
    """
    return [Observation(org, observed_at, repo) for repo in repos if first_day <= active_at(repo).date()]


def staging(observations: Iterable[Observation], days: Container[date] | None = None) -> Staged:
    """The newest observation of every repository on every day: by `active_at`, then `observed_at`, then load.

    Args:
        observations: Raw of all days, early rows included, in the order of the loads.
        days: The days that were staged; all by default. A day of early rows alone has not been.

    Returns:
        Rows by day, and by organisation and repository id. Days without a row are left out. So are repositories
        without an id or a name.
    """
    staged: Staged = defaultdict(dict)
    for observation in observations:
        if observation.repo.get("id") is None or observation.repo.get("name") is None:
            continue
        row = _row(observation)
        if days is not None and row.active_at.date() not in days:
            continue
        of_day = staged[row.active_at.date()]
        earlier = of_day.get((row.org, row.repo_id))
        if earlier is None or _age(row) >= _age(earlier):
            of_day[row.org, row.repo_id] = row
    return dict(staged)


def repos_per_language(staged: Staged, as_of: date, lookback_days: int) -> list[tuple[str, str, int, float, float]]:
    """The rows of `marts/repos_per_language` on the day `as_of`.

    Returns:
        org, language, repo_count, avg_stars, avg_forks; the means rounded by `rounded_mean` to 1 decimal. Sorted by
        org, repo_count descending, language.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in _newest_in_window(staged, _window(as_of, lookback_days)):
        groups[row.org, row.language].append(row)
    table = [
        (
            org,
            language,
            len(rows),
            rounded_mean([row.stars for row in rows], decimals=1),
            rounded_mean([row.forks for row in rows], decimals=1),
        )
        for (org, language), rows in groups.items()
    ]
    return sorted(table, key=lambda line: (line[0], -line[2], line[1]))


def daily_activity(
    staged: Staged, as_of: date, lookback_days: int, landed: Container[date]
) -> list[tuple[str, date, int, float | None, int]]:
    """The rows of `marts/daily_activity` on the day `as_of`.

    Every organisation with a row in the window has one line for every date of the window, also for dates that were
    never landed or lie before the first partition.

    Args:
        staged: Staging.
        as_of: The as-of day.
        lookback_days: Days in the window.
        landed: The days that were landed, whether they have a row or not.

    Returns:
        org, push_date, push_count, rolling_7d_avg, days_averaged; the mean rounded by `rounded_mean` to 2 decimals, and
        None over no days. Sorted by org, push_date.
    """
    window = _window(as_of, lookback_days)
    pushed: dict[tuple[str, date], set[int]] = defaultdict(set)
    for day in _window(as_of, lookback_days + 6):
        for row in staged.get(day, {}).values():
            if row.pushed_at:
                pushed[row.org, row.pushed_at.date()].add(row.repo_id)
    table: list[tuple[str, date, int, float | None, int]] = []
    for org in sorted({row.org for day in window for row in staged.get(day, {}).values()}):
        for push_date in window:
            week = [len(pushed[org, day]) for day in _window(push_date, 7) if day in landed]
            mean = rounded_mean(week, decimals=2) if week else None
            table.append((org, push_date, len(pushed[org, push_date]), mean, len(week)))
    return table


def repo_growth(
    staged: Staged, as_of: date, lookback_days: int
) -> list[tuple[str, int, str, str | None, str, int | None, int | None, int | None, date, date]]:
    """The rows of `marts/repo_growth` on the day `as_of`.

    Returns:
        org, repo_id, repo_name, visibility, language, stars, stars_gained, forks_gained, first_seen, last_seen. Sorted
        by org, stars_gained descending with those that are unknown last, repo_id.
    """
    observed: dict[tuple[str, int], dict[date, Row]] = defaultdict(dict)
    for day in _window(as_of, lookback_days):
        for key, row in staged.get(day, {}).items():
            observed[key][day] = row
    table: list[tuple[str, int, str, str | None, str, int | None, int | None, int | None, date, date]] = []
    for (org, repo_id), by_day in observed.items():
        first, newest = min(by_day.values(), key=_age), max(by_day.values(), key=_age)
        stars_gained, forks_gained = _gained(first.stars, newest.stars), _gained(first.forks, newest.forks)
        gained = newest.stars, stars_gained, forks_gained
        named = newest.repo_name, newest.visibility, newest.language
        table.append((org, repo_id, *named, *gained, min(by_day), max(by_day)))
    return sorted(table, key=lambda line: (line[0], line[6] is None, -(line[6] or 0), line[1]))


def language_trend(
    staged: Staged, as_of: date, lookback_days: int
) -> list[tuple[str, str, date, int, int, int | None, int | None]]:
    """The rows of `marts/language_trend` on the day `as_of`.

    Every language that any row of an organisation in the window has makes a line for every date of the window.

    Returns:
        org, language, trend_date, repo_count, push_count, rank, rank_change. Sorted by org, trend_date, rank with the
        languages that have none last, language.
    """
    window = _window(as_of, lookback_days)
    active = Counter((row.org, row.language, day) for day in window for row in staged.get(day, {}).values())
    pushed: Counter[tuple[str, str, date]] = Counter()
    for row in _newest_in_window(staged, window):
        if row.pushed_at:
            pushed[row.org, row.language, row.pushed_at.date()] += 1
    table: list[tuple[str, str, date, int, int, int | None, int | None]] = []
    for org in {org for org, _, _ in active}:
        before: dict[str, int] = {}
        for day in window:
            counts = {language: active[org, language, day] for other, language, _ in active if other == org}
            ranks = {
                language: 1 + sum(other > count for other in counts.values())
                for language, count in counts.items()
                if count > 0
            }
            for language, count in counts.items():
                rank = ranks.get(language)
                climbed = before[language] - rank if rank and language in before else None
                table.append((org, language, day, count, pushed[org, language, day], rank, climbed))
            before = ranks
    return sorted(table, key=lambda line: (line[0], line[2], line[5] is None, line[5] or 0, line[1]))


def rounded_mean(values: list[int], decimals: int) -> float:
    """The mean, exact until it is rounded; a tie goes to the even digit, the default of Polars' `Expr.round`.

    Found with polars 2.1 and duckdb 2.0. At 1 decimal Polars gives these very values, also for ties that no float can
    hold: 2.25 becomes 2.2, 2.35 becomes 2.4 and 2.45 becomes 2.4 (2.2 million means compared, 217,000 of them ties).
    DuckDB rounds ties away from zero (2.25: 2.3, 2.45: 2.5), and Python's own `round(2.45, 1)` is 2.5 because the float
    is a little more than 2.45. At 2 decimals 0.125 becomes 0.12 here and in Polars, 0.13 in DuckDB; Polars misses some
    ties there (23/40 = 0.575 becomes 0.57), which only a multiple of 8 values can make: never a mean of 7 days.
    """
    return float(round(Fraction(sum(values), len(values)), decimals))


def _window(as_of: date, days: int) -> list[date]:
    return [as_of - timedelta(days=back) for back in reversed(range(days))]


def _newest_in_window(staged: Staged, window: list[date]) -> list[Row]:
    """Each repository once, with its newest observation."""
    newest: dict[tuple[str, int], Row] = {}
    for day in window:
        for key, row in staged.get(day, {}).items():
            if key not in newest or _age(row) >= _age(newest[key]):
                newest[key] = row
    return list(newest.values())


def _gained(first: int | None, newest: int | None) -> int | None:
    return None if first is None or newest is None else newest - first


def _age(row: Row) -> tuple[datetime, datetime]:
    return row.active_at, row.observed_at


def _row(observation: Observation) -> Row:
    repo = observation.repo
    # What may be null may also be absent: answers of 2019 have no topics.
    language = repo.get("language")
    license_found = repo.get("license")
    pushed_at = repo.get("pushed_at")
    return Row(
        org=observation.org,
        repo_id=repo["id"],
        repo_name=repo["name"],
        repo_full_name=repo["full_name"],
        description=repo.get("description") or "",
        stars=repo["stargazers_count"],
        forks=repo["forks_count"],
        open_issues=repo["open_issues_count"],
        size_kb=repo["size"],
        language="Unknown" if language is None else language,
        license=license_found["spdx_id"] if license_found else None,
        topics=repo.get("topics") or [],
        is_fork=repo["fork"],
        is_archived=repo["archived"],
        visibility=repo.get("visibility"),
        created_at=datetime.fromisoformat(repo["created_at"]),
        updated_at=datetime.fromisoformat(repo["updated_at"]),
        pushed_at=datetime.fromisoformat(pushed_at) if pushed_at else None,
        active_at=active_at(repo),
        observed_at=observation.observed_at,
    )
