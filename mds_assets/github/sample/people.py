"""The sample's people and bots: who they are, when they joined and left, and who works on a given day.

Some 35 to 45 people at a time. Every month one or two join, in its first half; a few leave. Each keeps regular hours
and prefers the repositories of a few themes. Days are days since 1970 in UTC.
"""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple

from mds_assets.github.sample.draws import DAY, ERA, HOUR, MONDAY, draws, is_weekend, quantile
from mds_assets.github.sample.repositories import SAMPLE_API_URL, THEMES

# Only a managed user's login has an underscore, and it ends with the company's short code. So no person on GitHub has
# such a login: https://docs.github.com/en/enterprise-cloud@latest/admin/concepts/identity-and-access-management
LOGIN = "{}-{}_sample"
NAMES = (
    "ada bo cleo dov enzo fay gus hana ines jun kai lena milo nia otto pia quin rosa sami tess uma vito wren xenia "
    "yuki zoe anouk bram dara elio finn gita hugo iris joao kira leif mei nils opal"
)
FIRST_NAMES, NOUNS = NAMES.split(), THEMES.split()
FOUNDERS = 24
FIRST_USER_ID = 9_100_000
FIRST_BOT_ID = 9_090_000
PROBATION = 7
"""Days during which a newcomer works on everything, every workday."""

# Days from joining to leaving, from the shortest to the longest stay.
STAYS = (75, 130, 210, 300, 420, 560, 730, 950, 1_250, 1_700, 2_600)


class Person(NamedTuple):
    """A person or bot.

    `joined` and `left` are the first day of work and the first day without. `hour` is the second of the UTC day around
    which they work, `zeal` (0 to 1) how often they turn up, `themes` what they prefer to work on.
    """

    id: int
    login: str
    joined: int
    left: int
    hour: int
    zeal: float
    themes: tuple[str, ...]

    @property
    def is_bot(self) -> bool:
        """Whether GitHub's `type` says Bot."""
        return self.login.endswith("[bot]")

    def clock(self, share: float) -> int:
        """A second of the UTC day within their hours, for a number in [0, 1)."""
        return self.hour + int((share - 0.5) * 5 * HOUR)


_FOREVER = 2**31
MERGE_BOT = Person(FIRST_BOT_ID, "mds-bot[bot]", 0, _FOREVER, 5 * HOUR, 1.0, ())
DEPENDENCY_BOT = Person(FIRST_BOT_ID + 1, "mds-dependencies[bot]", 0, _FOREVER, 4 * HOUR, 1.0, ())


class Roster(NamedTuple):
    """Who works on a day, and who of them prefers a theme."""

    people: tuple[Person, ...]
    by_theme: dict[str, tuple[Person, ...]]

    def member(self, theme: str, share: float) -> Person:
        """One of them for a number in [0, 1): mostly someone who prefers the theme."""
        those = self.by_theme.get(theme) if share < 0.75 else None
        return those[int(share / 0.75 * len(those))] if those else self.people[int(share * len(self.people))]


@lru_cache(maxsize=4_096)
def roster(day: int) -> Roster:
    """Who works on a day: 11 to 15 on a workday, 3 to 6 on a weekend."""
    present = [person for person in _present(_month(max(day, ERA // DAY))) if person.joined <= day < person.left]
    if day < ERA // DAY:
        present = list(_founders())
    size, *shares = draws(1 + len(present), "roster", day)
    most = 3 + int(4 * size) if is_weekend(day) else 11 + int(5 * size)
    turns = {
        person: share * person.zeal + (day < person.joined + PROBATION)
        for person, share in zip(present, shares, strict=True)
    }
    people = tuple(sorted(present, key=lambda person: -turns[person])[:most])
    newcomers = [person for person in people if day < person.joined + PROBATION]
    themes = {theme for person in people for theme in person.themes} | ({*NOUNS} if newcomers else set[str]())
    by_theme = {
        theme: tuple(person for person in people if theme in person.themes or person in newcomers) for theme in themes
    }
    return Roster(people, by_theme)


def as_github(person: Person) -> dict[str, object]:
    """The person as GitHub's `simple-user`, without the URLs that follow from `url`."""
    slug = person.login.removesuffix("[bot]")
    kind = "apps" if person.is_bot else "users"
    return {
        "login": person.login,
        "id": person.id,
        "node_id": f"U_synthetic_{person.id}",
        "avatar_url": f"{SAMPLE_API_URL}/avatars/synthetic.png",
        "gravatar_id": "",
        "url": f"{SAMPLE_API_URL}/users/{person.login}",
        "html_url": f"{SAMPLE_API_URL}/{'apps/' if kind == 'apps' else ''}{slug}",
        "type": "Bot" if person.is_bot else "User",
        "user_view_type": "public",
        "site_admin": False,
    }


def _month(day: int) -> int:
    """A day's month, counted from January 1970."""
    there = datetime.fromtimestamp(day * DAY, UTC)
    return (there.year - 1970) * 12 + there.month - 1


@lru_cache(maxsize=512)
def _present(month: int) -> tuple[Person, ...]:
    """Everyone who is there on at least one day of a month, in order of joining."""
    first = date(1970 + month // 12, month % 12 + 1, 1).toordinal() - date(1970, 1, 1).toordinal()
    joined = [person for each in range(_month(ERA // DAY), month + 1) for person in _newcomers(each)]
    return tuple(person for person in (*_founders(), *joined) if person.left > first)


@lru_cache(maxsize=1)
def _founders() -> tuple[Person, ...]:
    """Those who were there before the era; they leave over the ten years after its first."""
    first = ERA // DAY
    return tuple(
        _person(number, 0, first + 300 + int(3_650 * draws(1, "founder", number)[0])) for number in range(FOUNDERS)
    )


@lru_cache(maxsize=1_024)
def _newcomers(month: int) -> tuple[Person, ...]:
    """Who joins in a month: one or two people, on a workday of its first 14 days."""
    first = date(1970 + month // 12, month % 12 + 1, 1).toordinal() - date(1970, 1, 1).toordinal()
    number, *shares = draws(5, "newcomers", month)
    nth = FOUNDERS + 2 * (month - _month(ERA // DAY))
    joined = [_workday(first + int(10 * share)) for share in shares[:2]]
    return tuple(
        _person(nth + each, joined[each], joined[each] + int(quantile(STAYS, shares[2 + each])))
        for each in range(1 + (number < 0.35))
    )


def _person(nth: int, joined: int, left: int) -> Person:
    early, late, zeal, *themes = draws(6, "person", nth)
    size, rounds = len(FIRST_NAMES), nth // len(FIRST_NAMES)
    return Person(
        id=FIRST_USER_ID + 13 * nth,
        # 7 and the lengths are such that no pair comes twice within a thousand people.
        login=LOGIN.format(FIRST_NAMES[nth % size], NOUNS[(rounds + 7 * nth) % len(NOUNS)]),
        joined=joined,
        left=left,
        hour=9 * HOUR + int(8 * HOUR * (early + late) / 2),
        zeal=0.4 + 0.6 * zeal,
        themes=tuple(dict.fromkeys(NOUNS[int(share * len(NOUNS))] for share in themes)),
    )


def _workday(day: int) -> int:
    return day + 7 - (day - MONDAY) % 7 if is_weekend(day) else day
