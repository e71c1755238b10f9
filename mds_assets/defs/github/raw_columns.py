"""The columns of raw that staging reads: every file has them. Any other field that GitHub sends lands beside them."""

from mds_assets.github.clock import TOLERANCE
from mds_assets.stack.table import column, table

# No later time of a row is believed.
LATEST = "observed_at + to_hours(24)"


def not_future(name: str) -> str:
    """The rule that a time is not in the future, with tolerance: crawl, GitHub and check have clocks of their own."""
    return f"{name} <= now() + to_minutes({TOLERANCE.seconds // 60})"


_OBSERVED_AT = column("observed_at", "TIMESTAMPTZ", "When the crawl that saw this began, UTC.")

REPOSITORY = [
    column("org", "VARCHAR", "The organisation or user, as GITHUB_ORG names it, in lower case."),
    column("id", "BIGINT", "GitHub's id of the repository; it survives a rename.", nullable=True),
    column("name", "VARCHAR", "The repository's name at the time.", nullable=True),
    column("full_name", "VARCHAR", "Owner and name, `owner/name`.", nullable=True),
    column("description", "VARCHAR", "Free text; null when there is none.", nullable=True),
    column("stargazers_count", "BIGINT", "Stars.", nullable=True),
    column("forks_count", "BIGINT", "Forks.", nullable=True),
    column("open_issues_count", "BIGINT", "Open issues and pull requests.", nullable=True),
    column("size", "BIGINT", "Size in kilobytes.", nullable=True),
    column("language", "VARCHAR", "Main language; null when GitHub finds none.", nullable=True),
    column("license", "VARCHAR", "The licence object as JSON text; null when there is none.", nullable=True),
    column("topics", "VARCHAR", "The topics as a JSON list; null in old recordings.", nullable=True),
    column("fork", "BOOLEAN", "Whether it is a fork.", nullable=True),
    column("archived", "BOOLEAN", "Whether it is archived.", nullable=True),
    column("visibility", "VARCHAR", "public, private or internal; null in old answers.", nullable=True),
    column("created_at", "TIMESTAMPTZ", "When it was created, UTC.", nullable=True),
    column("updated_at", "TIMESTAMPTZ", "When its metadata last changed, UTC.", nullable=True),
    column("pushed_at", "TIMESTAMPTZ", "When it was last pushed to, UTC; null when never.", nullable=True),
    _OBSERVED_AT,
]

_IS_PUBLIC = "visibility = 'public'"

GITHUB_REPOS = table(
    REPOSITORY,
    # A repository appears twice in a load if it was active again while the list was being read.
    key=["org", "id", "updated_at", "pushed_at"],
    rules=[not_future("observed_at")],
    public=_IS_PUBLIC,
)

GITHUB_INVENTORY = table(REPOSITORY, key=["org", "id"], rules=[not_future("observed_at")], public=_IS_PUBLIC)

GITHUB_PUSHES = table(
    [
        column("org", "VARCHAR", "The organisation or user, as GITHUB_ORG names it, in lower case."),
        column("id", "BIGINT", "GitHub's id of the activity."),
        column("repo_id", "BIGINT", "GitHub's id of the repository."),
        column("repo_name", "VARCHAR", "The repository's name at the time.", nullable=True),
        column("repo_visibility", "VARCHAR", "public, private or internal; null in old answers.", nullable=True),
        column("repo_default_branch", "VARCHAR", "The name of its default branch.", nullable=True),
        column("timestamp", "TIMESTAMPTZ", "When it happened, UTC."),
        column("activity_type", "VARCHAR", "push, force_push, branch_creation, branch_deletion, pr_merge or "
               "merge_queue_merge.", nullable=True),
        column("ref", "VARCHAR", "The branch, `refs/heads/...`.", nullable=True),
        column("actor", "VARCHAR", "Who did it, as JSON text; null for a deleted account.", nullable=True),
        _OBSERVED_AT,
    ],
    key=["org", "id"],
    public="repo_visibility = 'public'",
)  # fmt: skip

GITHUB_ISSUES = table(
    [
        column("org", "VARCHAR", "The organisation or user, as GITHUB_ORG names it, in lower case."),
        column("id", "BIGINT", "GitHub's id of the issue or pull request."),
        column("number", "BIGINT", "Its number in the repository."),
        column("repo_name", "VARCHAR", "The repository's name at the time."),
        column("repo_full_name", "VARCHAR", "Owner and name, `owner/name`."),
        column("event", "VARCHAR", "What happened to it on the day: opened, closed or merged."),
        column("event_at", "TIMESTAMPTZ", "When that happened, UTC."),
        column("title", "VARCHAR", "Its title.", nullable=True),
        column("user", "VARCHAR", "Who opened it, as JSON text; null for a deleted account.", nullable=True),
        column("pull_request", "VARCHAR", "A pull request's own fields, as JSON text; null for issues.", nullable=True),
        column("created_at", "TIMESTAMPTZ", "When it was opened, UTC."),
        column("closed_at", "TIMESTAMPTZ", "When it was last closed, UTC; null while open.", nullable=True),
        column("comments", "BIGINT", "Comments.", nullable=True),
        column("labels", "VARCHAR", "Its labels as a JSON list of objects.", nullable=True),
        _OBSERVED_AT,
    ],
    key=["org", "id", "event"],
)  # fmt: skip

GITHUB_STARS = table(
    [
        column("org", "VARCHAR", "The organisation or user, as GITHUB_ORG names it, in lower case."),
        column("repo_id", "BIGINT", "GitHub's id of the repository."),
        column("repo_name", "VARCHAR", "The repository's name at the time.", nullable=True),
        column("repo_visibility", "VARCHAR", "public, private or internal; null in old answers.", nullable=True),
        column("date", "DATE", "The date, by GitHub's calendar."),
        column("gained", "BIGINT", "Stars given on that date and still held."),
        _OBSERVED_AT,
    ],
    key=["org", "repo_id", "date"],
    public="repo_visibility = 'public'",
)
