"""Raw: the repositories that were active, as GitHub described them.

Requests, retries and validation are in `mds_assets/github/`.
"""

from collections.abc import Iterator
from dataclasses import replace

from dagster import AssetExecutionContext, Config, Failure, JsonMetadataValue, ResourceParam
from pydantic import Field

from mds_assets.github.client import GitHub
from mds_assets.github.repository import Json
from mds_assets.stack.blocks import raw_table
from mds_assets.stack.landing.days import Days
from mds_assets.stack.table import column, table

# The columns that staging reads; every file has them. Any other field that GitHub sends lands beside them.
GITHUB_REPOS = table(
    [
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
        column("observed_at", "TIMESTAMPTZ", "When the crawl that saw this began, UTC."),
    ],
    # A repository appears twice in a load if it was active again while the list was being read.
    key=["org", "id", "updated_at", "pushed_at"],
    rules=["observed_at <= now()"],
)

# A third of real pushes leave `updated_at` unchanged.
ACTIVE_AT = "greatest(updated_at, pushed_at)"

_LISTED = "repositories_listed"


class Organisations(Config):
    """Which organisations a run reads, so that a day can be split into several runs (`groups.py`)."""

    organisations: list[str] = Field(default=[], description="Some of GITHUB_ORG; all of them where it is empty.")


@raw_table(columns=GITHUB_REPOS, day=ACTIVE_AT, kinds={"github", "dlt", "parquet"}, pool="github")
def github_repos(
    context: AssetExecutionContext, days: Days, config: Organisations, github: ResourceParam[GitHub]
) -> Iterator[list[Json]]:
    """The repositories that were active on the day, as GitHub described them at the time of the run.

    GitHub only knows each repository's newest state, so a later run of the same day sees fewer of them. Each run adds
    one load per day and never removes an earlier one.
    """
    # Validate the config before dlt starts, so its error surfaces unwrapped.
    return _crawl(context, days, _selected(github, config.organisations))


def _crawl(context: AssetExecutionContext, days: Days, github: GitHub) -> Iterator[list[Json]]:
    crawl = github.crawl(days.dates, days.log)
    listed_before = _listed_before(context)
    try:
        yield from crawl
    finally:
        days.requests = crawl.requests
    warnings = _shrunk(listed_before, crawl.listed)
    for warning in warnings:
        days.log.warning("%s", warning)
    days.report(
        observed_at=crawl.observed_at.isoformat(),
        rate_limit_remaining=crawl.rate_limit_remaining,
        warnings=[*crawl.warnings, *warnings],
        **{_LISTED: listed_before | crawl.listed},
    )


def _selected(github: GitHub, organisations: list[str]) -> GitHub:
    unknown = sorted(set(organisations) - set(github.organisations))
    if unknown:
        raise Failure(
            f"organisations {unknown} of the run's configuration are not in GITHUB_ORG: add them, or start the run "
            "anew without them.",
            allow_retries=False,
        )
    return replace(github, organisations=organisations) if organisations else github


def _listed_before(context: AssetExecutionContext) -> dict[str, int]:
    """How many repositories each organisation had in the last run that read it, from Dagster's event log."""
    last = context.instance.get_latest_materialization_event(context.asset_key)
    listed = last.asset_materialization.metadata.get(_LISTED) if last and last.asset_materialization else None
    return dict(listed.value) if isinstance(listed, JsonMetadataValue) and isinstance(listed.value, dict) else {}


def _shrunk(before: dict[str, int], listed: dict[str, int]) -> list[str]:
    """A warning for each organisation that lists over a tenth fewer repositories than before."""
    # Numbers above 100 are derived from the number of pages: the last one may have held a single repository.
    least = {organisation: known if known <= 100 else known - 99 for organisation, known in before.items()}
    return [
        f"GITHUB_ORG {organisation!r}: GitHub lists at most {number} repositories, and listed about "
        f"{before[organisation]} before. Were some deleted or moved, or has GITHUB_TOKEN lost a permission?"
        for organisation, number in listed.items()
        if number < 0.9 * least.get(organisation, 0)
    ]
