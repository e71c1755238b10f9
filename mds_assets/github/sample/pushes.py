"""The sample's updates and pushes: when they happen, and who pushes.

An active repository has one eventful day in every slot of its period (a day, a week, a fortnight, ...), so walking back
a few slots finds its newest update and push; nothing is stored. On that day there may be several pushes. The updates of
the day belong to all of its pushes or to none: a third of the pushes of real GitHub leave `updated_at` unchanged.

What does not belong here: how GitHub shows a push (`activity.py`), and the pull request that it merges (`issues.py`).
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from mds_assets.github.sample.draws import DAY, clock, draw, draws, integer, is_weekend, pick
from mds_assets.github.sample.people import DEPENDENCY_BOT, MERGE_BOT, Person, roster
from mds_assets.github.sample.repositories import RENAMES, Repository

WEEKDAYS = (0, 1, 2, 3, 4) * 5 + (5, 6)  # Monday is 0; an event is five times as likely on a workday
MERGES = ("pr_merge", "merge_queue_merge")


class Push(NamedTuple):
    """A change of a branch: at this second, by this person; `kind` is GitHub's `activity_type`."""

    at: int
    actor: Person
    kind: str
    is_on_main: bool


class Events(NamedTuple):
    """What happens in a slot, all on one day: the seconds of its updates and its pushes, both ascending."""

    updates: tuple[int, ...]
    pushes: tuple[Push, ...]


def newest(repository: Repository, moment: int) -> tuple[int, int | None]:
    """The newest update and push at a moment; None: never pushed."""
    updated, pushed = repository.updated, repository.pushed
    if repository.period:
        updated = max(updated, next(at for at in _updates_of_slots(repository, moment) if at <= moment))
        pushed = max(pushed or 0, next(push.at for push in _pushes_of_slots(repository, moment) if push.at <= moment))
    renamed, _ = RENAMES.get(repository.name, (0, ""))
    if renamed <= moment:
        updated = max(updated, renamed)
    return updated, pushed


def updates(repository: Repository, moment: int) -> Iterator[int]:
    """The seconds of all updates until a moment, newest first; the last is the creation, or a quiet one's only one."""
    renamed, _ = RENAMES.get(repository.name, (0, ""))
    if repository.period:
        for at in _updates_of_slots(repository, moment):
            if at < renamed <= moment:
                yield renamed
                renamed = 0
            if at <= repository.created:
                break
            if at <= moment:
                yield at
    yield repository.updated


def pushes(repository: Repository, moment: int) -> Iterator[Push]:
    """All pushes until a moment, newest first; the last is the first push of the repository's creator."""
    if repository.period:
        for push in _pushes_of_slots(repository, moment):
            if push.at <= repository.created:
                break
            if push.at <= moment:
                yield push
    if repository.pushed is not None:
        creator = roster(repository.created // DAY).member(repository.theme, draw(repository.id, "creator"))
        yield Push(repository.pushed, creator, "push", is_on_main=True)


def slot_of(repository: Repository, day: int) -> int:
    """The slot that a day lies in; only an active repository has any."""
    return (day - repository.first_day) // repository.period


@lru_cache(maxsize=32_768)  # two years of the organisation
def events(repository: Repository, slot: int) -> Events:
    """What happens in a slot."""
    key = (repository.id, slot)
    day = repository.first_day + slot * repository.period
    if repository.fixed_day is not None:
        day += repository.fixed_day
    else:
        day += 7 * integer(repository.period // 7, *key, "week") + pick(WEEKDAYS, *key, "weekday")
    # On weekends people star rather than push, and popular repositories get a star every day. So for a third of all
    # pushes to leave `updated_at` unchanged, the share must be higher among the other repositories.
    silent_share, push_share = (0.16, 0.39) if is_weekend(day) else (0.33, 0.75)
    if repository.period == 1:
        silent_share, push_share = 0.0, max(0.6, push_share)
    kind = draw(*key, "kind")
    if kind >= push_share:
        return Events((day * DAY + clock(*key),), ())
    made = _pushes_of_day(repository, day)
    lag = integer(10, *key, "lag")  # seconds: GitHub sets it a moment after the push
    return Events(() if kind < silent_share else tuple(push.at + lag for push in made), made)


def _pushes_of_day(repository: Repository, day: int) -> tuple[Push, ...]:
    number, bot, bot_clock, bot_kind, *shares = draws(4 + 3 * 5, repository.id, day, "pushes")
    most = (2.5 if is_weekend(day) else 5.0) if repository.period == 1 else 1.8
    made: dict[int, Push] = {}
    for nth in range(1 + int(number * most)):
        whose, when, what = shares[3 * nth : 3 * nth + 3]
        person = roster(day).member(repository.theme, whose)
        _add(made, Push(day * DAY + person.clock(when), person, *_kind(what)))
    if bot < 0.09:
        merge = Push(day * DAY + MERGE_BOT.clock(bot_clock), MERGE_BOT, "pr_merge", is_on_main=True)
        rebase = Push(day * DAY + DEPENDENCY_BOT.clock(bot_clock), DEPENDENCY_BOT, "force_push", is_on_main=False)
        _add(made, merge if bot_kind < 0.7 else rebase)
    return tuple(made[at] for at in sorted(made))


def _add(made: dict[int, Push], push: Push) -> None:
    """Add a push, a second later where there is one already: an activity's number follows from its second."""
    while push.at in made:
        push = push._replace(at=push.at + 1)
    made[push.at] = push


def _kind(share: float) -> tuple[str, bool]:
    for kind, below, is_on_main in (
        ("pr_merge", 0.18, True),
        ("merge_queue_merge", 0.2, True),
        ("force_push", 0.29, False),
        ("push", 0.56, False),
    ):
        if share < below:
            return kind, is_on_main
    return "push", True


def _updates_of_slots(repository: Repository, moment: int) -> Iterator[int]:
    for slot in count(slot_of(repository, moment // DAY), -1):
        yield from reversed(events(repository, slot).updates)


def _pushes_of_slots(repository: Repository, moment: int) -> Iterator[Push]:
    for slot in count(slot_of(repository, moment // DAY), -1):
        yield from reversed(events(repository, slot).pushes)
