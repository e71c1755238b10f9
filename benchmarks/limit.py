"""What the machine can do: staging and both marts as one plain script, DuckDB and Polars straight to Parquet.

    python -m benchmarks.limit LAKE 2025-06-30 2025-06-30 --lookback-days 7

It gives the tables of the project, value for value (`compare.py`), and promises nothing that the project promises: no
atomic replacement, no check of columns, types or nulls, no metadata, and it takes liberties with what it knows of the
generated lake. So its time is what the project's can be compared with. What does not belong here: Dagster, the project.

What makes it fast, on two cores and days of 1,000,000 rows, CPU seconds:

- staging finds the few duplicates by a narrow pass over `id` and then streams the wide columns without the losers:
  2.0, a window function over all rows 3.0, a copy without looking for duplicates 1.6;
- languages of one day read 7 days newest first and keep what they have not seen, by one integer: 1.7, by a struct 2.7,
  by `unique` 5.7; by DuckDB's `arg_max` 2.3;
- pushes of one day count distinct repositories of 13 days in the streaming engine: 1.6, in memory or by one integer
  that has not been seen 2.4, by `unique` 7.0; by DuckDB 3.0;
- marts of several days gather the days on which each repository was seen as the bits of one integer, in one pass: 3.3
  for languages; an ordered `over` 7.0, a sort 5.3.
"""

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl

_STAGE = """
COPY (
    WITH
    twice AS (SELECT id FROM read_parquet($files) GROUP BY id HAVING count(*) > 1),
    losers AS (
        SELECT file_index, file_row_number
        FROM read_parquet($files)
        SEMI JOIN twice USING (id)
        QUALIFY row_number() OVER (
            PARTITION BY org, id
            ORDER BY greatest(updated_at, pushed_at) DESC, observed_at DESC, _dlt_load_id DESC
        ) > 1
    )
    SELECT
        org,
        id AS repo_id,
        name AS repo_name,
        full_name AS repo_full_name,
        coalesce(description, '') AS description,
        stargazers_count AS stars,
        forks_count AS forks,
        open_issues_count AS open_issues,
        size AS size_kb,
        coalesce(language, 'Unknown') AS language,
        license ->> '$.spdx_id' AS license,
        coalesce(from_json(topics, '["VARCHAR"]'), []) AS topics,
        fork AS is_fork,
        archived AS is_archived,
        visibility,
        created_at,
        updated_at,
        pushed_at,
        greatest(updated_at, pushed_at) AS active_at,
        observed_at
    FROM read_parquet($files) AS raw
    ANTI JOIN losers ON raw.file_index = losers.file_index AND raw.file_row_number = losers.file_row_number
    WHERE id IS NOT NULL AND name <> ''
) TO '{target}' (FORMAT parquet, COMPRESSION {compression})
"""

_DAYS_AVERAGED = 7

_NARROW = ["org", "repo_id", "language", "stars", "forks"]
# One integer for organisation and repository: the generated lake's ids have 32 bits.
_REPOSITORY = pl.col("org").cast(pl.Categorical).to_physical().cast(pl.Int64) * 2**40 + pl.col("repo_id")
_FACTS = {
    "repos": pl.len(),
    "stars": pl.col("stars").sum(),
    "starred": pl.col("stars").count(),
    "forks": pl.col("forks").sum(),
    "forked": pl.col("forks").count(),
}
_SUMS = [pl.col(name).sum() for name in _FACTS]


def stage(lake: Path, days: Sequence[date], compression: str) -> None:
    """Write `staging/repos` of these days."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        for day in days:
            files = sorted(str(file) for file in (lake / "raw" / "github_repos" / f"day={day}").glob("*.parquet"))
            target = str(_file(lake, "staging/repos", day)).replace("'", "''")
            con.execute(_STAGE.format(target=target, compression=compression), {"files": files})


def marts(lake: Path, days: Sequence[date], lookback_days: int) -> None:
    """Write both marts of these days."""
    earlier = lookback_days + _DAYS_AVERAGED - 2
    read = [days[0] - timedelta(days=back) for back in range(earlier, 0, -1)] + list(days)
    files = {day: file for day in read if (file := _path(lake, "staging/repos", day)).exists()}
    in_window = {day: file for day, file in files.items() if day > days[0] - timedelta(days=lookback_days)}
    if len(days) == 1:
        languages = {days[0]: _languages_of_one_day(in_window)}
        pushes = {days[0]: _pushes_of_one_day(files)}
    else:
        languages = _languages_of_days(in_window, days, lookback_days)
        pushes = _pushes_of_days(files, days, earlier + 1)
    for day in days:
        _languages(languages[day]).write_parquet(_file(lake, "marts/repos_per_language", day))
        active = languages[day].select("org").unique()
        activity = _activity(active, pushes[day], list(files), day, lookback_days)
        activity.write_parquet(_file(lake, "marts/daily_activity", day))


def _languages_of_one_day(files: dict[date, Path]) -> pl.DataFrame:
    """Counts and sums by org and language, each repository once: as its newest day has it."""
    newest_first = [_scan(file) for file in reversed(files.values())]
    rows = pl.concat(newest_first).filter(_REPOSITORY.is_first_distinct())
    return rows.group_by("org", "language").agg(**_FACTS).collect()


def _languages_of_days(files: dict[date, Path], days: Sequence[date], lookback_days: int) -> dict[date, pl.DataFrame]:
    """The same for each of the days."""
    bits = _bits(files)
    rows = pl.concat([_scan(file).with_columns(bit=pl.lit(bits[day])) for day, file in files.items()])
    seen = rows.group_by(repository=_REPOSITORY).agg(seen=pl.col("bit").sum())
    facts = (
        rows.with_columns(repository=_REPOSITORY)
        .join(seen, on="repository")
        # The days after an observation on which its repository was seen again.
        .with_columns(later=pl.col("seen") - pl.col("seen") % (pl.col("bit") * 2))
        .group_by("org", "language", "bit", "later")
        .agg(**_FACTS)
        .collect()
    )
    by_day: dict[date, pl.DataFrame] = {}
    for day in days:
        window = _bits_of_window(bits, day, lookback_days)
        counts = pl.col("bit").is_in(window) & (pl.col("later") & sum(window) == 0)
        by_day[day] = facts.filter(counts).group_by("org", "language").agg(_SUMS)
    return by_day


def _pushes_of_one_day(files: dict[date, Path]) -> pl.DataFrame:
    """How many repositories of an org any observation saw pushed, by date."""
    rows = pl.concat([_scan_pushes(file, min(files)) for file in files.values()])
    return rows.group_by("org", "push_date").agg(push_count=pl.col("repo_id").n_unique()).collect(engine="streaming")


def _pushes_of_days(files: dict[date, Path], days: Sequence[date], days_read: int) -> dict[date, pl.DataFrame]:
    """The same for each of the days."""
    bits = _bits(files)
    rows = pl.concat(
        [_scan_pushes(file, min(files)).with_columns(bit=pl.lit(bits[day])) for day, file in files.items()]
    )
    seen = (
        rows.group_by("org", "push_date", "repo_id")
        .agg(seen=pl.col("bit").sum())
        .group_by("org", "push_date", "seen")
        .agg(push_count=pl.len())
        .collect(engine="streaming")
    )
    by_day: dict[date, pl.DataFrame] = {}
    for day in days:
        in_window = pl.col("seen") & sum(_bits_of_window(bits, day, days_read)) != 0
        by_day[day] = seen.filter(in_window).group_by("org", "push_date").agg(pl.col("push_count").sum())
    return by_day


def _bits(days: Iterable[date]) -> dict[date, int]:
    """A bit of an integer for each of the days."""
    bits = {day: 1 << position for position, day in enumerate(days)}
    if len(bits) > 62:
        raise SystemExit(f"{len(bits)} days do not fit into the bits of an integer: ask for at most 62")
    return bits


def _bits_of_window(bits: dict[date, int], day: date, length: int) -> list[int]:
    return [bit for other, bit in bits.items() if day - timedelta(days=length) < other <= day]


def _languages(facts: pl.DataFrame) -> pl.DataFrame:
    def mean(total: str, number: str) -> pl.Expr:
        return pl.when(pl.col(number) > 0).then((pl.col(total) / pl.col(number)).round(1))

    return facts.select(
        "org",
        "language",
        repo_count=pl.col("repos").cast(pl.Int64),
        avg_stars=mean("stars", "starred"),
        avg_forks=mean("forks", "forked"),
    ).sort("org", "repo_count", "language", descending=[False, True, False])


def _activity(
    organisations: pl.DataFrame, pushes: pl.DataFrame, landed: Sequence[date], day: date, lookback_days: int
) -> pl.DataFrame:
    first = day - timedelta(days=lookback_days - 1)
    dates = pl.date_range(first - timedelta(days=_DAYS_AVERAGED - 1), day, eager=True).alias("push_date").to_frame()
    counted = pl.col("push_date").is_in(landed)
    total = pl.when(counted).then("push_count").otherwise(0).rolling_sum(_DAYS_AVERAGED, min_samples=1).over("org")
    number = counted.cast(pl.Int64).rolling_sum(_DAYS_AVERAGED, min_samples=1).over("org")
    return (
        organisations.join(dates, how="cross")
        .join(pushes, on=["org", "push_date"], how="left")
        .with_columns(pl.col("push_count").fill_null(0).cast(pl.Int64))
        .sort("org", "push_date")
        .with_columns(rolling_7d_avg=pl.when(number > 0).then(total / number).round(2), days_averaged=number)
        .filter(pl.col("push_date") >= first)
    )


def _scan(file: Path) -> pl.LazyFrame:
    return pl.scan_parquet(file, hive_partitioning=False, glob=False).select(_NARROW)


def _scan_pushes(file: Path, first: date) -> pl.LazyFrame:
    """Organisation, repository and date of the pushes from a date on."""
    rows = pl.scan_parquet(file, hive_partitioning=False, glob=False)
    return rows.select("org", "repo_id", push_date=pl.col("pushed_at").dt.date()).filter(pl.col("push_date") >= first)


def _path(lake: Path, table: str, day: date) -> Path:
    return lake / table / f"day={day}" / "data.parquet"


def _file(lake: Path, table: str, day: date) -> Path:
    file = _path(lake, table, day)
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def main() -> None:
    """Stage the days, write their marts, and print the seconds of both as JSON."""
    options = ArgumentParser(description=main.__doc__)
    options.add_argument("lake", type=Path)
    options.add_argument("first", type=date.fromisoformat)
    options.add_argument("last", type=date.fromisoformat)
    options.add_argument("--lookback-days", type=int, default=7)
    options.add_argument("--compression", default="snappy", help="of staging")
    options.add_argument("--skip-marts", action="store_true", help="stage only")
    given = options.parse_args()
    days = [given.first + timedelta(days=number) for number in range((given.last - given.first).days + 1)]
    started = time.perf_counter()
    stage(given.lake, days, given.compression)
    staged = time.perf_counter()
    if not given.skip_marts:
        marts(given.lake, days, given.lookback_days)
    json.dump({"staging": staged - started, "marts": time.perf_counter() - staged}, sys.stdout)


if __name__ == "__main__":
    main()
