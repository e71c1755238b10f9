"""Raw: what GitHub said, append-only. dlt writes these files, not an IO manager.

What does not belong here: cleaning, filtering columns, removing an observation that an earlier run made.
"""

import time
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, Failure, ResourceParam, TableSchema, asset

from mds_assets.github.client import GitHub, GitHubError
from mds_assets.io_managers.lake import Lake, file_metadata
from mds_assets.io_managers.schema import COLUMN_SCHEMA, column
from mds_assets.partitions import DAILY, ONE_RUN, to_days

if TYPE_CHECKING:
    from dlt.common.data_types import TDataType

# The columns that staging reads: they exist in every file. Every other field that GitHub sends lands beside them.
GITHUB_REPOS = TableSchema(
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
    ]
)

_JSON = {"license", "topics"}
_DLT_TYPES: dict[str, "TDataType"] = {
    "BIGINT": "bigint",
    "BOOLEAN": "bool",
    "TIMESTAMPTZ": "timestamp",
    "VARCHAR": "text",
}
_LANDED_COLUMNS: dict[str, "TDataType"] = {
    c.name: "json" if c.name in _JSON else _DLT_TYPES[c.type] for c in GITHUB_REPOS.columns if c.name != "_dlt_load_id"
}


@asset(
    key=["raw", "github_repos"],
    partitions_def=DAILY,
    backfill_policy=ONE_RUN,
    io_manager_key="duckdb_io_manager",
    group_name="raw",
    kinds={"github", "dlt", "parquet"},
    metadata={COLUMN_SCHEMA: GITHUB_REPOS},
)
def github_repos(context: AssetExecutionContext, github: ResourceParam[GitHub], lake: Lake) -> None:
    """The repositories that were active on the day, as GitHub described them at the time of the run.

    GitHub only knows each repository's newest state, so a later run of the same day sees fewer of them. Each run adds
    one load a day and never removes an earlier one.
    """
    # dlt takes half as long to import as Dagster: only the process that lands raw pays for it.
    from mds_assets.github.pipeline import land

    days = to_days(context.partition_keys)
    try:
        crawl = github.crawl(days)
    except GitHubError as error:
        raise Failure(str(error), allow_retries=False) from None
    context.log.info(
        "%s rows of %s in %s requests; %s requests left this hour",
        sum(map(len, crawl.days.values())),
        ", ".join(github.organisations),
        crawl.requests,
        crawl.rate_limit_remaining,
    )
    started = time.perf_counter()
    with lake.workspace() as folder:
        load_id, files = land(crawl.days, _LANDED_COLUMNS, folder)
        lake.add(context.asset_key, f"{load_id}.parquet", files)
    seconds = time.perf_counter() - started
    for day in days:
        context.add_asset_metadata(
            {
                **file_metadata(lake.files(context.asset_key, day)),
                COLUMN_SCHEMA: GITHUB_REPOS,
                "load": load_id,
                "rows_landed": len(crawl.days[day]),
                "observed_at": crawl.observed_at.isoformat(),
                "api_requests": crawl.requests,
                "rate_limit_remaining": crawl.rate_limit_remaining,
                "seconds": round(seconds, 3),
            },
            partition_key=str(day),
        )
