"""Builds the project's definitions from those of its sources.

A source provides assets, resources, jobs, schedules and sensors. The stack adds its resources, each table's checks, the
warehouse, the jobs and what starts them.

https://docs.dagster.io/api/dagster/definitions
"""

from collections.abc import Generator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click
from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    Definitions,
    FilesystemIOManager,
    InitResourceContext,
    IOManagerDefinition,
    ResourceDefinition,
    SourceAsset,
    in_process_executor,
    with_source_code_references,
)
from dagster._core.definitions.metadata.metadata_value import ObjectMetadataValue
from dagster._core.execution.build_resources import wrap_resources_for_execution

from mds_assets.stack.automation import automated, follow_staging, followers
from mds_assets.stack.blocks.as_of import MART
from mds_assets.stack.blocks.definition import CODE, file_of
from mds_assets.stack.blocks.mart_step import share_steps
from mds_assets.stack.blocks.raw import SNAPSHOT
from mds_assets.stack.checks import CheckedTable, checks_of
from mds_assets.stack.code_version import function_version
from mds_assets.stack.compact import compact_job
from mds_assets.stack.io_managers.io_manager import LakeIOManager
from mds_assets.stack.io_managers.pages import PageIOManager
from mds_assets.stack.jobs import daily_refresh, table_checks
from mds_assets.stack.lake import Lake
from mds_assets.stack.partitions import SINGLE_RUN, is_same_day
from mds_assets.stack.plan.schedule import heal_schedule
from mds_assets.stack.prune import prune_job
from mds_assets.stack.redaction import guard_dagster, guard_output
from mds_assets.stack.run_log import shorten_run_logs
from mds_assets.stack.schedules import compact_schedule, daily_refresh_schedule, prune_schedule, table_checks_schedule
from mds_assets.stack.sensors import failed_checks, failed_runs
from mds_assets.stack.session import Session
from mds_assets.stack.settings import Settings, preview_rows, public_preview_rows, settings
from mds_assets.stack.table import TABLE, Table, declared_table
from mds_assets.stack.warehouse import warehouse

# Once in each process that runs definitions, and before any code of a source.
guard_output()
guard_dagster()
shorten_run_logs()


class DefinitionError(click.ClickException):
    """What lies in `defs/` contradicts itself. One line, which click prints as it is in `dagster` and `mds` alike."""


def stack_resources(settings: Settings, sources: Mapping[AssetKey, frozenset[AssetKey]]) -> dict[str, Any]:
    """The resources of the stack. Only the settings decide where the lake is.

    Args:
        settings: The stack's settings.
        sources: For each table, the tables it is derived from day by day.
    """

    def session(context: InitResourceContext) -> Generator[Session]:
        limits = {"memory_limit": settings.duckdb_memory_limit, "threads": settings.duckdb_threads}
        opened = Session(
            context.resources.lake,
            sources=sources,
            preview_rows=preview_rows(settings),
            public_rows=public_preview_rows(settings),
            memory=settings.arrow_memory,
            duckdb_config={name: value for name, value in limits.items() if value is not None},
        )
        try:
            yield opened
        finally:
            opened.close()

    def io_manager(make: Any, **options: Any) -> IOManagerDefinition:
        return IOManagerDefinition(
            lambda context: make(context.resources.session, **options), required_resource_keys={"session"}
        )

    return {
        "lake": ResourceDefinition(lambda _: Lake(settings.data_dir)),
        "session": ResourceDefinition(session, required_resource_keys={"lake"}),
        "duckdb_io_manager": io_manager(LakeIOManager, engine="duckdb"),
        "polars_io_manager": io_manager(LakeIOManager, engine="polars"),
        "page_io_manager": io_manager(PageIOManager),
        # Dagster's default, for plain assets. It unpickles, and by itself takes the folder from run config.
        "io_manager": FilesystemIOManager(),
    }


def build_definitions(
    sources: Definitions, resource_overrides: Mapping[str, Any] | None = None, settings: Settings = settings
) -> Definitions:
    """The whole project.

    Args:
        sources: The definitions in `defs/`. A job, schedule or sensor with the name of one of the stack's replaces it.
        resource_overrides: Resources by name (`lake`, a source's client, ...) that replace the configured ones;
            dependents, such as the IO managers on `lake`, use the override.
        settings: The stack's settings.
    """
    given = [each for each in sources.assets or () if isinstance(each, AssetsDefinition)]
    others = [each for each in sources.assets or () if not isinstance(each, AssetsDefinition)]
    _refuse_twice(given)
    _refuse_unknown_tables(given, others)
    _refuse_latest_without_key(given)
    assets = [_in_one_run(each) for each in share_steps(given)]
    following = followers(assets)
    assets = [_with_code_version(automated(each, following)) for each in assets]
    tables = [spec for each in assets for spec in each.specs if TABLE in spec.metadata]
    checks = [checks_of(subject) for subject in _checked_tables(assets)]
    prune = prune_job([key for each in checks for key in each.check_keys])
    compact = compact_job(sorted(key for key in _partitioned(assets) if key.has_prefix(["raw"])))
    built = Definitions(
        assets=[*map(_with_code, [*assets, warehouse(tables, _optional(assets))]), *others],
        asset_checks=[*checks, *(sources.asset_checks or ())],
        jobs=_unless_named([daily_refresh, table_checks, prune, compact], sources.jobs),
        schedules=_unless_named(
            [
                daily_refresh_schedule(partitioned=bool(_partitioned(assets))),
                table_checks_schedule,
                prune_schedule(prune),
                compact_schedule(compact),
                heal_schedule(lambda: built, settings),
            ],
            sources.schedules,
        ),
        sensors=_unless_named([follow_staging(following), failed_runs, failed_checks], sources.sensors),
        resources={
            **_fixed({**stack_resources(settings, day_by_day_sources(assets)), **(sources.resources or {})}),
            **(resource_overrides or {}),
        },
        # DuckDB and Polars already use every core, and a process per step costs seconds.
        executor=in_process_executor,
        component_tree=sources.component_tree,
    )
    return built


def _fixed(resources: Mapping[str, Any]) -> dict[str, ResourceDefinition]:
    """The resources without run config, those of sources too: nothing but settings points a lake or a client elsewhere.

    Whoever can start a run could otherwise send a source's token to a server of their own.
    """
    return {name: _without_run_config(each) for name, each in wrap_resources_for_execution(resources).items()}


def _without_run_config(definition: ResourceDefinition) -> ResourceDefinition:
    config = definition.config_schema.as_field()
    own = config.default_value if config.default_provided else {}  # the arguments of a ConfigurableResource
    return definition.configured(lambda _: own, config_schema={})


def _refuse_twice(assets: Sequence[AssetsDefinition]) -> None:
    """Refuse two assets of one key; Dagster's own error does not say where they are."""
    places: dict[AssetKey, list[str]] = {}
    for spec in (spec for each in assets for spec in each.specs):
        places.setdefault(spec.key, []).append(file_of(spec) or "a plain asset")
    for key, files in places.items():
        if len(files) > 1:
            *layer, name = key.path
            raise DefinitionError(
                f"{key.to_user_string()} is defined twice, in {' and in '.join(sorted(files))}: rename one of them, "
                f"such as {'/'.join([*layer, f'<source>_{name}'])}."
            )


def _refuse_unknown_tables(assets: Sequence[AssetsDefinition], others: Sequence[Any]) -> None:
    """Refuse a block that reads an undefined table, usually a misspelt one; Dagster takes it for an external asset."""
    specs = [spec for each in assets for spec in each.specs]
    known = {spec.key for spec in specs} | {each.key for each in others if isinstance(each, (AssetSpec, SourceAsset))}
    names = sorted(key.to_user_string() for key in known)
    declared = sorted(spec.key.to_user_string() for spec in specs if TABLE in spec.metadata)
    layers = {name.partition("/")[0] for name in names}
    for spec in (spec for spec in specs if CODE in spec.metadata and TABLE in spec.metadata):
        table, reads = spec.key.to_user_string(), [dep.asset_key.to_user_string() for dep in spec.deps]
        for name in sorted({*reads}.difference(names)) if not spec.key.has_prefix(["raw"]) else ():
            if name.partition("/")[0] in layers or get_close_matches(name, names):
                raise DefinitionError(f"{table} reads {name}, which is not defined: {_instead(name, names)}")
        reconciles = declared_table(table, spec.metadata).reconciles
        if reconciles and reconciles.source not in declared:
            instead = _instead(reconciles.source, declared)
            raise DefinitionError(f"{table} reconciles with {reconciles.source}, which declares no columns: {instead}")


def _instead(name: str, names: Sequence[str]) -> str:
    """The way out where there is no table of this name."""
    similar, layer = get_close_matches(name, names, n=1), name.partition("/")[0]
    there = [each for each in names if each.startswith(f"{layer}/")] or names
    return f"did you mean {similar[0]}?" if similar else f"known tables are {', '.join(there)}."


def _refuse_latest_without_key(assets: Sequence[AssetsDefinition]) -> None:
    """Refuse marts that ask for each key's newest row of a table that declares no key."""
    metadata = {spec.key: spec.metadata for each in assets for spec in each.specs}
    for mart in (each[MART].instance for each in metadata.values() if MART in each):
        for parameter, key in mart.latest.items():
            table, given = key.to_user_string(), metadata.get(key, {})
            if TABLE in given and not declared_table(table, given).key:
                raise DefinitionError(
                    f"{mart.key.to_user_string()} has latest={ {parameter: table} }, but {table} has no key: give "
                    f"{table} a key=, or read all its rows with window={ {parameter: table} }."
                )


def _unless_named(own: Sequence[Any], given: Any) -> list[Any]:
    names = {each.name for each in given or ()}
    return [*(each for each in own if each.name not in names), *(given or ())]


def _in_one_run(definition: AssetsDefinition) -> AssetsDefinition:
    """Dagster runs a range of days as one run only if every asset has this policy, even those without partitions."""
    return definition if definition.backfill_policy else definition.with_attributes(backfill_policy=SINGLE_RUN)


def _with_code(definition: AssetsDefinition) -> AssetsDefinition:
    """Add a link to the assets' function if they have none; the building blocks link to the user's code."""
    if all(CODE in spec.metadata for spec in definition.specs):
        return definition
    (linked,) = with_source_code_references([definition])
    return linked  # pyright: ignore[reportReturnType]  # Dagster returns the type it was given


def _with_code_version(definition: AssetsDefinition) -> AssetsDefinition:
    """The building blocks version their code; this does it for plain assets."""
    if all(spec.code_version for spec in definition.specs) or not definition.is_executable:
        return definition
    function = getattr(definition.op.compute_fn, "decorated_fn", None) if definition.node_def else None
    if function is None or any(spec.key.has_prefix(["raw"]) for spec in definition.specs):
        return definition
    version = function_version(function)
    return definition.map_asset_specs(
        lambda spec: spec if spec.code_version else spec.replace_attributes(code_version=version)
    )


def _partitioned(assets: Sequence[AssetsDefinition]) -> set[AssetKey]:
    return {spec.key for each in assets for spec in each.specs if spec.partitions_def}


def _optional(assets: Sequence[AssetsDefinition]) -> set[AssetKey]:
    """The tables that a run may skip: raw tables that declare it, and everything derived from them."""
    specs = [spec for each in assets for spec in each.specs]
    optional = {spec.key for spec in specs if spec.skippable and spec.key.has_prefix(["raw"])}
    while derived := {
        spec.key for spec in specs if spec.key not in optional and any(dep.asset_key in optional for dep in spec.deps)
    }:
        optional |= derived
    return optional


def day_by_day_sources(assets: Sequence[AssetsDefinition]) -> dict[AssetKey, frozenset[AssetKey]]:
    """For each table, the tables it is derived from day by day, directly or not."""
    partitioned = _partitioned(assets)
    direct = {
        spec.key: [
            dep.asset_key
            for dep in spec.deps
            if dep.asset_key in partitioned and is_same_day(each.get_partition_mapping(dep.asset_key))
        ]
        for each in assets
        for spec in each.specs
        if spec.partitions_def
    }

    def all_of(key: AssetKey) -> frozenset[AssetKey]:
        return frozenset(source for dep in direct.get(key, []) for source in (dep, *all_of(dep)))

    return {key: all_of(key) for key in direct}


def _checked_tables(assets: Sequence[AssetsDefinition]) -> list[CheckedTable]:
    partitioned = _partitioned(assets)
    snapshots = {spec.key for each in assets for spec in each.specs if _plain(spec.metadata.get(SNAPSHOT))}
    sources = day_by_day_sources(assets)
    declared: dict[AssetKey, Table] = {
        spec.key: declared_table(spec.key.to_user_string(), spec.metadata)
        for each in assets
        for spec in each.specs
        if TABLE in spec.metadata
    }
    return [
        CheckedTable(
            key=spec.key,
            table=declared[spec.key],
            partitioned=spec.partitions_def is not None,
            is_snapshot=spec.key in snapshots,
            snapshots=frozenset(
                dep.asset_key for dep in spec.deps if snapshots & {dep.asset_key, *sources.get(dep.asset_key, ())}
            ),
            reads={
                dep.asset_key: each.get_partition_mapping(dep.asset_key)
                for dep in spec.deps
                if dep.asset_key in partitioned and spec.partitions_def
            },
            source=_reconciled(declared, spec),
            mart=_plain(spec.metadata.get(MART)),
        )
        for each in assets
        for spec in each.specs
        if spec.key in declared
    ]


def _plain(value: Any) -> Any:
    return value.instance if isinstance(value, ObjectMetadataValue) else getattr(value, "value", value)


def _reconciled(declared: Mapping[AssetKey, Table], spec: AssetSpec) -> Table | None:
    reconciles = declared[spec.key].reconciles
    return declared[AssetKey(reconciles.source.split("/"))] if reconciles else None
