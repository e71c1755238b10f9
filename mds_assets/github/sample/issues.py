"""The sample's issues and pull requests: when each was opened and closed, by whom, and its number.

Each merge in `pushes.py` merges one pull request, which was opened some hours or weeks before. Beside those there are
issues and pull requests that are closed after half a year at most, and some issues that nobody ever closes. All follow
from `SEED`, so an item never changes after the fact.

What does not belong here: how GitHub shows an item (`search.py`). Moments are seconds since 1970 in UTC.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from mds_assets.github.sample.draws import DAY, HOUR, MONDAY, draws, is_weekend, quantile
from mds_assets.github.sample.people import DEPENDENCY_BOT, Person, roster
from mds_assets.github.sample.pushes import MERGES, WEEKDAYS, Push, events, slot_of
from mds_assets.github.sample.repositories import Repository

CELL = 28
"""Days. Issues, and pull requests that are not merged, are drawn for each four weeks that begin on a Monday."""

CELLS_A_BLOCK = 7
LONGEST_REVIEW = 37
LONGEST_LIFE = 180
"""Days: from opening to merge, and to being closed at the latest, if ever."""

# Hours from opening to the end, from the shortest to the longest.
HOURS_TO_MERGE = (0.1, 0.8, 2.5, 6, 14, 24, 40, 66, 120, 260, 800)
HOURS_TO_MERGE_OF_BOTS = (0.2, 1, 2, 4, 8, 15, 24, 36, 60, 100, 300)
HOURS_TO_REJECT = (1, 8, 24, 60, 120, 240, 480, 900, 1_500, 2_400, 3_600)
HOURS_TO_CLOSE = (0.5, 4, 12, 30, 72, 150, 300, 600, 1_200, 2_400, 4_200)

# By a repository's period: items drawn for each four weeks, and how many days pass between two that stay open.
ISSUES_A_CELL = {1: 6.5, 7: 0.65, 14: 0.22, 28: 0.1, 91: 0.03}
REJECTED_A_CELL = {1: 1.8, 7: 0.14, 14: 0.05, 28: 0.03, 91: 0.01}
DAYS_A_LINGERER = {0: 900, 1: 35, 7: 150, 14: 300, 28: 500, 91: 800}
# Numbers set aside for a block of 28 weeks, more than it ever has items: so numbers rise and are unique, though only
# the items of a block are counted. Discussions share the numbers on GitHub too, so gaps are normal.
NUMBERS_A_BLOCK = {0: 4, 1: 280, 7: 45, 14: 28, 28: 20, 91: 12}


class Item(NamedTuple):
    """An issue or pull request. `closed` is None if it never will be; a number of 0 is not known yet."""

    repository: Repository
    created: int
    closed: int | None
    is_pull: bool
    is_merged: bool
    author: Person
    number: int = 0

    def is_open(self, moment: int) -> bool:
        """Whether it was open at a moment."""
        return self.created <= moment and (self.closed is None or moment < self.closed)


def open_at(repository: Repository, moment: int) -> int:
    """How many issues and pull requests are open: counted without their numbers, which cost more."""
    number = _lingering_at(repository, moment)
    if repository.period:
        cell, oldest = (_cell(day) for day in (moment // DAY, moment // DAY - LONGEST_LIFE))
        number += sum(item.is_open(moment) for each in range(oldest, cell + 1) for item in _drawn(repository, each))
        slot, last = (slot_of(repository, day) for day in (moment // DAY, moment // DAY + LONGEST_REVIEW))
        number += sum(item.is_open(moment) for each in range(slot, last + 1) for item in _merged(repository, each))
    return number


def items(repository: Repository, first: int, last: int) -> Iterator[Item]:
    """Those that were opened between two moments, both included, with their numbers."""
    blocks = [_cell(max(at, repository.created) // DAY) // CELLS_A_BLOCK for at in (first, last)]
    for block in range(blocks[0], blocks[1] + 1):
        yield from (item for item in _block(repository, block) if first <= item.created <= last)


def _cell(day: int) -> int:
    return (day - MONDAY) // CELL


@lru_cache(maxsize=2_048)  # two years of the organisation
def _block(repository: Repository, block: int) -> tuple[Item, ...]:
    """The items that were opened in 28 weeks, in order."""
    cells = range(block * CELLS_A_BLOCK, (block + 1) * CELLS_A_BLOCK)
    start, end = ((MONDAY + cell * CELL) * DAY for cell in (cells[0], cells[-1] + 1))
    opened = list(_lingering(repository, start, end))
    if repository.period:
        opened += [item for cell in cells for item in _drawn(repository, cell)]
        first, last = (slot_of(repository, day) for day in (start // DAY, end // DAY + LONGEST_REVIEW))
        merged = (item for slot in range(first, last + 1) for item in _merged(repository, slot))
        opened += [item for item in merged if start <= item.created < end]
    first_block = _cell(repository.created // DAY) // CELLS_A_BLOCK
    number = (block - first_block) * NUMBERS_A_BLOCK[repository.period]
    opened.sort(key=lambda item: item.created)
    return tuple(item._replace(number=number + nth) for nth, item in enumerate(opened, start=1))


@lru_cache(maxsize=16_384)
def _merged(repository: Repository, slot: int) -> tuple[Item, ...]:
    """The pull requests that the pushes of a slot merge."""
    merges = [push for push in events(repository, slot).pushes if push.kind in MERGES]
    return tuple(_pull(repository, push) for push in merges if push.at > repository.created)


def _pull(repository: Repository, merge: Push) -> Item:
    whose, hours, when, bot = draws(4, repository.id, merge.at, "pull")
    is_bots = merge.actor.is_bot or bot < 0.06
    life = int(HOUR * quantile(HOURS_TO_MERGE_OF_BOTS if is_bots else HOURS_TO_MERGE, hours))
    created = merge.at - life
    if is_bots:
        return Item(repository, max(created, repository.created), merge.at, True, True, DEPENDENCY_BOT)
    day = created // DAY
    if life > 4 * HOUR and is_weekend(day):
        day -= 3 if is_weekend(day - 1) else 1  # Thursday or Friday
    author = roster(day).member(repository.theme, whose)
    at_work = day * DAY + author.clock(when)
    if life > 4 * HOUR and at_work < merge.at:
        created = at_work
    return Item(repository, max(created, repository.created), merge.at, True, True, author)


@lru_cache(maxsize=8_192)
def _drawn(repository: Repository, cell: int) -> tuple[Item, ...]:
    """The issues and the pull requests without a merge that were opened in four weeks, all to be closed again."""
    issues, rejected, *rest = draws(4, repository.id, cell, "items")
    number = int(ISSUES_A_CELL[repository.period] * 2 * issues + rest[0])
    pulls = int(REJECTED_A_CELL[repository.period] * 2 * rejected + rest[1])
    shares = draws(6 * (number + pulls), repository.id, cell, "lives") if number + pulls else []
    made: list[Item] = []
    for nth in range(number + pulls):
        is_pull = nth >= number
        week, weekday, whose, when, hours, end = shares[6 * nth : 6 * nth + 6]
        day = MONDAY + cell * CELL + 7 * int(4 * week) + WEEKDAYS[int(weekday * len(WEEKDAYS))]
        author = roster(day).member(repository.theme, whose)
        created = day * DAY + author.clock(when)
        if created > repository.created:
            closed = _closed(created, quantile(HOURS_TO_REJECT if is_pull else HOURS_TO_CLOSE, hours), end)
            made.append(Item(repository, created, closed, is_pull, is_merged=False, author=author))
    return tuple(made)


def _closed(created: int, hours: float, share: float) -> int:
    """The end of a life of so many hours: in working hours, if it is not over at once."""
    closed = created + int(hours * HOUR)
    day = closed // DAY
    if is_weekend(day):
        day += 2  # Monday or Tuesday
    at_work = day * DAY + 8 * HOUR + int(10 * HOUR * share)
    return at_work if hours > 8 and at_work > created else closed


def _lingering_at(repository: Repository, moment: int) -> int:
    """How many of those that nobody closes were opened until a moment; only the newest needs its time compared."""
    nth = _nth_lingerer(repository, moment)
    return 0 if nth < 0 else nth + (_lingerer(repository, nth).created <= moment)


def _lingering(repository: Repository, start: int, end: int) -> Iterator[Item]:
    first, last = (_nth_lingerer(repository, moment) for moment in (start, end))
    made = (_lingerer(repository, nth) for nth in range(max(0, first), last + 1))
    until = end if repository.period else repository.updated + 1
    return (item for item in made if start <= item.created < min(end, until))


def _nth_lingerer(repository: Repository, moment: int) -> int:
    """In whose span of days a moment lies; none, -1 or less, before the day after the creation."""
    if not repository.period:
        moment = min(moment, repository.updated)
    return (moment // DAY - repository.created // DAY - 1) // DAYS_A_LINGERER[repository.period]


@lru_cache(maxsize=8_192)
def _lingerer(repository: Repository, nth: int) -> Item:
    place, whose, when, kind = draws(4, repository.id, nth, "lingerer")
    days = DAYS_A_LINGERER[repository.period]
    day = repository.created // DAY + 1 + nth * days + int((days - 2) * place)
    if is_weekend(day):
        day += 7 - (day - MONDAY) % 7
    author = roster(day).member(repository.theme, whose)
    return Item(repository, day * DAY + author.clock(when), None, kind < 0.2, is_merged=False, author=author)
