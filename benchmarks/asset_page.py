"""Asks Dagster's GraphQL what its UI asks for an asset's page and prints median seconds by table, as JSON.

    python -m benchmarks.asset_page MODULE TABLE...

Run by `parts.py`. Partition health, partition keys, newest materialisations and lineage come as for
https://docs.dagster.io/guides/operate/webserver#asset-details; the code location runs in a process of its own, as under
`dagster dev`.
"""

import asyncio
import json
import os
import statistics
import sys
import time

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.schema import create_schema

_QUERY = """
query AssetPage($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      id
      description
      dependencyKeys { path }
      dependedByKeys { path }
      metadataEntries { label }
      partitionKeysByDimension { name partitionKeys }
      partitionStats { numMaterialized numFailed numPartitions }
      assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startKey endKey } } }
      assetMaterializations(limit: 50) { timestamp partition runId metadataEntries { label } }
    }
  }
}
"""
_ROUNDS = 7


async def main(module: str, *tables: str) -> None:
    """Measure."""
    output = os.dup(1)
    os.dup2(2, 1)  # the code location's process logs to what it inherits as standard output
    target = ModuleTarget(module, attribute=None, working_directory=None, location_name=None)
    schema = create_schema()
    took: dict[str, float] = {}
    with DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as workspace:
        for table in tables:
            seconds: list[float] = []
            for _ in range(_ROUNDS):
                started = time.perf_counter()
                answer = await schema.execute_async(
                    _QUERY,
                    context_value=workspace.create_request_context(),
                    variable_values={"key": {"path": table.split("/")}},
                )
                seconds.append(time.perf_counter() - started)
                if answer.errors or "id" not in (answer.data or {}).get("assetNodeOrError", {}):
                    raise SystemExit(f"{table}: {answer.errors or answer.data}")
            took[table] = statistics.median(seconds)
    os.write(output, json.dumps(took).encode())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
