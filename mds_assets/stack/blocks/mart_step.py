"""The step that calls the marts' functions: once per as-of day, with input frames shared by the step's marts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from dagster import AssetExecutionContext, AssetKey, AssetOut, AssetsDefinition, Failure, Output, multi_asset
from dagster._core.definitions.metadata.metadata_value import ObjectMetadataValue

from mds_assets.stack.audit import audit
from mds_assets.stack.blocks.as_of import MART, Frames, Landed, Mart
from mds_assets.stack.blocks.definition import CODE, code_of, parameter, set_parameters
from mds_assets.stack.io_managers.io_manager import Written, publish
from mds_assets.stack.io_managers.polars import DayFrames, typed
from mds_assets.stack.io_managers.value_errors import VALUE_ERRORS, reason
from mds_assets.stack.lake.layout import DATA_FILE, Partition, partition_folder
from mds_assets.stack.names import SETTINGS
from mds_assets.stack.partitions import DAILY, SINGLE_RUN, to_days
from mds_assets.stack.progress import each_day
from mds_assets.stack.session import Session
from mds_assets.stack.table import SchemaError


def share_steps(assets: Iterable[AssetsDefinition]) -> list[AssetsDefinition]:
    """The same assets; marts that read the same days of the same tables become one step.

    Finding each key's newest row in the window is most of a mart's work; in one step it is done once.
    """
    others: list[AssetsDefinition] = []
    groups: dict[object, list[Mart]] = {}
    for definition in assets:
        marts: list[Mart] = [spec.metadata[MART].instance for spec in definition.specs if MART in spec.metadata]
        for each in marts:
            reads = frozenset((key, given.partition_mapping) for key, given in each.inputs.items())
            groups.setdefault((reads, each.key.path[0], each.options.get("pool")), []).append(each)
        others += [] if marts else [definition]
    return [*others, *(marts_step(marts) for marts in groups.values())]


def marts_step(marts: Sequence[Mart]) -> AssetsDefinition:
    """One step that builds these marts, which read the same days of the same tables."""
    by_output = {each.key.path[-1]: each for each in marts}
    inputs = {"__".join(key.path): given for key, given in marts[0].inputs.items()}
    name = "__".join(marts[0].key.path)
    pool = marts[0].options.get("pool")
    if len(marts) > 1:
        days = f"_{marts[0].days_read}_days" if marts[0].latest or marts[0].window else ""
        name = f"{marts[0].key.path[0]}_of_{'_and_'.join(inputs)}{days}{f'_in_{pool}' if pool else ''}"

    def make(
        context: AssetExecutionContext, session: Session, **rows: pl.LazyFrame | DayFrames
    ) -> Iterator[Output[Written]]:
        step = context.get_step_execution_context()
        names = step.selected_output_names
        selected = {output: each for output, each in by_output.items() if output in names}
        days = to_days(context.partition_keys)
        by_key = {key: rows["__".join(key.path)] for key in marts[0].inputs}
        with session.reading(step), session.lake.workspace() as folder:
            made, errors = _make(context, session, selected, days, by_key, folder)
            # Dagster ends a step at the first output that fails, so those that will fail are published here.
            for output, files in made.items():
                each = by_output[output]
                verdicts = audit(session, each.table, {day: [file] for day, file in files.items()})
                written = Written(files, verdicts)
                if all(verdict.passed for verdict in verdicts.values()):
                    yield Output(written, output)
                    continue
                try:
                    publish(session, step, each.key, each.table, days, lambda _, written=written: written)
                except Failure as failure:
                    errors.append(failure)
            for error in errors[1:]:
                context.log.error("%s", error.description if isinstance(error, Failure) else error)
            if errors:  # raised last: a failed mart does not stop the others
                raise errors[0]

    without_days = {"__".join(key.path) for each in marts for key in each.current.values()}
    types = {given: pl.LazyFrame if given in without_days else DayFrames for given in inputs}
    set_parameters(make, [parameter(given, read_as) for given, read_as in types.items()])
    return multi_asset(
        name=name,
        outs={output: _out(each) for output, each in by_output.items()},
        ins=inputs,
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        can_subset=True,
        **({"pool": pool} if pool else {}),
    )(make)


def _out(mart: Mart) -> AssetOut:
    options = {name: given for name, given in mart.options.items() if name not in {"pool", "metadata"}}
    metadata = {
        **mart.table.metadata,
        MART: ObjectMetadataValue(mart),
        **({SETTINGS: mart.settings} if mart.settings else {}),
        CODE: code_of(mart.function),
        **mart.options.get("metadata", {}),
    }
    defaults: dict[str, Any] = {
        "key": mart.key,
        "io_manager_key": "polars_io_manager",
        "is_required": False,
        "code_version": mart.code_version,
    }
    return AssetOut(**defaults | options, metadata=metadata)


def _make(
    context: AssetExecutionContext,
    session: Session,
    marts: Mapping[str, Mart],
    days: Sequence[date],
    rows: Mapping[AssetKey, pl.LazyFrame | DayFrames],
    folder: Path,
) -> tuple[dict[str, dict[Partition, Path]], list[Exception]]:
    """Write each mart's table for each day, one day after another, so that memory holds one window.

    All windows of a range in one query would be faster on paper; with Polars 2.1 they can deadlock its thread pool.
    """
    made: dict[str, dict[Partition, Path]] = {output: {} for output in marts}
    errors: list[Exception] = []
    landed = Landed(session, days)
    for day in each_day(days):
        try:
            frames = Frames(context, landed, day, rows)
            files = {output: folder / output / partition_folder(day) / DATA_FILE for output in marts}
            for file in files.values():
                file.parent.mkdir(parents=True, exist_ok=True)
            sinks = [
                typed(each.key.to_user_string(), frames.call(each), each.table).sink_parquet(files[output], lazy=True)
                for output, each in marts.items()
            ]
            pl.collect_all(sinks, engine="streaming")
        except Exception as error:
            if len(marts) == 1:
                (each,) = marts.values()
                name = each.key.to_user_string()
                if isinstance(error, (pl.exceptions.PolarsError, *VALUE_ERRORS)):  # which do not name the table
                    why = reason(error, name, each.table, quote_values=session.preview_rows > 0)
                    return {}, [SchemaError(f"{name} cannot be made for {day}: {why}")]
                context.log.error("%s cannot be made for %s", name, day)
                return {}, [error]
            made = {}
            for output, each in marts.items():
                alone, failed = _make(context, session, {output: each}, days, rows, folder)
                made |= alone
                errors += failed
            return made, errors
        for output, file in files.items():
            made[output][day] = file
    return made, errors
