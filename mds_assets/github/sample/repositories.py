"""The sample's repositories: names, pace, founding and renames.

What does not belong here: what happens in them (`pushes.py`, `issues.py`, `stars.py`) and how the listing shows them
(`organisation.py`). Moments are seconds since 1970 in UTC, days are days since 1970 in UTC.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import count
from typing import NamedTuple

from mds_assets.github.sample.draws import DAY, ERA, MONDAY, clock, draw, integer

SAMPLE_ORG = "mds-sample"
SAMPLE_ORG_ID = 9_000_000
SAMPLE_API_URL = "https://sample.invalid"
"""The API's root. RFC 2606 reserves `.invalid`: no request can reach a real host by mistake."""

FIRST_ID = 9_000_000_000
_ID_STEP = 7

THEMES = (
    "tide lantern pebble heron saffron willow cobalt quill thistle cedar otter kelp driftwood larkspur moss sparrow "
    "copper hazel fjord plover bramble dune marlow tundra clover"
)
# suffix: (description, languages as often as they are used; None where GitHub would detect none)
PARTS: dict[str, tuple[str, tuple[str | None, ...]]] = {
    "api": ("HTTP API of {}", ("Java", "Java", "Go", "Python", "C#", "Ruby")),
    "cli": ("Command line for {}", ("Go", "Rust", "Python", "Go")),
    "deploy": ("How {} is deployed", ("Shell", "HCL", "Shell", "Dockerfile")),
    "docs": ("Handbook of {}", (None, "HTML", None, "Python")),
    "engine": ("Core engine of {}", ("C++", "Rust", "C++", "C", "Rust")),
    "etl": ("Pipelines that load {}", ("Python", "Python", "Scala", "Java")),
    "icons": ("Icons and fonts for {}", (None, "SCSS", "JavaScript")),
    "mobile": ("Mobile app of {}", ("Kotlin", "Swift", "Dart", "TypeScript")),
    "notebooks": ("Worked examples for {}", ("Jupyter Notebook", "R", "Jupyter Notebook", "Julia")),
    "sdk-js": ("JavaScript client for {}", ("TypeScript", "TypeScript", "JavaScript")),
    "sdk-python": ("Python client for {}", ("Python",)),
    "web": ("Web front end of {}", ("TypeScript", "JavaScript", "TypeScript", "Vue")),
    "worker": ("Background jobs of {}", ("Go", "Java", "Python", "Elixir")),
}
RENAMES = {  # old name: (moment, new name)
    old: (int(datetime.fromisoformat(at).timestamp()), new)
    for old, at, new in (
        ("tide-web", "2025-03-11T10:15:00Z", "tide-console"),
        ("cobalt-worker", "2025-11-04T14:02:00Z", "cobalt-jobs"),
        ("heron-etl", "2026-02-17T09:41:00Z", "heron-pipelines"),
        ("willow-sdk-js", "2026-09-08T16:27:00Z", "willow-sdk-typescript"),
        ("plover-api", "2027-06-22T12:08:00Z", "plover-gateway"),
        ("moss-engine", "2029-01-30T08:55:00Z", "moss-core"),
    )
}

# A fortnightly repository is always active on the same day of its slot. Every day of the fortnight has five
# repositories that are active on that day only (six on workdays), so a crawl of any week finds rows on each of its
# days.
FORTNIGHT = [*range(14)] * 5 + [day for day in range(14) if day % 7 < 5]
# (days in a slot, the day of the slot with the event), one pair per founding repository, the most popular first. None:
# the day is drawn anew for each slot. 0 days: quiet, no events.
CADENCES: Sequence[tuple[int, int | None]] = [
    *[(1, 0)] * 8,
    *[(7, None)] * 75,
    *[(14, day) for day in FORTNIGHT],
    *[(28, None)] * 45,
    *[(91, None)] * 22,
    *[(0, None)] * 70,
]


class Repository(NamedTuple):
    """The fixed properties of a repository: its start and its pace.

    `name` is the original name. `updated` and `pushed` are the values before any event; `pushed` is None if nothing is
    ever pushed. `period` and `fixed_day` are a pair from `CADENCES`; a slot starts on day `first_day`.
    """

    id: int
    name: str
    created: int
    updated: int
    pushed: int | None
    period: int
    fixed_day: int | None
    first_day: int
    fork: bool
    seconds_per_star: int

    @property
    def theme(self) -> str:
        """What it is about: `tide` of `tide-web`."""
        return self.name.split("-", 1)[0]

    @property
    def nth(self) -> int:
        """Its place in the order of creation, from 0."""
        return (self.id - FIRST_ID) // _ID_STEP

    def name_at(self, moment: int) -> str:
        """Its name at a moment: a few were renamed."""
        renamed, new_name = RENAMES.get(self.name, (0, self.name))
        return new_name if moment >= renamed else self.name


@cache
def repositories() -> tuple[Repository, ...]:
    """Every repository that exists now or ever will, in order of creation."""
    names = sorted(
        (f"{theme}-{part}" for theme in THEMES.split() for part in PARTS), key=lambda name: draw(name, "order")
    )
    founders = len(CADENCES)
    days = sorted(-30 - integer(3_600, name, "founded") for name in names[:founders])
    days += [nth * 230 + integer(200, name, "born") for nth, name in enumerate(names[founders:])]
    created = [ERA + day * DAY + clock(name, "created") for day, name in zip(days, names, strict=True)]
    places = sorted(range(founders), key=lambda place: draw(place, "place"))
    # Newer repositories are neither the busiest nor quiet: they get the pace of a weekly, fortnightly or monthly one.
    places += [8 + integer(200, name, "place") for name in names[founders:]]
    ids = count(FIRST_ID, _ID_STEP)
    return tuple(map(_repository, ids, names, sorted(created), places))


def _repository(number: int, name: str, created: int, place: int) -> Repository:
    period, fixed_day = CADENCES[place]
    updated = pushed = created
    if period == 0:
        updated, pushed = (created + int((ERA - created) * draw(number, end)) for end in ("updated", "pushed"))
    return Repository(
        id=number,
        name=name,
        created=created,
        updated=updated,
        pushed=None if period == 0 and draw(number, "empty") < 0.12 else pushed,
        period=period,
        fixed_day=fixed_day,
        first_day=MONDAY + (7 * integer(period // 7, number, "phase") if fixed_day is None else 0),
        fork=period in (0, 91) and draw(number, "fork") < 0.15,
        seconds_per_star=round(3_400 * (place + 4) ** 1.8),  # from two stars a day to one in four years
    )
