"""The IO manager for reports: a page per day, and a copy of the newest under a fixed name."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from dagster import InputContext, IOManager, MetadataValue, OutputContext

from mds_assets.stack.lake.layout import partition_folder
from mds_assets.stack.partitions import to_days
from mds_assets.stack.session import Session

PAGE, LATEST = "report.html", "latest.html"


class PageIOManager(IOManager):
    """Writes a page per day to `day=D/report.html`, and the newest day's also to `latest.html`."""

    def __init__(self, session: Session) -> None:
        """Take the run's session."""
        self._session = session

    def handle_output(self, context: OutputContext, obj: Mapping[date, str]) -> None:
        """Write the pages of the run's days together, and report each day's path and bytes.

        Raises:
            RetryRequested: Another run changed one of the asset's inputs. Nothing visible has changed.
        """
        days = to_days(context.asset_partition_keys)
        with self._session.replacing(context.step_context, context.asset_key, newest=LATEST) as (folder, targets):
            for day in days:
                file = folder / f"{day}.html"
                file.write_text(obj[day], encoding="utf-8", newline="\n")
                targets[file] = Path(partition_folder(day), PAGE)
        for day in days:
            file = self._session.lake.folder(context.asset_key) / partition_folder(day) / PAGE
            context.step_context.add_asset_metadata(
                {"dagster/uri": MetadataValue.path(str(file)), "bytes": file.stat().st_size},
                context.asset_key,
                partition_key=str(day),
            )

    def load_input(self, context: InputContext) -> None:
        """Not supported: pages are for people."""
        raise NotImplementedError(f"{context.asset_key.to_user_string()} is a page for people: read its marts instead")
