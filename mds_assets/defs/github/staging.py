"""Staging: raw renamed, cast and deduplicated by DuckDB SQL, one row per repository and day; a `.sql` file a table.

What does not belong here: business logic, aggregation.
"""

from pathlib import Path

from dagster import AssetExecutionContext, AssetIn, MetadataValue, asset
from duckdb import DuckDBPyRelation

from mds_assets.stack.io_managers.duckdb import ROW_ID, select
from mds_assets.stack.partitions import DAILY, ONE_RUN, to_days
from mds_assets.stack.table import COLUMN_LINEAGE, COLUMN_SCHEMA, column, lineage, table_schema

REPOS = table_schema(
    [
        column("org", "VARCHAR", "The organisation or user, as GITHUB_ORG names it, in lower case."),
        column("repo_id", "BIGINT", "GitHub's id of the repository; it survives a rename."),
        column("repo_name", "VARCHAR", "The repository's name at the time."),
        column("repo_full_name", "VARCHAR", "Owner and name, `owner/name`.", nullable=True),
        column("description", "VARCHAR", "Free text; empty when there is none."),
        column("stars", "INTEGER", "Stars.", nullable=True, check="stars >= 0"),
        column("forks", "INTEGER", "Forks.", nullable=True, check="forks >= 0"),
        column("open_issues", "INTEGER", "Open issues and pull requests.", nullable=True, check="open_issues >= 0"),
        column("size_kb", "INTEGER", "Size in kilobytes.", nullable=True, check="size_kb >= 0"),
        column("language", "VARCHAR", "Main language; 'Unknown' when GitHub finds none."),
        column("license", "VARCHAR", "SPDX id of the licence; null when there is none.", nullable=True),
        column("topics", "VARCHAR[]", "Topics; an empty list when there are none."),
        column("is_fork", "BOOLEAN", "Whether it is a fork.", nullable=True),
        column("is_archived", "BOOLEAN", "Whether it is archived.", nullable=True),
        column("created_at", "TIMESTAMPTZ", "When it was created, UTC.", nullable=True, check="created_at <= now()"),
        column(
            "updated_at",
            "TIMESTAMPTZ",
            "When its metadata last changed, UTC.",
            nullable=True,
            check="updated_at <= now()",
        ),
        column(
            "pushed_at",
            "TIMESTAMPTZ",
            "When it was last pushed to, UTC; null when never.",
            nullable=True,
            check="pushed_at <= now()",
        ),
        column("active_at", "TIMESTAMPTZ", "The later of `updated_at` and `pushed_at`, UTC; it lies in the day."),
        column("observed_at", "TIMESTAMPTZ", "When the crawl that saw this began, UTC.", check="observed_at <= now()"),
    ],
    key=["org", "repo_id"],
    checks=[
        "active_at >= day AND active_at < day + 1",
        "active_at IS NOT DISTINCT FROM greatest(updated_at, pushed_at)",
    ],
)

_FROM_RAW = lineage(
    "raw/github_repos",
    {
        "org": ["org"],
        "repo_id": ["id"],
        "repo_name": ["name"],
        "repo_full_name": ["full_name"],
        "description": ["description"],
        "stars": ["stargazers_count"],
        "forks": ["forks_count"],
        "open_issues": ["open_issues_count"],
        "size_kb": ["size"],
        "language": ["language"],
        "license": ["license"],
        "topics": ["topics"],
        "is_fork": ["fork"],
        "is_archived": ["archived"],
        "created_at": ["created_at"],
        "updated_at": ["updated_at"],
        "pushed_at": ["pushed_at"],
        "active_at": ["updated_at", "pushed_at"],
        "observed_at": ["observed_at"],
    },
)

REPOS_SQL = Path(__file__).with_name("staging").joinpath("repos.sql").read_text(encoding="utf-8")


@asset(
    key=["staging", "repos"],
    ins={"github_repos": AssetIn(key=["raw", "github_repos"], metadata={ROW_ID: True})},
    partitions_def=DAILY,
    backfill_policy=ONE_RUN,
    io_manager_key="duckdb_io_manager",
    group_name="staging",
    kinds={"duckdb", "sql", "parquet"},
    metadata={
        COLUMN_SCHEMA: REPOS,
        COLUMN_LINEAGE: _FROM_RAW,
        "sql": MetadataValue.md(f"```sql\n{REPOS_SQL}```"),
    },
)
def repos(context: AssetExecutionContext, github_repos: DuckDBPyRelation) -> DuckDBPyRelation:
    """One row per organisation and repository that was active on the day: its newest observation of that day."""
    nameless = github_repos.filter("id IS NULL OR coalesce(name, '') = ''")
    rejected = dict(nameless.aggregate("day, count(*)", "day").fetchall())
    for day in to_days(context.partition_keys):
        context.add_asset_metadata({"rows_rejected": rejected.get(day, 0)}, partition_key=str(day))
    return select(github_repos, "github_repos", REPOS_SQL)
