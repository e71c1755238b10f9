"""The only place where the parts meet: `defs` for Dagster, `build_definitions` for tests and other entry points.

https://docs.dagster.io/api/dagster/definitions
"""

import warnings
from collections.abc import Mapping
from typing import Any

from dagster import (
    AssetsDefinition,
    Definitions,
    ResourceDefinition,
    in_process_executor,
    load_assets_from_package_module,
    with_source_code_references,
)

from mds_assets import assets
from mds_assets.defs.github import groups
from mds_assets.github.client import GitHub
from mds_assets.stack.automation import automated, follow_staging
from mds_assets.stack.checks import checks_of
from mds_assets.stack.io_managers.duckdb import LakeDuckDB
from mds_assets.stack.io_managers.io_manager import LakeIOManager
from mds_assets.stack.io_managers.pages import PageIOManager
from mds_assets.stack.jobs import daily_refresh, table_checks
from mds_assets.stack.lake.lake import Lake
from mds_assets.stack.prune import prune
from mds_assets.stack.schedules import daily_refresh_schedule, prune_schedule, table_checks_schedule
from mds_assets.stack.sensors import failed_checks, failed_runs
from mds_assets.stack.settings import Settings, settings
from mds_assets.stack.table import COLUMN_SCHEMA, declared_schema
from mds_assets.stack.warehouse import warehouse

# Dagster warns that links from a table to its code are in beta.
warnings.filterwarnings("ignore", message=".*(source_code_references|CodeReference)")


def github(settings: Settings) -> GitHub:
    """The configured organisations; without any, the built-in sample behind the same client."""
    if not settings.organisations:
        from mds_assets.github.sample import SAMPLE_API_URL, SAMPLE_ORG, SampleTransport

        return GitHub([SAMPLE_ORG], SAMPLE_API_URL, transport=SampleTransport())
    return GitHub(
        settings.organisations,
        settings.api_url,
        settings.token.get_secret_value() if settings.token else None,
        settings.api_version,
        settings.max_wait_seconds,
    )


def resources(settings: Settings) -> dict[str, Any]:
    """What assets ask for by name."""
    lake = Lake(root=settings.data_dir)
    bounds = {"memory_limit": settings.duckdb_memory_limit, "threads": settings.duckdb_threads}
    given = {name: value for name, value in bounds.items() if value is not None}
    duckdb = LakeDuckDB(lake=lake, connection_config=given)
    return {
        # Made when raw asks for it: the sample and its transport take time to import.
        "github": ResourceDefinition(lambda _: github(settings)),
        "lake": lake,
        "duckdb": duckdb,
        "duckdb_io_manager": LakeIOManager(
            lake=lake, duckdb=duckdb, engine="duckdb", preview_rows=settings.preview_rows
        ),
        "polars_io_manager": LakeIOManager(
            lake=lake, duckdb=duckdb, engine="polars", preview_rows=settings.preview_rows
        ),
        "page_io_manager": PageIOManager(lake=lake),
    }


def build_definitions(resource_overrides: Mapping[str, Any] | None = None) -> Definitions:
    """The whole project.

    Args:
        resource_overrides: Resources by name (`github`, `lake`, ...) that replace those of the settings. Override
            `lake` together with the IO managers that hold it.
    """
    found = load_assets_from_package_module(assets)
    made = [automated(one) for one in found if isinstance(one, AssetsDefinition)]
    # Where a day is crawled in several runs, they take the place of the one daily run.
    grouped = settings.orgs_per_run is not None
    tables = [spec for one in made for spec in one.specs if COLUMN_SCHEMA in spec.metadata]
    return Definitions(
        assets=with_source_code_references([*made, warehouse(tables)]),
        asset_checks=[
            checks_of(table.key, declared_schema(table.key.to_user_string(), table.metadata)) for table in tables
        ],
        jobs=[daily_refresh, table_checks, prune, *([groups.crawl, groups.tables] if grouped else [])],
        schedules=[
            groups.crawl_schedule if grouped else daily_refresh_schedule,
            table_checks_schedule,
            prune_schedule,
        ],
        sensors=[follow_staging, failed_runs, failed_checks, *([groups.tables_follow_crawls] if grouped else [])],
        resources={**resources(settings), **(resource_overrides or {})},
        # DuckDB and Polars already use every core, and a process a step costs seconds.
        executor=in_process_executor,
    )


defs = build_definitions()
