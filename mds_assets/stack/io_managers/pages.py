"""The IO manager of reports: a page a day, and the newest under a name of its own.

What does not belong here: what a page says; where files lie and how they are replaced (`lake.py`).
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from dagster import ConfigurableIOManager, InputContext, MetadataValue, OutputContext

from mds_assets.stack.io_managers.io_manager import replacing
from mds_assets.stack.lake.lake import Lake
from mds_assets.stack.partitions import to_days
from mds_assets.stack.table import DAY

PAGE, LATEST = "report.html", "latest.html"


class PageIOManager(ConfigurableIOManager):
    """Writes a text a day to `day=D/report.html`, and the newest day's that there is to `latest.html` too."""

    lake: Lake

    def handle_output(self, context: OutputContext, obj: Mapping[date, str]) -> None:
        """Write the pages of the run's days at once, and report each day's path and bytes.

        Raises:
            RetryRequested: Another run changed the asset's input meanwhile. Nothing visible has changed then.
        """
        days = to_days(context.asset_partition_keys)
        with replacing(self.lake, context, newest=LATEST) as (folder, becomes):
            for day in days:
                file = folder / f"{day}.html"
                file.write_text(obj[day], encoding="utf-8", newline="\n")
                becomes[file] = Path(f"{DAY}={day}", PAGE)
        for day in days:
            file = self.lake.folder(context.asset_key) / f"{DAY}={day}" / PAGE
            context.step_context.add_asset_metadata(
                {"dagster/uri": MetadataValue.path(str(file)), "bytes": file.stat().st_size},
                context.asset_key,
                partition_key=str(day),
            )

    def load_input(self, context: InputContext) -> None:
        """Refuse: a page is for people."""
        raise NotImplementedError(f"{context.asset_key.to_user_string()} is a page for people: read its marts instead")
