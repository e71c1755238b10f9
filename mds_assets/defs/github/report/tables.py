"""What the report reads: the asset's inputs, and the tables that may not exist.

Without a GitHub token some tables are never made. If they were inputs of the asset, Dagster would skip the report with
them; so it scans them.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl
from dagster import AssetsDefinition

from mds_assets.defs.github import staging, staging_events
from mds_assets.defs.github.flow import ISSUE_FLOW, PUSH_ACTIVITY
from mds_assets.defs.github.marts import DAILY_ACTIVITY, REPOS_PER_LANGUAGE
from mds_assets.defs.github.movement import REPO_GROWTH
from mds_assets.defs.github.people import CONTRIBUTORS, ORGANISATION
from mds_assets.defs.github.staging import REPOS
from mds_assets.defs.github.staging_events import PUSHES, STARS
from mds_assets.stack.io_managers.polars import polars_schema
from mds_assets.stack.table import DAY, Table, declared_table


def _declared(definition: AssetsDefinition) -> Table:
    # No spec may stay in a variable of this module: Dagster would load it as one more asset.
    (key,) = definition.keys
    return declared_table(key.to_user_string(), definition.metadata_by_key[key])


REPOSITORIES = _declared(staging.repositories)
LATEST_ISSUES = _declared(staging_events.latest_issues)


def _no_rows(table: Table, *, partitioned: bool = True) -> Callable[[], pl.LazyFrame]:
    return lambda: pl.LazyFrame(schema=polars_schema(table.with_day() if partitioned else table))


def counted(pushes: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of `staging/pushes` that the report doesn't tell apart as one row, with their `number`."""
    alike = ("org", "repo_id", "repo_name", "visibility", "actor", "is_bot", "kind", DAY)
    return pushes.group_by(alike).agg(number=pl.len().cast(pl.Int64))


@dataclass(frozen=True)
class Tables:
    """The rows that the report reads; a table that does not exist is empty.

    Every table with partitions may have more days than a page needs.

    Attributes:
        pushes: `staging/pushes`, `counted`.
        landed: The landed days of `staging/repos`, `staging/pushes`, `staging/issues` and `staging/stars`, by name.
        made: The days for which each mart has a file, by the mart's name.
    """

    daily_activity: pl.LazyFrame = field(default_factory=_no_rows(DAILY_ACTIVITY))
    repos_per_language: pl.LazyFrame = field(default_factory=_no_rows(REPOS_PER_LANGUAGE))
    repo_growth: pl.LazyFrame = field(default_factory=_no_rows(REPO_GROWTH))
    repos: pl.LazyFrame = field(default_factory=_no_rows(REPOS))
    push_activity: pl.LazyFrame = field(default_factory=_no_rows(PUSH_ACTIVITY))
    issue_flow: pl.LazyFrame = field(default_factory=_no_rows(ISSUE_FLOW))
    contributors: pl.LazyFrame = field(default_factory=_no_rows(CONTRIBUTORS))
    organisation: pl.LazyFrame = field(default_factory=_no_rows(ORGANISATION))
    stars: pl.LazyFrame = field(default_factory=_no_rows(STARS))
    pushes: pl.LazyFrame = field(default_factory=lambda: counted(_no_rows(PUSHES)()))
    latest_issues: pl.LazyFrame = field(default_factory=_no_rows(LATEST_ISSUES, partitioned=False))
    repositories: pl.LazyFrame = field(default_factory=_no_rows(REPOSITORIES, partitioned=False))
    landed: Mapping[str, Collection[date]] = field(default_factory=dict[str, Collection[date]])
    made: Mapping[str, Collection[date]] = field(default_factory=dict[str, Collection[date]])

    def landed_days(self, name: str) -> frozenset[date]:
        """The landed days of a staging table."""
        return frozenset(self.landed.get(name, ()))

    def made_days(self, name: str) -> frozenset[date]:
        """The days for which a mart has a file."""
        return frozenset(self.made.get(name, ()))
