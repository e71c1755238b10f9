"""What the files that a step writes are made from, of what the step has read."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from dagster import AssetKey, AssetSpec, StepExecutionContext

from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.names import SETTINGS
from mds_assets.stack.partitions import window_of
from mds_assets.stack.provenance import Inputs, Provenance, inputs_of
from mds_assets.stack.session import Session
from mds_assets.stack.table import Table


def provenances(
    session: Session, step: StepExecutionContext, key: AssetKey, table: Table | None = None
) -> Callable[[Partition], Provenance]:
    """The provenance of each partition of a table or report, once the step has read everything.

    Raises:
        ValueError: The step belongs to no asset.
    """
    asset = step.assets_def
    if not asset:
        raise ValueError(f"{key.to_user_string()} is no asset")
    spec = asset.specs_by_key[key]
    reads = session.inputs(step, key)
    mappings = {
        each.to_user_string(): asset.get_partition_mapping(each)
        for each in asset.keys_by_input_name.values()
        if spec.partitions_def and None not in reads.get(each.to_user_string(), {})
    }
    merged_before = session.merged_before.get(key, {})

    def windows_of(day: date) -> dict[str, list[Partition]]:
        declared: dict[str, list[Partition]] = {each: [*window_of(mapping, day)] for each, mapping in mappings.items()}
        # What it has read without declaring it, it has read for all days of the run: no day looks ahead.
        other = {
            each: [read for read in reads[each] if read is None or read <= day] for each in reads.keys() - declared
        }
        return declared | other

    def of(partition: Partition) -> Provenance:
        inputs = inputs_of(reads, windows_of(partition) if partition else {})
        return Provenance(
            code=spec.code_version or "",
            declaration=table.version if table else "",
            settings=settings_of(spec),
            inputs=Inputs.of(inputs | {each: {**days, **inputs.get(each, {})} for each, days in merged_before.items()}),
            run=step.run_id,
        )

    return of


def settings_of(spec: AssetSpec) -> Mapping[str, Any]:
    """The settings that a table's rows depend on, as its asset declares them."""
    declared = spec.metadata.get(SETTINGS, {})
    value = getattr(declared, "value", declared)
    return value if isinstance(value, Mapping) else {}
