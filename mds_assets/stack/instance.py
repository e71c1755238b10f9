"""The Dagster instance whose webserver only obeys its own pages: `instance_class` in `dagster.yaml`.

Dagster has no setting for its webserver's class. It does let `dagster.yaml` name the instance's, and every way of
starting the UI loads that: `dagster dev`, `dg dev`, `dagster-webserver`, the Helm chart.

https://docs.dagster.io/deployment/oss/dagster-yaml
"""

from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef


class GuardedInstance(DagsterInstance):
    """An instance like any other, except for the webserver that serves it."""

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Nothing of its own in `dagster.yaml`."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Dagster's own."""
        return InstanceRef.config_defaults(base_dir)

    def optimize_for_webserver(self, *args: Any, **kwargs: Any) -> None:
        """Called by the webserver, and by nothing else, before it makes its app."""
        super().optimize_for_webserver(*args, **kwargs)
        # Late: no other process pays for the import.
        import dagster_webserver.app

        from mds_assets.stack.webserver import GuardedWebserver

        dagster_webserver.app.DagsterWebserver = GuardedWebserver  # pyright: ignore[reportPrivateImportUsage]
