"""The synthetic organisation: which repositories it has, and the state of each at a given moment.

Everything is a pure function of `SEED` and the moment. Moments are seconds since 1970 in UTC, days are days since 1970
in UTC. An active repository has one event in every slot of its period (a day, a week, a fortnight, ...), so walking
back a few slots finds its newest update and push; nothing is stored.

Three properties of real GitHub, measured on the recordings in `github/README.md`, are preserved: a third of the pushes
leave `updated_at` unchanged, neither timestamp ever goes backwards, and a field only changes together with one of the
two. So `size` is derived from `pushed_at`, and everything else that changes (name, stars, forks, issues) from
`updated_at`.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import count
from math import isqrt
from typing import NamedTuple, TypeVar

SAMPLE_ORG = "mds-sample"
SAMPLE_ORG_ID = 9_000_000
SAMPLE_API_URL = "https://sample.invalid"
"""The API's root. RFC 2606 reserves `.invalid`: no request can reach a real host by mistake."""

SEED = "mds-sample-1"
DAY = 86_400
MONDAY = 4  # 1970-01-05
ERA = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
"""From this moment on, the organisation is active: its founding repositories exist, and the quiet ones are quiet."""

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
EMOJI = ("🌊", "🚀", "🧪", "✨", "🪶", "🛠️")
LICENSES = {  # SPDX id: name
    "MIT": "MIT License",
    "Apache-2.0": "Apache License 2.0",
    "BSD-3-Clause": 'BSD 3-Clause "New" or "Revised" License',
    "GPL-3.0": "GNU General Public License v3.0",
    "MPL-2.0": "Mozilla Public License 2.0",
    "NOASSERTION": "Other",  # GitHub's value for a licence file that it does not recognise
}
LICENSE_SHARES = ("MIT",) * 6 + ("Apache-2.0",) * 4 + ("BSD-3-Clause", "GPL-3.0", "MPL-2.0", "NOASSERTION", None, None)
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

WEEKDAYS = (0, 1, 2, 3, 4) * 5 + (5, 6)  # Monday is 0; an event is five times as likely on a workday
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

T = TypeVar("T")


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


class Snapshot(NamedTuple):
    """A repository at a moment: its newest update and push (None: never pushed). Every field follows from the three."""

    repository: Repository
    updated: int
    pushed: int | None

    @property
    def name(self) -> str:
        """The name since the newest update: a rename is an update, as on GitHub."""
        first_name = self.repository.name
        renamed, new_name = RENAMES.get(first_name, (0, first_name))
        return new_name if self.updated >= renamed else first_name


def snapshots(moment: int) -> list[Snapshot]:
    """Every repository that exists at `moment` (seconds since 1970 UTC; 2024 or later), in order of creation."""
    return [_snapshot(repository, moment) for repository in _repositories() if repository.created <= moment]


def as_github(snapshot: Snapshot) -> dict[str, object]:
    """The repository as GitHub's JSON object: size in KB, times in UTC.

    Null as on GitHub: description, homepage, language, license, mirror_url, pushed_at.
    Fields: https://docs.github.com/en/rest/repos/repos#list-organization-repositories
    """
    repository, updated, pushed = snapshot
    key, name = repository.id, snapshot.name
    theme, part = repository.name.split("-", 1)
    about, languages = PARTS[part]
    language = _pick(languages, key, "language") if pushed is not None else None
    emoji = _pick(("",) * 30 + EMOJI, key, "emoji")
    description = f"{emoji} {about.format(theme.title())} (synthetic)".lstrip() if _draw(key, "about") > 0.06 else None
    topics = [part, *([language.lower().replace(" ", "-")] if language else []), theme, "synthetic"]
    # In whole days: a repository that gains a star a day has one more after each day's update, at whatever hour.
    stargazers = (updated // DAY - repository.created // DAY) * DAY // repository.seconds_per_star
    # Occasionally someone removes a star; only from slow repositories, so that the organisation's total still grows.
    unstarred = repository.period > 14 and _draw(key, updated, "unstarred") < 0.05
    stars = max(0, stargazers - unstarred)
    forks = stargazers * (8 + _integer(24, key, "forks")) // 100
    issues = isqrt(stargazers) + _integer(4, key, updated, "issues")
    initial_size = 30 + _integer(200, key, "size") ** 2
    size = initial_size + initial_size * (pushed - repository.created) // (3_650 * DAY) if pushed is not None else 0
    spdx_id = _pick(LICENSE_SHARES, key, "license")
    url, html_url = f"{SAMPLE_API_URL}/repos/{SAMPLE_ORG}/{name}", f"{SAMPLE_API_URL}/{SAMPLE_ORG}/{name}"
    return {
        "id": repository.id,
        "node_id": f"R_synthetic_{repository.id}",
        "name": name,
        "full_name": f"{SAMPLE_ORG}/{name}",
        "private": False,
        "owner": {
            "login": SAMPLE_ORG,
            "id": SAMPLE_ORG_ID,
            "node_id": f"O_synthetic_{SAMPLE_ORG_ID}",
            "avatar_url": f"{SAMPLE_API_URL}/avatars/synthetic.png",
            "gravatar_id": "",
            "url": f"{SAMPLE_API_URL}/users/{SAMPLE_ORG}",
            "html_url": f"{SAMPLE_API_URL}/{SAMPLE_ORG}",
            "repos_url": f"{SAMPLE_API_URL}/users/{SAMPLE_ORG}/repos",
            "type": "Organization",
            "user_view_type": "public",
            "site_admin": False,
        },
        "html_url": html_url,
        "description": description,
        "fork": repository.fork,
        "url": url,
        "branches_url": f"{url}/branches{{/branch}}",
        "commits_url": f"{url}/commits{{/sha}}",
        "issues_url": f"{url}/issues{{/number}}",
        "languages_url": f"{url}/languages",
        "created_at": _timestamp(repository.created),
        "updated_at": _timestamp(updated),
        "pushed_at": _timestamp(pushed) if pushed is not None else None,
        "git_url": f"git://sample.invalid/{SAMPLE_ORG}/{name}.git",
        "ssh_url": f"git@sample.invalid:{SAMPLE_ORG}/{name}.git",
        "clone_url": f"{html_url}.git",
        "svn_url": html_url,
        "homepage": f"https://{name}.sample.invalid" if part in ("web", "docs") else None,
        "size": size,
        "stargazers_count": stars,
        "watchers_count": stars,
        "language": language,
        "has_issues": True,
        "has_projects": True,
        "has_downloads": True,
        "has_wiki": False,
        "has_pages": part == "docs",
        "has_discussions": False,
        "forks_count": forks,
        "mirror_url": None,
        "archived": repository.period == 0 and _draw(key, "archived") < 0.35,
        "disabled": False,
        "open_issues_count": issues,
        "license": spdx_id and _license(spdx_id),
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": topics[: _integer(2, key, "topics") * 4],
        "visibility": "public",
        "forks": forks,
        "open_issues": issues,
        "watchers": stars,
        "default_branch": "main",
        "permissions": {"admin": False, "maintain": False, "push": False, "triage": False, "pull": True},
        "custom_properties": {},
    }


@cache
def _repositories() -> tuple[Repository, ...]:
    """Every repository that exists now or ever will, in order of creation."""
    names = sorted(
        (f"{theme}-{part}" for theme in THEMES.split() for part in PARTS), key=lambda name: _draw(name, "order")
    )
    founders = len(CADENCES)
    days = sorted(-30 - _integer(3_600, name, "founded") for name in names[:founders])
    days += [nth * 230 + _integer(200, name, "born") for nth, name in enumerate(names[founders:])]
    created = [ERA + day * DAY + _clock(name, "created") for day, name in zip(days, names, strict=True)]
    places = sorted(range(founders), key=lambda place: _draw(place, "place"))
    # Newer repositories are neither the busiest nor quiet: they get the pace of a weekly, fortnightly or monthly one.
    places += [8 + _integer(200, name, "place") for name in names[founders:]]
    ids = count(9_000_000_000, 7)
    return tuple(map(_repository, ids, names, sorted(created), places))


def _repository(number: int, name: str, created: int, place: int) -> Repository:
    period, fixed_day = CADENCES[place]
    updated = pushed = created
    if period == 0:
        updated, pushed = (created + int((ERA - created) * _draw(number, end)) for end in ("updated", "pushed"))
    return Repository(
        id=number,
        name=name,
        created=created,
        updated=updated,
        pushed=None if period == 0 and _draw(number, "empty") < 0.12 else pushed,
        period=period,
        fixed_day=fixed_day,
        first_day=MONDAY + (7 * _integer(period // 7, number, "phase") if fixed_day is None else 0),
        fork=period in (0, 91) and _draw(number, "fork") < 0.15,
        seconds_per_star=round(3_400 * (place + 4) ** 1.8),  # from two stars a day to one in four years
    )


def _snapshot(repository: Repository, moment: int) -> Snapshot:
    updated, pushed = repository.updated, repository.pushed
    if repository.period:
        updated = max(repository.created, _newest(repository, moment, push=False))
        pushed = max(repository.created, _newest(repository, moment, push=True))
    renamed, _ = RENAMES.get(repository.name, (0, ""))
    if renamed <= moment:
        updated = max(updated, renamed)
    return Snapshot(repository, updated, pushed)


def _newest(repository: Repository, moment: int, *, push: bool) -> int:
    slots = count((moment // DAY - repository.first_day) // repository.period, -1)
    events = (_event(repository, slot)[push] for slot in slots)
    return next(at for at in events if at is not None and at <= moment)


@lru_cache(maxsize=8_192)  # the pages of a crawl look at the same events
def _event(repository: Repository, slot: int) -> tuple[int | None, int | None]:
    """The slot's only event: the moments of its update and its push; None if it has no such part."""
    key = (repository.id, slot)
    day = repository.first_day + slot * repository.period
    if repository.fixed_day is not None:
        day += repository.fixed_day
    else:
        day += 7 * _integer(repository.period // 7, *key, "week") + _pick(WEEKDAYS, *key, "weekday")
    # On weekends people star rather than push, and popular repositories get a star every day. So for a third of all
    # pushes to leave `updated_at` unchanged, the share must be higher among the other repositories.
    silent_pushes, pushes = (0.16, 0.39) if (day - MONDAY) % 7 >= 5 else (0.33, 0.75)
    if repository.period == 1:
        silent_pushes = 0.0
    kind = _draw(*key, "kind")
    pushed = day * DAY + _clock(*key)
    updated = pushed + _integer(10, *key, "lag")  # seconds: GitHub sets it a moment after the push
    return (updated if kind >= silent_pushes else None, pushed if kind < pushes else None)


def _license(spdx_id: str) -> dict[str, str | None]:
    key, known = spdx_id.lower(), spdx_id != "NOASSERTION"
    return {
        "key": key if known else "other",
        "name": LICENSES[spdx_id],
        "spdx_id": spdx_id,
        "url": f"{SAMPLE_API_URL}/licenses/{key}" if known else None,
        "node_id": f"L_synthetic_{key}",
    }


def _timestamp(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clock(team: object, *key: object) -> int:
    """Seconds since midnight UTC, mostly around noon, at least 10 before the day ends; a team keeps regular hours."""
    habit = (_draw(team, "early") + _draw(team, "late")) / 2
    return int((DAY - 10) * (0.8 * habit + 0.2 * _draw(team, *key, "clock")))


def _pick(options: Sequence[T], *key: object) -> T:
    return options[_integer(len(options), *key)]


def _integer(below: int, *key: object) -> int:
    return int(_draw(*key) * below)


def _draw(*key: object) -> float:
    """A number in [0, 1) that depends only on `SEED` and the key, not on Python version, machine or earlier draws."""
    digest = hashlib.blake2b(repr((SEED, *key)).encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
