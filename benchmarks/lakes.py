"""The lakes that are measured: raw generated once for each size, one lake for the limit and one for the project."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from benchmarks.generate import ROW_GROUP_ROWS, generate
from benchmarks.process import OUR_INSTANCE, STOCK_INSTANCE, Command, dagster, python

LAST = date(2025, 6, 30)  # the day that is measured; the last of each lake
LOOKBACK_DAYS = 7
DAYS_READ = LOOKBACK_DAYS + 6  # by the mean over 7 days of each day of the window
START = LAST - timedelta(days=180)  # MDS_START_DATE
# What the plain script computes as well, and no later table.
STAGING_AND_MARTS = 'key:"staging/repos" or key:"marts/repos_per_language" or key:"marts/daily_activity"'


@dataclass(frozen=True)
class Lakes:
    """`limit` and `ours` below a folder, on the same raw files.

    Attributes:
        folder: Of this size alone.
        rows: Repositories active on a day.
        days: In order.
        start: MDS_START_DATE.
    """

    folder: Path
    rows: int
    days: Sequence[date]
    start: date = START

    @property
    def limit(self) -> Path:
        """The plain script's lake."""
        return self.folder / "limit"

    @property
    def ours(self) -> Path:
        """The project's lake."""
        return self.folder / "ours"

    def prepare(self, log: Callable[[str], None], *, row_group_rows: int = ROW_GROUP_ROWS) -> None:
        """Generate raw, unless it is there, and let each stage the days before the last."""
        raw = self.folder / "raw"
        if not raw.exists():
            log(f"generating {len(self.days)} days of {self.rows:,} rows")
            generate(self.folder, self.days, self.rows, row_group_rows=row_group_rows)
        for lake in (self.limit, self.ours):
            if not (lake / "raw").exists():
                lake.mkdir(exist_ok=True)
                (lake / "raw").symlink_to(raw, target_is_directory=True)
        earlier = self.days[:-1]
        if earlier and not (self.limit / "staging").exists():
            log("staging the earlier days")
            self.limit_command(earlier, "--skip-marts").run()
            self.ours_command(earlier, select="group:staging").run()

    def limit_command(self, days: Sequence[date], *options: str) -> Command:
        """The plain script."""
        words = python("-m", "benchmarks.limit", str(self.limit), str(days[0]), str(days[-1]), *options)
        return Command(words, prints_steps=True)

    def ours_command(
        self,
        days: Sequence[date],
        *,
        module: str = "mds_assets.definitions",
        select: str = STAGING_AND_MARTS,
        home: str = "ours",
        instance: str = OUR_INSTANCE,
        memory_limit: int = 0,
        variables: Mapping[str, str] | None = None,
    ) -> Command:
        """`dagster asset materialize` of these days."""
        span = ("--partition", str(days[0])) if len(days) == 1 else ("--partition-range", f"{days[0]}...{days[-1]}")
        return Command(
            dagster("asset", "materialize", "-m", module, "--select", select, *span),
            {"MDS_DATA_DIR": str(self.ours), "MDS_START_DATE": str(self.start), **(variables or {})},
            home=self.folder / "homes" / home,
            instance=instance,
            memory_limit=memory_limit,
        )

    def floor_command(self, days: Sequence[date], *, checks: bool = False) -> Command:
        """The same command, of assets that do nothing, and perhaps of checks that look at nothing."""
        return self.ours_command(
            days,
            module="benchmarks.floor.definitions",
            select="*",
            home="floor-with-checks" if checks else "floor",
            instance=STOCK_INSTANCE,
            variables={"BENCH_FLOOR_CHECKS": str(int(checks))},
        )


def days_until(last: date, count: int) -> list[date]:
    """As many days, the last one included."""
    return [last - timedelta(days=back) for back in reversed(range(count))]
