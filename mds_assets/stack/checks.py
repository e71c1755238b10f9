"""The asset checks: what is told of a table beside its rows, generated from its declaration.

| check | of | when it does not pass |
|---|---|---|
| `schema`, `not_null`, `unique_key`, `accepted_values` | every table | error; what is downstream does not run |
| `reconciles` | the tables in `RECONCILED` | error |
| `window_is_complete` | the marts | warning |
| `is_fresh` | every table | warning |

A check looks at the days of its run, or at the table's newest day when it is run alone. It tells numbers and the keys
of up to five rows, never other values: a repository may be private.

https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TypeAlias

import duckdb
import pyarrow as pa
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    TableSchema,
    multi_asset_check,
)
from upath import UPath

from mds_assets.defs.github import raw, staging
from mds_assets.stack.io_managers.duckdb import LakeDuckDB, read, select
from mds_assets.stack.io_managers.io_manager import footer, may_be_null
from mds_assets.stack.lake.lake import Found, Lake
from mds_assets.stack.partitions import to_days, window
from mds_assets.stack.settings import settings
from mds_assets.stack.table import arrow_schema, key_of, rules_of

_RAW = AssetKey(["raw", "github_repos"])
_STAGING = AssetKey(["staging", "repos"])

# What two layers must agree on, as two queries for the same numbers `n`. `rows` are the table's; `below` raw's rows for
# staging; `seen` staging's in the window of each as-of day, their `day`, and `newest` the last of each repository.
RECONCILED = {
    _STAGING: (
        "SELECT day, org, repo_id, count(*) AS n FROM rows GROUP BY ALL",
        "SELECT DISTINCT day, org, id AS repo_id, 1 AS n FROM below WHERE id IS NOT NULL AND name <> ''",
    ),
    AssetKey(["marts", "repos_per_language"]): (
        "SELECT day, org, language, repo_count AS n FROM rows",
        "SELECT day, org, language, count(*) AS n FROM newest GROUP BY ALL",
    ),
    AssetKey(["marts", "daily_activity"]): (
        "SELECT day, org, push_date, push_count AS n FROM rows WHERE push_count > 0",
        "SELECT day, org, pushed_at::DATE AS push_date, count(*) AS n FROM newest "
        "WHERE pushed_at::DATE BETWEEN first_day AND day GROUP BY ALL",
    ),
    AssetKey(["marts", "repo_growth"]): (
        "SELECT day, org, repo_id, stars, last_seen, count(*) AS n FROM rows GROUP BY ALL",
        "SELECT day, org, repo_id, stars, seen_on AS last_seen, 1 AS n FROM newest",
    ),
    AssetKey(["marts", "language_trend"]): (
        "SELECT day, org, trend_date, sum(repo_count)::BIGINT AS n, sum(push_count)::BIGINT AS pushes FROM rows "
        "GROUP BY ALL HAVING n > 0 OR pushes > 0",
        "SELECT day, org, trend_date, sum(n)::BIGINT AS n, sum(pushes)::BIGINT AS pushes FROM ("
        "SELECT day, org, seen_on AS trend_date, 1 AS n, 0 AS pushes FROM seen UNION ALL "
        "SELECT day, org, pushed_at::DATE, 0, 1 FROM newest WHERE pushed_at::DATE BETWEEN first_day AND day"
        ") GROUP BY ALL",
    ),
}

# Rows that `reconciles` reads within a run. Counting repositories in a larger window would take as long as making the
# mart: it is counted when the check is run alone.
_MOST_ROWS = 1_000_000

# After its end, when a day has to be there. The schedule runs after five minutes.
_FRESH_AFTER = timedelta(hours=6)

_MOST_KEYS = 5


@dataclass(frozen=True)
class _Looked:
    """The days of a table that checks look at.

    Attributes:
        key: The table.
        schema: Its declaration.
        days: In order.
        alone: Whether the checks run without the table.
        lake: Where it lies.
        con: Of the run.
    """

    key: AssetKey
    schema: TableSchema
    days: list[date]
    alone: bool
    lake: Lake
    con: duckdb.DuckDBPyConnection

    @cached_property
    def found(self) -> dict[date, Found]:
        """The files of these days with their versions, when they were first asked for."""
        return self.lake.found(self.key, self.days)

    @property
    def files(self) -> list[UPath]:
        """The files of these days."""
        return [file for found in self.found.values() for file in found]

    @cached_property
    def rows(self) -> duckdb.DuckDBPyRelation:
        """The rows of these days."""
        return read(self.con, self.files, self.schema)

    @cached_property
    def may_be_null(self) -> list[str]:
        """The columns to look for nulls in."""
        return may_be_null(self.files, self.schema)

    @cached_property
    def broken(self) -> dict[str, int]:
        """For each condition that no row may meet, how many rows do."""
        conditions = [_is_null(name) for name in self.may_be_null] + [_breaks(rule) for rule in rules_of(self.schema)]
        if not conditions:
            return {}
        counts = self.rows.aggregate(", ".join(f"count(*) FILTER ({condition})" for condition in conditions))
        return dict(zip(conditions, counts.fetchall()[0], strict=True))

    def told(self, rows: duckdb.DuckDBPyRelation) -> tuple[int, str]:
        """How many rows, and the first of them as text."""
        number = len(rows)
        first = rows.order("ALL").limit(_MOST_KEYS).fetchall() if number else []  # it runs the query again
        return number, "; ".join(", ".join(map(str, row)) for row in first)


_Check: TypeAlias = Callable[[_Looked], AssetCheckResult]


def checks_of(key: AssetKey, schema: TableSchema) -> AssetChecksDefinition:
    """All checks of a table, as one step."""
    blocking: dict[str, _Check] = {
        "schema": _schema,
        "not_null": _not_null,
        "unique_key": _unique_key,
        "accepted_values": _accepted_values,
    }
    telling: dict[str, _Check] = {
        **({"reconciles": _reconciles} if key in RECONCILED else {}),
        **({"window_is_complete": _window_is_complete} if key.has_prefix(["marts"]) else {}),
        "is_fresh": _is_fresh,
    }
    checks = blocking | telling
    specs = [
        AssetCheckSpec(name, asset=key, description=check.__doc__, blocking=name in blocking)
        for name, check in checks.items()
    ]

    @multi_asset_check(name=f"{'__'.join(key.path)}__checks", specs=specs, can_subset=True)
    def check(context: AssetCheckExecutionContext, lake: Lake, duckdb: LakeDuckDB) -> Iterator[AssetCheckResult]:
        partitioned = context.has_partition_key or context.has_partition_key_range
        if partitioned:
            days = to_days(context.partition_keys)
        else:
            days = [newest] if (newest := lake.newest_day(key)) else []
        looked = _Looked(key, schema, days, not partitioned, lake, duckdb.connection)
        asked = {check.name for check in context.selected_asset_check_keys}
        for name, check in checks.items():
            if name in asked:
                result = _result_of(check, looked)
                yield result._replace(asset_key=key, check_name=name)

    return check


def _result_of(check: _Check, looked: _Looked) -> AssetCheckResult:
    """What the check says; a file that cannot be read fails it, one that another run replaces meanwhile does not."""
    result = _said(check, looked)
    now = replace(looked)
    return result if result.passed or now.found == looked.found else _result_of(check, now)


def _said(check: _Check, looked: _Looked) -> AssetCheckResult:
    try:
        return check(looked)
    except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
        # DuckDB's error of a value quotes it, and `schema` names the column.
        said = type(error).__name__ if isinstance(error, duckdb.DataError) else str(error).strip().splitlines()[0]
        return AssetCheckResult(passed=False, description=f"a file cannot be read: {said}")


def _schema(looked: _Looked) -> AssetCheckResult:
    """Each file can be read and has the declared columns in their types; raw may have more."""
    declared = arrow_schema(looked.schema, with_day=False)
    wrong: list[str] = []
    for file in looked.files:
        name = f"{file.parent.name}/{file.name}"
        try:
            actual = footer(file).schema.to_arrow_schema()
        except (pa.ArrowInvalid, OSError) as error:
            wrong.append(f"{name} cannot be read: {str(error).splitlines()[0]}")
            continue
        types = {field.name: _plain(field.type) for field in actual}
        wrong += [
            f"{name} has {field.name} as {types.get(field.name, 'no column')}, declared {field.type}"
            for field in declared
            if types.get(field.name) != field.type
        ]
        extra = [column for column in actual.names if column not in declared.names]
        if extra and looked.key != _RAW:
            wrong.append(f"{name} has undeclared columns {', '.join(extra)}")
    return AssetCheckResult(
        passed=not wrong,
        description="; ".join(wrong[:_MOST_KEYS]) or f"{len(declared)} columns in {len(looked.files)} files",
        metadata={"files": len(looked.files), "wrong": len(wrong)},
    )


def _plain(actual: pa.DataType) -> pa.DataType:
    """The type as the declarations name it: Polars writes large strings and lists, which hold the same."""
    if pa.types.is_large_string(actual) or pa.types.is_string_view(actual):
        return pa.string()
    return pa.list_(_plain(actual.value_type)) if pa.types.is_large_list(actual) or pa.types.is_list(actual) else actual


def _not_null(looked: _Looked) -> AssetCheckResult:
    """No value is null where the declaration has none."""
    return _none_meets(looked, [_is_null(name) for name in looked.may_be_null])


def _accepted_values(looked: _Looked) -> AssetCheckResult:
    """Every row keeps the rules of the declaration: ranges, nothing in the future, the day within its partition."""
    return _none_meets(looked, [_breaks(rule) for rule in rules_of(looked.schema)])


def _none_meets(looked: _Looked, conditions: list[str]) -> AssetCheckResult:
    met = {condition: number for condition in conditions if (number := looked.broken[condition])}
    key = ", ".join(["day", *key_of(looked.schema)])
    told = [
        f"{number} rows with {condition}: {looked.told(looked.rows.filter(condition).select(key))[1]}"
        for condition, number in met.items()
    ]
    return AssetCheckResult(
        passed=not met,
        description="; ".join(told) or f"none in {len(looked.files)} files",
        metadata={"rows_wrong": sum(met.values()), "conditions": conditions},
    )


def _unique_key(looked: _Looked) -> AssetCheckResult:
    """No two rows of a day have the same key."""
    key = ", ".join(["day", *key_of(looked.schema)])
    known = "id IS NOT NULL" if looked.key == _RAW else "true"  # staging leaves out raw's rows without an id
    # Counting hashes takes half the time; whether two keys only have the same hash is seen then.
    maybe = f"SELECT count(*) > count(DISTINCT hash({key})) FROM rows WHERE {known}"  # noqa: S608  # declared names
    twice = f"SELECT {key} FROM rows WHERE {known} GROUP BY ALL HAVING count(*) > 1"  # noqa: S608
    ((any_twice,),) = select(looked.rows, "rows", maybe).fetchall()
    number, first = looked.told(select(looked.rows, "rows", twice)) if any_twice else (0, "")
    return AssetCheckResult(
        passed=not number,
        description=f"{number} keys ({key}) come more than once: {first}" if number else f"unique ({key})",
        metadata={"keys_twice": number},
    )


def _reconciles(looked: _Looked) -> AssetCheckResult:
    """The table agrees with the layer below: each repository is there once, and sums are equal."""
    below, schema = (_RAW, raw.GITHUB_REPOS) if looked.key == _STAGING else (_STAGING, staging.REPOS)
    lookback_days = 1 if looked.key == _STAGING else settings.lookback_days
    windows = {day: window(day, lookback_days) for day in looked.days}
    files = looked.lake.found(below, sorted({day for days in windows.values() for day in days}))
    of_day = {day: sum(footer(file).num_rows for file in found) for day, found in files.items()}
    number_below = sum(of_day[day] for days in windows.values() for day in days)
    if number_below > _MOST_ROWS and not looked.alone:
        return AssetCheckResult(
            passed=True,
            description=f"not counted: {number_below:,} rows of {below.to_user_string()} are more than {_MOST_ROWS:,}. "
            "Run this check alone to count those of the newest day.",
        )
    read(looked.con, [file for found in files.values() for file in found], schema).create_view("below", replace=True)
    found, expected = RECONCILED[looked.key]
    days = ", ".join(f"DATE '{day}'" for day in looked.days)
    differing = f"""
        WITH {_WINDOWS.format(days=days, back=lookback_days - 1) if below == _STAGING else ""}
        found AS ({found}),
        expected AS ({expected})
        SELECT 'here', * FROM (FROM found EXCEPT FROM expected)
        UNION ALL SELECT 'below', * FROM (FROM expected EXCEPT FROM found)
    """  # noqa: S608  # our own queries and dates
    number, first = looked.told(select(looked.rows, "rows", differing))
    looking_back = f" (MDS_LOOKBACK_DAYS={lookback_days})" if below == _STAGING else ""
    return AssetCheckResult(
        passed=not number,
        description=f"{number} numbers differ from {below.to_user_string()}: {first}{looking_back}"
        if number
        else f"agrees with {number_below:,} rows of {below.to_user_string()}",
        metadata={"differing": number},
    )


# Staging's rows in the window of each as-of day, and the last row of each repository in it.
_WINDOWS = """
    as_of AS (SELECT unnest([{days}]::DATE[]) AS as_of),
    seen AS (
        SELECT as_of AS day, as_of - {back} AS first_day, day AS seen_on, below.* EXCLUDE (day)
        FROM below JOIN as_of ON day BETWEEN as_of - {back} AND as_of
    ),
    newest AS (
        SELECT * FROM seen QUALIFY row_number() OVER (PARTITION BY day, org, repo_id ORDER BY seen_on DESC) = 1
    ),
"""


def never_landed(lake: Lake, days: Iterable[date]) -> list[date]:
    """Which of these days could have been landed and staged and never were, in order."""
    possible = {day for day in days if day >= settings.start_date}
    # A day can be staged from nothing, when raw was skipped: it is as missing as one that was not staged.
    tables = [lake.found(key, possible) for key in (_RAW, _STAGING)]
    return sorted(day for day in possible if not all(found[day] for found in tables))


def _window_is_complete(looked: _Looked) -> AssetCheckResult:
    """Every day of the window was landed and staged; a missing day is not a day without activity."""
    days, lake = looked.days, looked.lake
    asked = {day for as_of in days for day in window(as_of, settings.lookback_days)}
    possible = {day for day in asked if day >= settings.start_date}
    missing = never_landed(lake, asked)
    looking_back = f"{days[0]} looks" if len(days) == 1 else f"{days[0]} to {days[-1]} look" if days else "it looks"
    return AssetCheckResult(
        passed=bool(days) and not missing,
        severity=AssetCheckSeverity.WARN,
        description=(
            "no day was ever made"
            if not days
            else f"{len(missing)} of the {len(asked)} days that {looking_back} back on were never landed and staged: "
            "run them, then this again."
            if missing
            else f"all {len(possible)} days of the window are there"
            + (f"; {len(asked - possible)} lie before the first partition" if asked - possible else "")
        ),
        metadata={"days_missing": len(missing), "missing": ", ".join(map(str, missing)) or "none"},
    )


def _is_fresh(looked: _Looked) -> AssetCheckResult:
    """The last day that has ended is there, six hours after its end at the latest; another day does not make it so."""
    due = (datetime.now(UTC) - _FRESH_AFTER).date() - timedelta(days=1)
    if due < settings.start_date:
        return AssetCheckResult(
            passed=True, description=f"{due} lies before the first partition", metadata={"due": str(due)}
        )
    found = next((day for day in (due, due + timedelta(days=1)) if looked.lake.files(looked.key, day)), None)
    newest = found or looked.lake.newest_day(looked.key)
    return AssetCheckResult(
        passed=found is not None,
        severity=AssetCheckSeverity.WARN,
        description=f"{found} is there" if found else f"the newest day is {newest or 'none'}; {due} has ended: run it.",
        metadata={"due": str(due)} | ({} if found else {"newest": str(newest)}),
    )


def _is_null(column: str) -> str:
    return f"{column} IS NULL"


def _breaks(rule: str) -> str:
    return f"NOT ({rule})"
