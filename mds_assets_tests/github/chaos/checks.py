"""What must hold after every round and at the end, whatever happened."""

import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from mds_assets.defs.github.marts import DAILY_ACTIVITY, REPOS_PER_LANGUAGE
from mds_assets.defs.github.movement import LANGUAGE_TREND, REPO_GROWTH
from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.names import WAREHOUSE
from mds_assets.stack.partitions import days_between
from mds_assets.stack.table import Table, quote
from mds_assets_tests.github import oracle
from mds_assets_tests.github.chaos.ended import STAGING, Ended
from mds_assets_tests.runs import in_utc

RAW, _, LANGUAGES, ACTIVITY, GROWTH, TREND = TABLES = (
    "raw/github_repos",
    STAGING,
    "marts/repos_per_language",
    "marts/daily_activity",
    "marts/repo_growth",
    "marts/language_trend",
)
# What each mart is to hold, and how many of its columns tell a row from the others.
_MARTS: dict[str, tuple[Callable[[oracle.Staged, date, set[date]], Iterable[tuple[Any, ...]]], int]] = {
    LANGUAGES: (lambda staged, day, _: oracle.repos_per_language(staged, day, LOOKBACK_DAYS), 2),
    ACTIVITY: (lambda staged, day, landed: oracle.daily_activity(staged, day, LOOKBACK_DAYS, landed), 2),
    GROWTH: (lambda staged, day, _: oracle.repo_growth(staged, day, LOOKBACK_DAYS), 2),
    TREND: (lambda staged, day, _: oracle.language_trend(staged, day, LOOKBACK_DAYS), 3),
}
# What no row that anyone can see may break.
_DECLARED: dict[str, Table] = {
    STAGING: REPOS,
    LANGUAGES: REPOS_PER_LANGUAGE,
    ACTIVITY: DAILY_ACTIVITY,
    GROWTH: REPO_GROWTH,
    TREND: LANGUAGE_TREND,
}
REPORT = "reports/activity"
LOOKBACK_DAYS = 7
_COMPRESSED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x9c\xda]")

Kind = Literal["lost", "duplicated", "half-written", "wrong", "visible", "secret", "failed", "leftover"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Rows = list[tuple[Any, ...]]
Tables = dict[tuple[str, date], Rows]  # by table and day


@dataclass(frozen=True)
class Violation:
    """What should not have happened: a kind to count, and the particulars."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class _Load:
    """A file of raw: whose it is, when that run looked, and after which round it was there."""

    run: Ended
    day: date
    observed_at: datetime | None
    digest: str
    round: int


class Inspection:
    """Looks at everything that a schedule has left on the disk, after each round, and remembers it."""

    def __init__(self, folder: Path, organisation: str, secret: str):
        """Nothing has happened yet."""
        self._folder, self._lake = folder, folder / "lake"
        self._organisation = organisation
        self._secret = secret.encode()
        self._loads: dict[Path, _Load] = {}
        self._strange: set[Path] = set()
        self._days: set[tuple[str, date]] = set()
        self._rounds = 0
        self._published: set[tuple[int, date]] = set()  # by run: the days that it staged
        self._staged_in: dict[date, int] = {}  # the last round in which a run published the day
        self._bad: dict[date, set[int]] = {}  # the repositories whose newest row in raw breaks a rule of staging
        self.truncated: dict[Path, str] = {}
        self._searched: dict[Path, tuple[int, int]] = {}

    def after(self, round_: Sequence[Ended]) -> Iterator[Violation]:
        """What is wrong after these runs, while none is under way."""
        names = ", ".join(run.name for run in round_)
        for violation in self._inspect(round_):
            yield Violation(violation.kind, f"after {names}: {violation.text}".replace(f"{self._folder}/", ""))

    def note_truncated(self, file: Path) -> None:
        """From now on this file is known to end too early. A derived one has to be replaced, one of raw never is."""
        self.truncated[file] = _digest(file)

    def _inspect(self, round_: Sequence[Ended]) -> Iterator[Violation]:
        self._rounds += 1
        yield from self._failures(round_)
        yield from self._truncated(round_)
        found: dict[Path, pa.Table] = {}
        for file in (file for file in visible(self._lake) if file not in self.truncated):
            try:
                found[file] = pq.ParquetFile(file).read()
            except (pa.ArrowException, OSError) as error:
                yield Violation("half-written", f"{file} cannot be read: {error}")
        yield from self._days_lost([*found, *self.truncated])
        yield from self._raw(found, round_)
        yield from self._bad_tables(found)
        staged: oracle.Staged = {}
        for day in sorted({day_of(file) for file in found}):
            files = [file for file in found if file.parent == self._lake / STAGING / f"day={day}"]
            rows = [oracle.Row(*row.values()) for file in files for row in found[file].to_pylist()]
            staged[day] = {(row.org, row.repo_id): row for row in rows}
            if not any(file.parent == self._lake / STAGING / f"day={day}" for file in self.truncated):
                yield from self._staging(day, rows)
        yield from self._marts(found, staged, round_)
        yield from self._report(round_)
        yield from self._secrets()

    def _failures(self, round_: Sequence[Ended]) -> Iterator[Violation]:
        """The runs that should have gone well: a bad table excuses them, if it is what they give as the reason."""
        for run in round_:
            days = set(days_between(*run.days))
            bad = {day for day in days if self._may_be_bad(run, day, round_)}
            spoiled = run.unpublished and run.unpublished <= bad and not (run.well or run.killed or run.hung)
            if not (run.well or run.killed or run.excused or spoiled):
                yield _failure(run)
            if run.well or spoiled:
                self._published |= {(run.number, day) for day in days - (bad if spoiled else set())}
        self._staged_in |= {day: self._rounds for run in round_ for day in run.expected if self._staged(run, day)}

    def _may_be_bad(self, run: Ended, day: date, round_: Sequence[Ended]) -> bool:
        """Whether the newest row of a repository in raw may break a rule when the run stages the day.

        It was so before and the run did not see the repository as it should be, or a run of this round saw it bad.
        """
        sound = {repo["id"] for repo in run.expected[day]} - run.bad(day)
        return bool(self._bad.get(day, set()) - sound) or any(each.bad(day) for each in round_)

    def _staged(self, run: Ended, day: date) -> bool:
        return (run.number, day) in self._published

    def _truncated(self, round_: Sequence[Ended]) -> Iterator[Violation]:
        """Forgets the truncated files that a run has replaced."""
        for file, digest in list(self.truncated.items()):
            is_raw, day = file.is_relative_to(self._lake / RAW), day_of(file)
            if not file.exists() or _digest(file) != digest:
                del self.truncated[file]
                if is_raw:
                    yield Violation("lost", f"{file}, a truncated load, is no longer what it was")
            elif not is_raw and any(run.well and day in days_between(*run.days) for run in round_):
                yield Violation("half-written", f"{file} is still truncated")

    def _bad_tables(self, found: Iterable[Path]) -> Iterator[Violation]:
        """The files with a row that breaks a rule of its table."""
        with in_utc() as connection:
            for name, table in _DECLARED.items():
                files = [str(file) for file in found if file.is_relative_to(self._lake / name)]
                nulls = [f"{quote(column.name)} IS NULL" for column in table.columns if not column.nullable]
                broken = " OR ".join([*nulls, *(f"NOT ({rule})" for rule in table.row_rules)])
                rows = connection.read_parquet(files, hive_partitioning=True, filename=True) if files else None
                for file, number in rows.filter(broken).aggregate("filename, count(*)").fetchall() if rows else ():
                    yield Violation("visible", f"{file} has {number} rows that break a rule")

    def _days_lost(self, found: Iterable[Path]) -> Iterator[Violation]:
        days = {(str(file.parent.parent.relative_to(self._lake)), day_of(file)) for file in found}
        for table, day in sorted(self._days - days):
            yield Violation("lost", f"{table} had {day} before")
        self._days |= days

    def _raw(self, found: dict[Path, pa.Table], round_: Sequence[Ended]) -> Iterator[Violation]:
        for file, load in self._loads.items():
            if not file.exists():
                yield Violation("lost", f"{file} was there before")
            elif _digest(file) != load.digest:
                yield Violation("lost", f"{file} held something else before")
        landed: set[tuple[int, date]] = set()
        known = self._loads.keys() | self._strange
        for file in (file for file in found if file.is_relative_to(self._lake / RAW) and file not in known):
            rows, day = found[file].to_pylist(), day_of(file)
            runs = [run for run in round_ if (run.number, day) not in landed] or round_
            run = _whose(rows, day, [run for run in runs if is_early(file) == (day > run.days[1])])
            if not run:
                self._strange.add(file)
                yield Violation("wrong", f"{file}: {len(rows)} rows that GitHub showed to no run of this round")
                continue
            if (run.number, day) in landed:
                yield Violation("duplicated", f"{file}: {run.name} has landed {day} twice")
            landed.add((run.number, day))
            observed = {row["observed_at"] for row in rows}
            if len(observed) > 1:
                yield Violation("wrong", f"{file} was observed at several times: {observed}")
            self._loads[file] = _Load(run, day, min(observed) if observed else None, _digest(file), self._rounds)
            yield from _differences(str(file), map(_facts, rows), map(_facts, run.expected[day]), "half-written")
        for run in (run for run in round_ if run.well or run.unpublished):
            for day in run.expected:
                if (run.number, day) not in landed:
                    yield Violation("lost", f"{run.name} came to staging and has landed no {day}")
        newest = oracle.staging(self._observations(self._loads.values()))
        self._bad = {day: {row.repo_id for row in rows.values() if row.stars < 0} for day, rows in newest.items()}

    def _observations(self, loads: Iterable[_Load]) -> list[oracle.Observation]:
        return [
            oracle.Observation(self._organisation, load.observed_at, repo)
            for load in loads
            if load.observed_at
            for repo in load.run.expected[load.day]
        ]

    def _staging(self, day: date, rows: Sequence[oracle.Row]) -> Iterator[Violation]:
        """Staging holds all loads of runs that published the day, and all that were there when one of them began.

        Of the others, early rows of another day's run among them, it holds each whole or not at all.
        """
        seen = {row.observed_at for row in rows}
        staged = [
            load
            for load in self._loads.values()
            if load.day == day
            and load.observed_at
            and (self._staged(load.run, day) or load.round < self._staged_in.get(day, 0) or load.observed_at in seen)
        ]
        expected = oracle.staging(self._observations(staged)).get(day, {})
        yield from _differences(f"{STAGING} {day}", rows, expected.values(), "lost")

    def _marts(
        self, found: dict[Path, pa.Table], staged: oracle.Staged, round_: Sequence[Ended]
    ) -> Iterator[Violation]:
        marts: Tables = {(mart, day): [] for mart in _MARTS for day in staged}
        for file in (file for file in found if file.is_relative_to(self._lake / "marts")):
            table, day = str(file.parent.parent.relative_to(self._lake)), day_of(file)
            marts[table, day] += [tuple(row.values()) for row in found[file].to_pylist()]
        for (table, day), rows in marts.items():
            for key, times in Counter(row[: _MARTS[table][1]] for row in rows).items():
                if times > 1:
                    yield Violation("duplicated", f"{table} {day}: {key} is there {times} times")
        # Runs of other days may have staged a day of the window later: then the mart is to be run again.
        landed = {day_of(file) for file in found if file.is_relative_to(self._lake / RAW) and not is_early(file)}
        landed &= {day_of(file) for file in found if file.is_relative_to(self._lake / STAGING)}
        if all(run.well for run in round_) and len({run.days for run in round_}) == 1:
            for day in days_between(*round_[0].days):
                for mart, (expected, _) in _MARTS.items():
                    rows = expected(staged, day, landed)
                    yield from _differences(f"{mart} {day}", marts.get((mart, day), []), rows, "lost")

    def _report(self, round_: Sequence[Ended]) -> Iterator[Violation]:
        """Each page is whole, and the latest is the newest day's, unless a run ended before it had written that."""
        folder = self._lake / REPORT
        pages = [(page, page.read_bytes()) for page in sorted(folder.glob("day=*/*.html"))]
        for page, content in pages:
            if not content.endswith(b"</html>\n"):
                yield Violation("half-written", f"{page} ends with {content[-20:]}")
        if pages and all(run.well for run in round_) and (folder / "latest.html").read_bytes() != pages[-1][1]:
            yield Violation("wrong", f"{folder}/latest.html is not {pages[-1][0]}")

    def _secrets(self) -> Iterator[Violation]:
        """Everything below the schedule's folder that has changed since, whatever it is."""
        for file in (file for file in self._folder.rglob("*") if file.is_file()):
            state = file.stat().st_mtime_ns, file.stat().st_size
            if self._searched.get(file) != state:
                self._searched[file] = state
                if self._secret in str(file).encode() or any(self._secret in content for content in contents(file)):
                    yield Violation("secret", f"the token is in {file}")


def visible(lake: Path) -> list[Path]:
    """The Parquet files that readers see: nothing on their way has a name that begins with a dot."""
    return [
        file
        for layer in ("raw", "staging", "marts")
        for file in sorted((lake / layer).rglob("*.parquet"))
        if not any(part.startswith(".") for part in file.relative_to(lake).parts)
    ]


def day_of(file: Path) -> date:
    """The day whose folder holds the file."""
    return date.fromisoformat(file.parent.name.removeprefix("day="))


def is_early(file: Path) -> bool:
    """Whether a file of raw holds what a run of earlier days already saw of its day."""
    return file.name.endswith(".early.parquet")


def tables_of(lake: Path) -> Tables:
    """Staging and marts of all days; without `observed_at`, which differs from crawl to crawl."""
    tables: Tables = {}
    for file in visible(lake):
        table = str(file.parent.parent.relative_to(lake))
        if table != RAW:
            with suppress(pa.ArrowException, OSError):  # a file that ends too early has no rows
                rows = pq.ParquetFile(file).read().to_pylist()
                values = [tuple(value for name, value in row.items() if name != "observed_at") for row in rows]
                tables.setdefault((table, day_of(file)), []).extend(values)
    return tables


def unlike(tables: Tables, expected: Tables) -> Iterator[Violation]:
    """How the healed tables differ from those that were never disturbed."""
    for table, day in sorted(tables.keys() | expected.keys()):
        name = f"in the end {table} {day}"
        if (table, day) not in tables:
            yield Violation("lost", f"{name} is not there")
        elif (table, day) not in expected:
            yield Violation("wrong", f"{name} is there")
        else:
            yield from _differences(name, tables[table, day], expected[table, day], "lost")


def leftovers(lake: Path) -> Iterator[Violation]:
    """What lies in the lake beside the tables after an undisturbed run."""
    finished = {file for table in TABLES for file in lake.joinpath(table).glob("day=*/[!.]*.parquet")}
    pages = ("day=*/report.html", "latest.html", "index.html")
    finished |= {lake / WAREHOUSE, *(file for page in pages for file in lake.glob(f"{REPORT}/{page}"))}
    scratch = set(lake.joinpath(".tmp").iterdir()) if lake.joinpath(".tmp").is_dir() else set[Path]()
    elsewhere = (file for file in lake.rglob("*") if file.is_file() and not file.is_relative_to(lake / ".tmp"))
    for file in sorted(scratch | set(elsewhere) - finished):
        yield Violation("leftover", f"in the end there is {file.relative_to(lake)}")


def contents(file: Path) -> Iterator[bytes]:
    """The bytes of a file, what is compressed in it, and all values of a database or a table."""
    data = file.read_bytes()
    yield data
    if data.startswith(b"SQLite format 3"):  # a value that is longer than a page is not in one piece
        with closing(sqlite3.connect(file)) as db:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                rows = db.execute(f'SELECT * FROM "{table}"')  # noqa: S608
                for value in (value for row in rows for value in row):
                    packed = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
                    yield packed
                    yield from _unpacked(packed)
    elif data.startswith(b"PAR1"):
        with suppress(pa.ArrowException, OSError):
            yield str(pq.ParquetFile(file).read().to_pylist()).encode()
    else:
        yield from _unpacked(data)


def _unpacked(data: bytes) -> Iterator[bytes]:
    for start in _COMPRESSED.finditer(data):
        with suppress(zlib.error):
            yield zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(data[start.start() :])


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def _failure(run: Ended) -> Violation:
    lines = [line for line in run.printed.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.strip() for line in lines if re.match(r"\s*[\w.]+(Failure|Error|Exception): ", line)]
    # Dagster prints the step's error first, and its cause after it.
    cause = " < ".join(dict.fromkeys(error[:300] for error in errors[:3])) or (lines[-1].strip() if lines else "")
    met = f"met {', '.join(run.met)}" if run.met else "met no fault"
    return Violation("failed", f"{run.name} {met} and {'did not end' if run.hung else 'failed'}: {cause}")


def _whose(rows: list[dict[str, Any]], day: date, runs: Sequence[Ended]) -> Ended | None:
    """The run that landed these rows. An empty load is of a run that saw nothing, rather of one that has landed all."""
    marks = {row.get("chaos_run") for row in rows}
    fitting = [
        run
        for run in sorted(runs, key=lambda run: not (run.well or run.unpublished))
        if day in run.expected and (marks == {run.number} if rows else not run.expected[day])
    ]
    return fitting[0] if fitting else None


def _facts(repo: dict[str, Any]) -> tuple[Any, ...]:
    """Some of what raw and GitHub must agree on."""
    times = (repo.get(name) for name in ("created_at", "updated_at", "pushed_at"))
    moments = [datetime.fromisoformat(time) if isinstance(time, str) else time for time in times]
    fields = ("id", "full_name", "description", "stargazers_count", "forks_count", "size", "language")
    return (*(repo.get(name) for name in fields), *moments)


def _differences(
    what: str, found: Iterable[tuple[Any, ...]], expected: Iterable[tuple[Any, ...]], when_missing: Kind
) -> Iterator[Violation]:
    """At most one violation of each kind: rows missing, there twice, or not as they should be."""
    here, there = Counter(map(_text, found)), Counter(map(_text, expected))
    missing, twice = there - here, [row for row, times in here.items() if times > max(1, there[row])]
    extra = [row for row in here if row not in there]
    if missing:
        number = f"{missing.total()} of {there.total()} rows"
        yield Violation(when_missing, f"{what}: {number} are missing, as {min(missing)[:150]}")
    if twice:
        yield Violation("duplicated", f"{what}: {len(twice)} rows are there more than once, as {min(twice)[:150]}")
    if extra:
        yield Violation("wrong", f"{what}: {len(extra)} rows should not be there, as {min(extra)[:150]}")


def _text(row: tuple[Any, ...]) -> str:
    """A row to compare and to show; Arrow's UTC and Python's are two classes."""
    return repr(tuple(str(value.astimezone(UTC)) if isinstance(value, datetime) else value for value in row))
