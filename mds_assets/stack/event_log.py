"""Events that Dagster does not write by itself: what became of each day, where only some of a run's days are good."""

import time
from collections.abc import Iterable, Mapping

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterEvent,
    DagsterEventType,
    StepExecutionContext,
)

# Dagster exports neither.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as _Target,
)
from dagster._core.events import DagsterEventBatchMetadata, generate_event_batch_id

from mds_assets.stack.audit import Verdict
from mds_assets.stack.lake.layout import Partition, partition_key
from mds_assets.stack.names import IS_VALID


def report_materializations(step: StepExecutionContext, key: AssetKey, partitions: Iterable[Partition]) -> None:
    """Record these partitions as materialized, with the metadata that the step has for them.

    For a step that is about to fail: Dagster records the others itself.
    """
    for partition in map(partition_key, partitions):
        facts = {**(step.get_asset_metadata(key) or {}), **(step.get_asset_metadata(key, partition) or {})}
        DagsterEvent.asset_materialization(step, AssetMaterialization(key, metadata=facts, partition=partition))


def report_verdicts(step: StepExecutionContext, key: AssetKey, verdicts: Mapping[Partition, Verdict]) -> None:
    """Record each partition's own `is_valid`: Dagster gives a range of days one evaluation, and it belongs to none."""
    targets = _targets(step, key, verdicts)
    evaluations = [
        AssetCheckEvaluation(
            asset_key=key,
            check_name=IS_VALID,
            passed=verdict.passed,
            metadata=facts_of(verdict),
            target_materialization_data=targets.get(partition),
            severity=severity_of(key, verdict),
            description=verdict.description or None,
            blocking=is_blocking(key, IS_VALID),
            partition=partition_key(partition),
        )
        for partition, verdict in verdicts.items()
    ]
    batch = generate_event_batch_id()
    for number, evaluation in enumerate(evaluations, start=1):
        outcome = "passed" if evaluation.passed else f"failed: {evaluation.description}"
        DagsterEvent.from_step(
            DagsterEventType.ASSET_CHECK_EVALUATION,
            step,
            evaluation,
            f"{key.to_user_string()} {IS_VALID} of {evaluation.partition or 'the table'} {outcome}",
            DagsterEventBatchMetadata(batch, number == len(evaluations)),
        )


def evaluation_of(step: StepExecutionContext, result: AssetCheckResult, partition: Partition) -> AssetCheckEvaluation:
    """The evaluation that Dagster makes of a result in a run of a partition."""
    if not result.asset_key or not result.check_name:
        raise ValueError(f"{result} names no check")
    return AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        target_materialization_data=_newest(step, result.asset_key, partition),
        severity=result.severity,
        description=result.description,
        blocking=is_blocking(result.asset_key, result.check_name),
        partition=partition_key(partition),
    )


def is_blocking(key: AssetKey, check_name: str) -> bool:
    """Whether a failure of the check stops what reads the table. Of raw, none does: staging has its own audit."""
    return check_name == IS_VALID and not key.has_prefix(["raw"])


def severity_of(key: AssetKey, verdict: Verdict) -> AssetCheckSeverity:
    """An error, except for a key that comes more than once in raw, which keeps everything it was sent."""
    is_warning = key.has_prefix(["raw"]) and verdict.is_only_key
    return AssetCheckSeverity.WARN if is_warning else AssetCheckSeverity.ERROR


def facts_of(*verdicts: Verdict) -> dict[str, int]:
    """The counts of some verdicts, as metadata."""
    return {
        "rows_wrong": sum(verdict.rows for verdict in verdicts),
        "keys_twice": sum(verdict.keys for verdict in verdicts),
    }


def _targets(
    step: StepExecutionContext, key: AssetKey, verdicts: Mapping[Partition, Verdict]
) -> dict[Partition, _Target]:
    """The materialization that each verdict is about: Dagster shows the verdict until the partition has a newer one."""
    # In a range, one query for all days that this run has published.
    published = {str(day) for day, verdict in verdicts.items() if day and verdict.passed and len(verdicts) > 1}
    storage_ids = step.instance.event_log_storage.get_latest_storage_id_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION, published
    )
    targets: dict[Partition, _Target] = {}
    for partition in verdicts:
        name = partition_key(partition)
        if storage_id := storage_ids.get(name or ""):
            targets[partition] = _Target(storage_id=storage_id, run_id=step.run_id, timestamp=time.time())
        elif newest := _newest(step, key, partition):
            targets[partition] = newest
    return targets


def _newest(step: StepExecutionContext, key: AssetKey, partition: Partition) -> _Target | None:
    """The newest materialization of a partition, or of any."""
    records = AssetRecordsFilter(key, asset_partitions=[str(partition)] if partition else None)
    found = step.instance.fetch_materializations(records, limit=1).records
    if not found:
        return None
    (newest,) = found
    return _Target(storage_id=newest.storage_id, run_id=newest.run_id, timestamp=newest.timestamp)
