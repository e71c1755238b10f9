"""Staging: raw renamed, cast and deduplicated by DuckDB SQL, one row per repository and day.

The queries are in `staging/`, one file per table. Business logic and aggregation belong in `marts.py`.
"""

from mds_assets.stack.blocks import staging_table
from mds_assets.stack.table import Reconciliation, column, table

REPOS = table(
    [
        column("org", "VARCHAR", "The organisation or user, as GITHUB_ORG names it, in lower case."),
        column("repo_id", "BIGINT", "GitHub's id of the repository; it survives a rename."),
        column("repo_name", "VARCHAR", "The repository's name at the time.", private=True),
        column("repo_full_name", "VARCHAR", "Owner and name, `owner/name`.", nullable=True, private=True),
        column("description", "VARCHAR", "Free text; empty when there is none.", private=True),
        column("stars", "BIGINT", "Stars.", nullable=True, rule="stars >= 0"),
        column("forks", "BIGINT", "Forks.", nullable=True, rule="forks >= 0"),
        column("open_issues", "BIGINT", "Open issues and pull requests.", nullable=True, rule="open_issues >= 0"),
        column("size_kb", "BIGINT", "Size in kilobytes.", nullable=True, rule="size_kb >= 0"),
        column("language", "VARCHAR", "Main language; 'Unknown' when GitHub finds none."),
        column("license", "VARCHAR", "SPDX id of the licence; null when there is none.", nullable=True),
        column("topics", "VARCHAR[]", "Topics; an empty list when there are none."),
        column("is_fork", "BOOLEAN", "Whether it is a fork.", nullable=True),
        column("is_archived", "BOOLEAN", "Whether it is archived.", nullable=True),
        column("visibility", "VARCHAR", "public, private or internal; null in old answers.", nullable=True),
        column("created_at", "TIMESTAMPTZ", "When it was created, UTC.", nullable=True, rule="created_at <= now()"),
        column("updated_at", "TIMESTAMPTZ", "When its metadata last changed, UTC.", nullable=True,
               rule="updated_at <= now()"),
        column("pushed_at", "TIMESTAMPTZ", "When it was last pushed to, UTC; null when never.", nullable=True,
               rule="pushed_at <= now()"),
        column("active_at", "TIMESTAMPTZ", "The later of `updated_at` and `pushed_at`, UTC; always within the day."),
        column("observed_at", "TIMESTAMPTZ", "When the crawl that saw this began, UTC.", rule="observed_at <= now()"),
    ],
    key=["org", "repo_id"],
    rules=[
        "active_at >= day AND active_at < day + 1",
        "active_at IS NOT DISTINCT FROM greatest(updated_at, pushed_at)",
    ],
    lineage={
        "org": "raw/github_repos.org",
        "repo_id": "raw/github_repos.id",
        "repo_name": "raw/github_repos.name",
        "repo_full_name": "raw/github_repos.full_name",
        "description": "raw/github_repos.description",
        "stars": "raw/github_repos.stargazers_count",
        "forks": "raw/github_repos.forks_count",
        "open_issues": "raw/github_repos.open_issues_count",
        "size_kb": "raw/github_repos.size",
        "language": "raw/github_repos.language",
        "license": "raw/github_repos.license",
        "topics": "raw/github_repos.topics",
        "is_fork": "raw/github_repos.fork",
        "is_archived": "raw/github_repos.archived",
        "visibility": "raw/github_repos.visibility",
        "created_at": "raw/github_repos.created_at",
        "updated_at": "raw/github_repos.updated_at",
        "pushed_at": "raw/github_repos.pushed_at",
        "active_at": ["raw/github_repos.updated_at", "raw/github_repos.pushed_at"],
        "observed_at": "raw/github_repos.observed_at",
    },
    reconciles=Reconciliation(
        "raw/github_repos",
        rows="SELECT day, org, repo_id, count(*) AS n FROM rows GROUP BY ALL",
        expected="SELECT DISTINCT day, org, id AS repo_id, 1 AS n FROM in_window",
    ),
)  # fmt: skip

repos = staging_table(
    "repos",
    reads=["raw/github_repos"],
    columns=REPOS,
    rejects="id IS NULL OR coalesce(name, '') = ''",
    description="One row per organisation and repository active on the day: its newest observation of that day.",
)
