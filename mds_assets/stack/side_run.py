"""Runs tables in a lake other than the configured one, such as a side lake, without a trace in Dagster's records.

Everything a table reads or writes goes through the resource `lake`, so replacing it moves the whole run. What stays as
configured: limits and previews, and so what counts as private.
"""

import logging
from collections.abc import Collection, Generator
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import TYPE_CHECKING

import click
from dagster import (
    AssetKey,
    AssetSelection,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    define_asset_job,
    in_process_executor,
)
from dagster._utils.warnings import disable_dagster_warnings

from mds_assets.stack.failures import reason, root, table_of
from mds_assets.stack.lake import Lake
from mds_assets.stack.names import FIRST_DAY_TAG, LAST_DAY_TAG

if TYPE_CHECKING:
    pass

_JOB = "side_run"
# Dagster warns here of each check of a table that was skipped.
_NOISY = ("dagster._core.execution.plan.active",)


def can_run_aside(key: AssetKey) -> bool:
    """Whether `run_in` runs this asset: raw would query its source."""
    return not key.has_prefix(["raw"])


def run_in(
    defs: Definitions,
    lake: Lake,
    keys: Collection[AssetKey],
    first: date,
    last: date,
    instance: DagsterInstance | None = None,
) -> ExecuteInProcessResult:
    """Materialize these assets for a range of days in this lake, in this process, and say nothing.

    Tables are audited as always before they are published; checks that run after a table do not. What the tables read
    has to be in the lake. A plain asset that does more than return a table does it here, too.

    Args:
        defs: The project's definitions.
        lake: Where to read and write.
        keys: The assets, without raw tables.
        first: The first day.
        last: The last day.
        instance: Where Dagster records the run; by default nowhere.

    Raises:
        click.ClickException: A table could not be made. One line that names it.
        ValueError: One of the keys is that of a raw table, or there is none.
    """
    if not keys or not all(map(can_run_aside, keys)):
        refused = ", ".join(key.to_user_string() for key in keys if not can_run_aside(key)) or "nothing"
        raise ValueError(f"{refused} cannot run in a side lake")
    job = _moved(defs, lake, keys).resolve_job_def(_JOB)
    partitioned = any(job.asset_layer.get(key).is_partitioned for key in keys)
    is_range = partitioned and first < last
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        result = job.execute_in_process(
            instance=instance or stack.enter_context(DagsterInstance.ephemeral()),
            partition_key=str(first) if partitioned and not is_range else None,
            tags={FIRST_DAY_TAG: str(first), LAST_DAY_TAG: str(last)} if is_range else None,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
    if not result.success:
        raise click.ClickException(_first_failure(result))
    return result


def _moved(defs: Definitions, lake: Lake, keys: Collection[AssetKey]) -> Definitions:
    """The assets with a job for some of them, on another lake; nothing that starts runs, and Dagster's own logger."""
    with disable_dagster_warnings():
        job = define_asset_job(_JOB, AssetSelection.assets(*keys).without_checks())
        return Definitions(
            assets=defs.assets,
            resources={**(defs.resources or {}), "lake": lake},
            jobs=[job],
            executor=in_process_executor,
        )


@contextmanager
def _quiet() -> Generator[None]:
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _first_failure(result: ExecuteInProcessResult) -> str:
    """Why the first failed step failed, in one line that begins with its table."""
    for event in result.all_events:
        if event.is_step_failure:
            table, why = table_of(event), reason(event)
            return why if table in why else f"{table}: {why}"
    for event in result.all_events:
        if event.is_job_failure:  # before its first step, such as a resource that could not be made
            return root(event.job_failure_data.error)
    return "the run failed before its first step"
