"""The sample's stars: how many a repository has after an update, and on which days it got those it still has.

`GET /repos/{owner}/{repo}/stargazers/history`: https://docs.github.com/en/rest/activity/starring
"""

from collections import Counter
from functools import lru_cache
from itertools import pairwise

from mds_assets.github.sample.draws import DAY, MONDAY, draw
from mds_assets.github.sample.pushes import updates
from mds_assets.github.sample.repositories import Repository

_SUNDAY = MONDAY - 1


def total(repository: Repository, updated: int) -> int:
    """`stargazers_count` after the update of this second."""
    # Occasionally someone removes a star; only from slow repositories, so that the organisation's total still grows.
    unstarred = _may_lose(repository) and draw(repository.id, updated, "unstarred") < 0.05
    return max(0, given(repository, updated) - unstarred)


def given(repository: Repository, updated: int) -> int:
    """Stars that were ever given."""
    # In whole days: a repository that gains a star a day has one more after each day's update, at whatever hour.
    return (updated // DAY - repository.created // DAY) * DAY // repository.seconds_per_star


def page(repository: Repository, moment: int, size: int, number: int) -> tuple[list[dict[str, object]], int | None]:
    """A page of weeks, newest first, until that of the creation, and the number of the next page.

    Days are those of UTC, a week begins on Sunday. At any moment all weeks add up to the `stargazers_count` that the
    listing shows, and a star lies on the day of the update that showed it.
    """
    newest, oldest = (_sunday(at // DAY) for at in (moment, repository.created))
    sundays = range(newest - 7 * size * (number - 1), max(oldest, newest - 7 * size * number + 7) - 1, -7)
    if not sundays:
        return [], None
    # Where stars are given back, which days keep theirs depends on all that happened since.
    until = moment if _may_lose(repository) else min(moment, (sundays[0] + 7) * DAY - 1)
    gained = _gained(repository, until, sundays[-1])
    weeks: list[dict[str, object]] = []
    for sunday in sundays:
        days = [gained.get(day, 0) for day in range(sunday, sunday + 7)]
        weeks.append({"week": sunday * DAY, "total": sum(days), "days": days})
    return weeks, number + 1 if newest - 7 * size * number >= oldest else None


@lru_cache(maxsize=1_024)
def _gained(repository: Repository, moment: int, first_day: int) -> dict[int, int]:
    """Stars gained by day, of those still held; complete from `first_day`."""
    counts: list[tuple[int, int]] = []  # (day, stars), newest first
    for at in updates(repository, moment):
        counts.append((at // DAY, total(repository, at)))
        # Where stars are given back, which one depends on all that happened before, too.
        if at // DAY < first_day and not _may_lose(repository):
            break
    else:
        counts.append((repository.created // DAY, 0))
    gained = Counter[int]()
    for (_, before), (day, now) in pairwise(reversed(counts)):
        gained[day] += max(0, now - before)
        for _ in range(before - now):  # the newest star is the first to be given back
            newest = max(each for each, stars in gained.items() if stars)
            gained[newest] -= 1
    return gained


def _may_lose(repository: Repository) -> bool:
    return repository.period > 14


def _sunday(day: int) -> int:
    return day - (day - _SUNDAY) % 7
