"""The project's Dagster instance: `instance_class` in `dagster.yaml`.

Its webserver only obeys its own pages. Dagster has no setting for its webserver's class, but it lets `dagster.yaml`
name the instance's, and every way of starting the UI loads that: `dagster dev`, `dg dev`, `dagster-webserver`, the Helm
chart.

It stores events in batches; on SQLite, which it uses unless `dagster.yaml` names another storage, much faster than
Dagster's own class does (`event_storage.py`).

https://docs.dagster.io/deployment/oss/dagster-yaml
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from mds_assets.stack.dev import claim

_MAX_BATCH = 1000  # events stored at once


class GuardedInstance(DagsterInstance):
    """An instance with a guarded webserver and a fast event log, and of one `dagster dev` at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Dagster's own; every process that uses the instance makes one."""
        super().__init__(*args, **kwargs)
        self._dev = claim(Path(self.root_directory))

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Nothing of its own in `dagster.yaml`."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Dagster's own, except for the SQLite storage."""
        storage = ConfigurableClassData(
            "mds_assets.stack.event_storage", "SqliteStorage", yaml.dump({"base_dir": base_dir})
        )
        return {**InstanceRef.config_defaults(base_dir), "storage": storage}

    def _get_event_batch_size(self) -> int:
        return _MAX_BATCH

    def optimize_for_webserver(self, *args: Any, **kwargs: Any) -> None:
        """Called by the webserver, and by nothing else, before it makes its app."""
        super().optimize_for_webserver(*args, **kwargs)
        # Late: no other process pays for the import.
        import dagster_webserver.app

        from mds_assets.stack.webserver import GuardedWebserver

        dagster_webserver.app.DagsterWebserver = GuardedWebserver  # pyright: ignore[reportPrivateImportUsage]
