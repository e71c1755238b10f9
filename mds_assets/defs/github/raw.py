"""Raw: what GitHub said, append-only. dlt writes these files, not an IO manager.

What does not belong here: cleaning, filtering columns, removing an observation that an earlier run made.
"""

import time
from dataclasses import replace

from dagster import (
    AssetExecutionContext,
    Config,
    Failure,
    JsonMetadataValue,
    ResourceParam,
    RetryRequested,
    asset,
)
from pydantic import Field

from mds_assets.github.client import GitHub
from mds_assets.github.errors import GitHubError
from mds_assets.stack.io_managers.duckdb import LakeDuckDB
from mds_assets.stack.io_managers.io_manager import file_metadata, preview
from mds_assets.stack.lake.lake import Lake
from mds_assets.stack.partitions import DAILY, ONE_RUN, to_days
from mds_assets.stack.settings import settings
from mds_assets.stack.table import COLUMN_SCHEMA, column, table_schema

# The columns that staging reads: they exist in every file. Every other field that GitHub sends lands beside them.
GITHUB_REPOS = table_schema(
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
        column("created_at", "TIMESTAMPTZ", "When it was created, UTC.", nullable=True),
        column("updated_at", "TIMESTAMPTZ", "When its metadata last changed, UTC.", nullable=True),
        column("pushed_at", "TIMESTAMPTZ", "When it was last pushed to, UTC; null when never.", nullable=True),
        column("observed_at", "TIMESTAMPTZ", "When the crawl that saw this began, UTC."),
        column("_dlt_load_id", "VARCHAR", "dlt's id of the load, seconds since 1970; also the file's name."),
    ],
    # A repository comes twice in a load where it was active again while the list was read.
    key=["_dlt_load_id", "org", "id", "updated_at", "pushed_at"],
    checks=[
        # A comparison of timestamps takes a tenth of the time of a cast to a date.
        "greatest(updated_at, pushed_at) >= day AND greatest(updated_at, pushed_at) < day + 1",
        "observed_at <= now()",
    ],
)

# Beyond the client's own attempts, which cover seconds: an outage of minutes.
_RETRIES = 2
_RETRY_SECONDS = 60

_LISTED = "repositories_listed"


class Asked(Config):
    """Whom a run asks for; as a run's configuration, so that a day may take several runs (`groups.py`)."""

    organisations: list[str] = Field(default=[], description="Some of GITHUB_ORG; all of them where it is empty.")


@asset(
    key=["raw", "github_repos"],
    partitions_def=DAILY,
    backfill_policy=ONE_RUN,
    io_manager_key="duckdb_io_manager",
    group_name="raw",
    kinds={"github", "dlt", "parquet"},
    pool="github",  # one crawl at a time, where `dagster.yaml` gives pools a limit
    metadata={COLUMN_SCHEMA: GITHUB_REPOS},
)
def github_repos(
    context: AssetExecutionContext, config: Asked, github: ResourceParam[GitHub], lake: Lake, duckdb: LakeDuckDB
) -> None:
    """The repositories that were active on the day, as GitHub described them at the time of the run.

    GitHub only knows each repository's newest state, so a later run of the same day sees fewer of them. Each run adds
    one load a day and never removes an earlier one.
    """
    # dlt takes half as long to import as Dagster: only the process that lands raw pays for it.
    from mds_assets.stack.landing import land

    days = to_days(context.partition_keys)
    if config.organisations:
        unknown = sorted(set(config.organisations) - set(github.organisations))
        if unknown:
            raise Failure(
                f"organisations {unknown} of the run's configuration are not in GITHUB_ORG: add them, or start the run "
                "anew without them.",
                allow_retries=False,
            )
        github = replace(github, organisations=config.organisations)
    crawl = github.crawl(days, context.log)
    listed_before = _listed_before(context)
    started = time.perf_counter()
    with lake.workspace() as folder:
        try:
            load_id, files = land(crawl, folder)
        except GitHubError as error:
            failure = Failure(str(error), allow_retries=False)
            if error.retryable:
                raise RetryRequested(max_retries=_RETRIES, seconds_to_wait=_RETRY_SECONDS) from failure
            raise failure from None
        lake.add(context.asset_key, f"{load_id}.parquet", files)
    seconds = time.perf_counter() - started
    context.log.info(
        "%s rows of %s in %s requests", crawl.rows.total(), ", ".join(github.organisations), crawl.requests
    )
    shrunk = _shrunk(listed_before, crawl.listed)
    for warning in shrunk:
        context.log.warning("%s", warning)
    for day in days:
        files_of_day = lake.files(context.asset_key, day)
        landed = next(file for file in files_of_day if file.name == f"{load_id}.parquet")
        shown = settings.preview_rows if day == days[-1] else 0
        context.add_asset_metadata(
            {
                **file_metadata(files_of_day),
                **preview(duckdb.connection, landed, GITHUB_REPOS, shown),
                COLUMN_SCHEMA: GITHUB_REPOS,
                "load": load_id,
                "rows_landed": crawl.rows[day],
                "observed_at": crawl.observed_at.isoformat(),
                "api_requests": crawl.requests,
                "rate_limit_remaining": crawl.rate_limit_remaining,
                _LISTED: listed_before | crawl.listed,
                "warnings": [*crawl.warnings, *shrunk],
                "seconds": round(seconds, 3),
            },
            partition_key=str(day),
        )


def _listed_before(context: AssetExecutionContext) -> dict[str, int]:
    """How many repositories each organisation listed to the last run that asked for it, as far as Dagster knows."""
    last = context.instance.get_latest_materialization_event(context.asset_key)
    told = last.asset_materialization.metadata.get(_LISTED) if last and last.asset_materialization else None
    return dict(told.value) if isinstance(told, JsonMetadataValue) and isinstance(told.value, dict) else {}


def _shrunk(before: dict[str, int], listed: dict[str, int]) -> list[str]:
    """A warning for each organisation that lists over a tenth fewer repositories than before."""
    # Above 100 the numbers are those of pages: the last may have held one repository.
    least = {organisation: known if known <= 100 else known - 99 for organisation, known in before.items()}
    return [
        f"GITHUB_ORG {organisation!r}: GitHub lists at most {number} repositories, and listed about "
        f"{before[organisation]} before. Were some deleted or moved, or has GITHUB_TOKEN lost a permission?"
        for organisation, number in listed.items()
        if number < 0.9 * least.get(organisation, 0)
    ]
