"""Staging of what happened: pushes, issues and stars by day, and who and what was involved in any of it.

The queries are in `staging/`, one file per table.
"""

from mds_assets.defs.github.raw_columns import LATEST, not_future
from mds_assets.stack.blocks import current_table, staging_table
from mds_assets.stack.table import Reconciliation, column, table

_ORG = column("org", "VARCHAR", "The organisation or user, as GITHUB_ORG names it, in lower case.")
_REPO_NAME = column("repo_name", "VARCHAR", "The repository's name at the time.", private=True)
_VISIBILITY = column("visibility", "VARCHAR", "public, private or internal; null in old answers.", nullable=True)
_OBSERVED_AT = column(
    "observed_at", "TIMESTAMPTZ", "When the crawl that saw this began, UTC.", rule=not_future("observed_at")
)

PUSHES = table(
    [
        _ORG,
        column("push_id", "BIGINT", "GitHub's id of the activity."),
        column("repo_id", "BIGINT", "GitHub's id of the repository; it survives a rename."),
        _REPO_NAME,
        _VISIBILITY,
        column("pushed_at", "TIMESTAMPTZ", "When it happened, UTC; always within the day."),
        column("kind", "VARCHAR", "push, force_push, pr_merge, merge_queue_merge, branch_creation or branch_deletion; "
               "'unknown' when GitHub sends none."),
        column("ref", "VARCHAR", "The branch, `refs/heads/...`.", nullable=True, private=True),
        column("is_default_branch", "BOOLEAN", "Whether that is the default branch; null when unknown.", nullable=True),
        column("actor", "VARCHAR", "Who did it; null for a deleted account.", nullable=True, private=True),
        column("is_bot", "BOOLEAN", "Whether a bot did it: an account of GitHub's type Bot, or a login with `[bot]`."),
        _OBSERVED_AT,
    ],
    key=["org", "push_id"],
    rules=["pushed_at >= day AND pushed_at < day + 1"],
    lineage={
        "org": "raw/github_pushes.org",
        "push_id": "raw/github_pushes.id",
        "repo_id": "raw/github_pushes.repo_id",
        "repo_name": "raw/github_pushes.repo_name",
        "visibility": "raw/github_pushes.repo_visibility",
        "pushed_at": "raw/github_pushes.timestamp",
        "kind": "raw/github_pushes.activity_type",
        "ref": "raw/github_pushes.ref",
        "is_default_branch": ["raw/github_pushes.ref", "raw/github_pushes.repo_default_branch"],
        "actor": "raw/github_pushes.actor",
        "is_bot": "raw/github_pushes.actor",
        "observed_at": "raw/github_pushes.observed_at",
    },
    reconciles=Reconciliation(
        "raw/github_pushes",
        rows="SELECT day, org, push_id, count(*) AS n FROM rows GROUP BY ALL",
        expected="SELECT DISTINCT day, org, id AS push_id, 1 AS n FROM in_window",
    ),
    public="visibility = 'public'",
)  # fmt: skip

pushes = staging_table(
    "pushes",
    reads=["raw/github_pushes"],
    columns=PUSHES,
    rejects=f"coalesce(repo_name, '') = '' OR \"timestamp\" >= {LATEST}",
    description="One row per push, and per branch created or deleted, at its own time.",
)

ISSUES = table(
    [
        _ORG,
        _REPO_NAME,
        column("repo_full_name", "VARCHAR", "Owner and name, `owner/name`.", private=True),
        column("number", "BIGINT", "Its number in the repository."),
        column("event", "VARCHAR", "What happened on the day: opened, closed or merged. A merge closes too.",
               rule="event IN ('opened', 'closed', 'merged')"),
        column("event_at", "TIMESTAMPTZ", "When that happened, UTC; always within the day."),
        column("issue_id", "BIGINT", "GitHub's id of it."),
        column("title", "VARCHAR", "Its title; empty when there is none.", private=True),
        column("author", "VARCHAR", "Who opened it; null for a deleted account.", nullable=True, private=True),
        column("is_bot", "BOOLEAN", "Whether a bot opened it."),
        column("is_pull_request", "BOOLEAN", "Whether it is a pull request, not an issue."),
        column("created_at", "TIMESTAMPTZ", "When it was opened, UTC."),
        column("closed_at", "TIMESTAMPTZ", "When it was last closed, UTC; null while open.", nullable=True,
               rule="closed_at >= created_at"),
        column("merged_at", "TIMESTAMPTZ", "When it was merged, UTC; null when it was not.", nullable=True,
               rule="merged_at >= created_at"),
        column("comments", "BIGINT", "Comments.", nullable=True, rule="comments >= 0"),
        column("labels", "VARCHAR[]", "The names of its labels; an empty list when there are none.", private=True),
        _OBSERVED_AT,
    ],
    key=["org", "repo_full_name", "number", "event"],
    rules=["event_at >= day AND event_at < day + 1"],
    lineage={
        "org": "raw/github_issues.org",
        "repo_name": "raw/github_issues.repo_name",
        "repo_full_name": "raw/github_issues.repo_full_name",
        "number": "raw/github_issues.number",
        "event": "raw/github_issues.event",
        "event_at": "raw/github_issues.event_at",
        "issue_id": "raw/github_issues.id",
        "title": "raw/github_issues.title",
        "author": "raw/github_issues.user",
        "is_bot": "raw/github_issues.user",
        "is_pull_request": "raw/github_issues.pull_request",
        "created_at": "raw/github_issues.created_at",
        "closed_at": "raw/github_issues.closed_at",
        "merged_at": "raw/github_issues.pull_request",
        "comments": "raw/github_issues.comments",
        "labels": "raw/github_issues.labels",
        "observed_at": "raw/github_issues.observed_at",
    },
    reconciles=Reconciliation(
        "raw/github_issues",
        rows="SELECT day, org, issue_id, event, count(*) AS n FROM rows GROUP BY ALL",
        expected="SELECT DISTINCT day, org, id AS issue_id, event, 1 AS n FROM in_window",
    ),
)  # fmt: skip

issues = staging_table(
    "issues",
    reads=["raw/github_issues"],
    columns=ISSUES,
    description="One row per issue or pull request and event of the day: opened, closed, merged.",
)

STARS = table(
    [
        _ORG,
        column("repo_id", "BIGINT", "GitHub's id of the repository; it survives a rename."),
        _REPO_NAME,
        _VISIBILITY,
        column("date", "DATE", "The date, by GitHub's calendar; always the day."),
        column("gained", "BIGINT", "Stars given on that date and still held.", rule="gained >= 0"),
        _OBSERVED_AT,
    ],
    key=["org", "repo_id"],
    rules=["date = day"],
    lineage={
        "org": "raw/github_stars.org",
        "repo_id": "raw/github_stars.repo_id",
        "repo_name": "raw/github_stars.repo_name",
        "visibility": "raw/github_stars.repo_visibility",
        "date": "raw/github_stars.date",
        "gained": "raw/github_stars.gained",
        "observed_at": "raw/github_stars.observed_at",
    },
    reconciles=Reconciliation(
        "raw/github_stars",
        rows="SELECT day, org, repo_id, gained FROM rows",
        expected="SELECT day, org, repo_id, arg_max(gained, observed_at) AS gained FROM in_window GROUP BY ALL",
    ),
    public="visibility = 'public'",
)

stars = staging_table(
    "stars",
    reads=["raw/github_stars"],
    columns=STARS,
    rejects="coalesce(repo_name, '') = ''",
    description="Stars gained on the day, one row per repository whose stars GitHub was queried for.",
)

latest_issues = current_table(
    "latest_issues",
    reads="staging/issues",
    columns=[each for each in ISSUES.columns if each.name not in {"event", "event_at"}],
    key=["org", "repo_full_name", "number"],
    description="Each issue and pull request, as described on the newest day on which it was opened, closed or merged.",
)

pushers = current_table(
    "pushers",
    reads="staging/pushes",
    columns=[each for each in PUSHES.columns if each.name in {"org", "actor", "is_bot"}],
    key=["org", "actor"],
    history=True,
    description="Everyone who pushed, or created or deleted a branch, with the first and last day on which they did.",
)

authors = current_table(
    "authors",
    reads="staging/issues",
    columns=[each for each in ISSUES.columns if each.name in {"org", "author", "is_bot"}],
    key=["org", "author"],
    history=True,
    description="Everyone who opened an issue or pull request, with the first and the last day on which one of theirs "
    "was opened, closed or merged.",
)
