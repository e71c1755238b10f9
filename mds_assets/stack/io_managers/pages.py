"""The IO manager for reports: a page per day, a copy of the newest under a fixed name, and an index of all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from dagster import InputContext, IOManager, MetadataValue, OutputContext

from mds_assets.stack.io_managers.provenances import provenances
from mds_assets.stack.lake import Index
from mds_assets.stack.lake.layout import partition_folder
from mds_assets.stack.partitions import to_days
from mds_assets.stack.provenance import page_with
from mds_assets.stack.session import Session

PAGE, LATEST, INDEX = "report.html", "latest.html", "index.html"


@dataclass(frozen=True)
class Pages:
    """What a report asset returns if its pages have an index.

    Attributes:
        by_day: The page of each day of the run.
        index: Writes the index from all days that have a page in the lake, newest first, and the newest page. Both may
            come from other runs.
    """

    by_day: Mapping[date, str]
    index: Index | None = None


class PageIOManager(IOManager):
    """Writes a page per day to `day=D/report.html`, the newest day's also to `latest.html`, and `index.html`."""

    def __init__(self, session: Session) -> None:
        """Take the run's session."""
        self._session = session

    def handle_output(self, context: OutputContext, obj: Pages | Mapping[date, str]) -> None:
        """Write the pages of the run's days together, and report each day's path and bytes.

        Raises:
            RetryRequested: Another run changed one of the asset's inputs. Nothing visible has changed.
        """
        pages = obj if isinstance(obj, Pages) else Pages(obj)
        key, days = context.asset_key, to_days(context.asset_partition_keys)
        index = (INDEX, pages.index) if pages.index else None
        provenance = provenances(self._session, context.step_context, key)
        with self._session.replacing(context.step_context, key, LATEST, index) as (folder, targets):
            for day in days:
                file = folder / f"{day}.html"
                # Without the run: a page that is made again is the same.
                made_from = replace(provenance(day), run="")
                file.write_text(page_with(pages.by_day[day], made_from), encoding="utf-8", newline="\n")
                targets[file] = Path(partition_folder(day), PAGE)
        for day in days:
            file = self._session.lake.folder(key) / partition_folder(day) / PAGE
            context.step_context.add_asset_metadata(
                {"dagster/uri": MetadataValue.path(str(file)), "bytes": file.stat().st_size},
                key,
                partition_key=str(day),
            )

    def load_input(self, context: InputContext) -> None:
        """Not supported: pages are for people."""
        raise NotImplementedError(f"{context.asset_key.to_user_string()} is a page for people: read its marts instead")
