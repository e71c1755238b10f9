"""Staging of repositories: raw renamed, cast and deduplicated by DuckDB SQL.

The queries are in `staging/`, one file per table. Pushes, issues and stars are in `staging_events.py`. Business logic
and aggregation belong in the marts.
"""

from mds_assets.defs.github.raw_columns import LATEST, not_future
from mds_assets.stack.blocks import current_table, staging_table
from mds_assets.stack.table import Reconciliation, Table, column, table

# What staging names differently than GitHub; the other columns keep GitHub's names.
_RENAMED = {
    "repo_id": "id",
    "repo_name": "name",
    "repo_full_name": "full_name",
    "stars": "stargazers_count",
    "forks": "forks_count",
    "open_issues": "open_issues_count",
    "size_kb": "size",
    "is_fork": "fork",
    "is_archived": "archived",
    "active_at": ["updated_at", "pushed_at"],
}


_IS_FUTURE = f"greatest(created_at, updated_at, pushed_at) >= {LATEST}"


def _repositories(
    raw: str, rules: list[str], reconciles: Reconciliation, activity: str, *, past: tuple[str, ...]
) -> Table:
    """The columns of both tables; the times in `past` must not be in the future."""

    def rule(name: str) -> str | None:
        return not_future(name) if name in past else None

    columns = [
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
        column("created_at", "TIMESTAMPTZ", "When it was created, UTC.", nullable=True,
               rule=rule("created_at")),
        column("updated_at", "TIMESTAMPTZ", "When its metadata last changed, UTC.", nullable=True,
               rule=rule("updated_at")),
        column("pushed_at", "TIMESTAMPTZ", "When it was last pushed to, UTC; null when never.", nullable=True,
               rule=rule("pushed_at")),
        column("active_at", "TIMESTAMPTZ", f"The later of `updated_at` and `pushed_at`, UTC{activity}."),
        column("observed_at", "TIMESTAMPTZ", "When the crawl that saw this began, UTC.", rule=rule("observed_at")),
    ]  # fmt: skip
    origins = {each.name: _RENAMED.get(each.name, each.name) for each in columns}
    return table(
        columns,
        key=["org", "repo_id"],
        rules=[*rules, "active_at IS NOT DISTINCT FROM greatest(updated_at, pushed_at)"],
        lineage={
            name: [f"{raw}.{each}" for each in ([origin] if isinstance(origin, str) else origin)]
            for name, origin in origins.items()
        },
        reconciles=reconciles,
        public="visibility = 'public'",
    )


REPOS = _repositories(
    "raw/github_repos",
    ["active_at >= day AND active_at < day + 1"],
    Reconciliation(
        "raw/github_repos",
        rows="SELECT day, org, repo_id, count(*) AS n FROM rows GROUP BY ALL",
        expected="SELECT DISTINCT day, org, id AS repo_id, 1 AS n FROM in_window",
    ),
    "; always within the day",
    past=("created_at", "updated_at", "pushed_at", "observed_at"),
)

repos = staging_table(
    "repos",
    reads=["raw/github_repos"],
    columns=REPOS,
    rejects=f"id IS NULL OR coalesce(name, '') = '' OR {_IS_FUTURE}",
    description="One row per organisation and repository active on the day: its newest observation of that day.",
)

INVENTORY = _repositories(
    "raw/github_inventory",
    [],
    Reconciliation(
        "raw/github_inventory",
        rows="SELECT day, org, repo_id, observed_at, count(*) AS n FROM rows GROUP BY ALL",
        expected="SELECT DISTINCT day, org, id AS repo_id, observed_at, 1 AS n FROM in_window "
        "QUALIFY observed_at = max(observed_at) OVER (PARTITION BY day, org)",
    ),
    "",
    past=("observed_at",),  # the list of all repositories lacks none, whatever date one has
)

inventory = staging_table(
    "inventory",
    reads=["raw/github_inventory"],
    columns=INVENTORY,
    rejects="id IS NULL OR coalesce(name, '') = ''",
    description="Every repository that GitHub listed after the day had ended, one row each.",
)

repositories = current_table(
    "repositories",
    reads="staging/inventory",
    columns=INVENTORY,
    history=True,
    listed_by=["org"],
    description="Each repository that any inventory listed, as the newest one that did describes it.",
)
