"""dlt's incremental cursor without its filter: it gives a source the start, and drops nothing.

dlt compares each row with the start and drops those it considers older. As text, `2026-11-01T00:00:00.5Z` and
`2026-11-01T00:00:00+00:00` are less than `2026-11-01T00:00:00Z`, and text and datetimes cannot be compared at all.
Landing assigns each row to its day anyway, so every row passes.

https://dlthub.com/docs/general-usage/incremental-loading
"""

from datetime import datetime
from typing import Any

from dlt.common.jsonpath import find_values
from dlt.extract.incremental import Incremental

from mds_assets.stack.landing.days import utc


class IsoDatetime(datetime):
    """A datetime that formats as APIs expect it: `2026-11-01T00:00:00Z`."""

    def __str__(self) -> str:
        """ISO 8601, with Z for UTC."""
        return self.isoformat().replace("+00:00", "Z")

    def __format__(self, spec: str) -> str:
        """The same for a placeholder such as rest_api's `{incremental.start_value}`."""
        return super().__format__(spec) if spec else str(self)


class Cursor(Incremental[Any]):
    """See `Days.cursor`. It has no state of its own, because dlt copies cursors through their constructor."""

    # Otherwise dlt copies the cursor into the class from the resource's annotation, which filters again.
    __orig_class__: Any

    def get_current_range(self, apply_lag: bool = True) -> tuple[Any, Any]:
        """The bounds for sql_table's WHERE clause, as plain datetimes: database drivers only adapt exact types."""
        start, end = super().get_current_range(apply_lag)
        return _as(datetime, start), _as(datetime, end)

    def get_incremental_value_type(self) -> type[Any]:
        """The type of `initial_value`, regardless of annotations."""
        return type(self.initial_value)

    def _public_cursor_value(self, value: Any) -> Any:
        """The value that rest_api sends, and that a source reads as `last_value`."""
        return _as(IsoDatetime, value)

    def __call__(self, rows: Any, meta: Any = None) -> Any:
        """Let all rows pass; in descending order, stop reading once rows are older than the start."""
        if self.row_order == "desc" and rows is not None:
            oldest = min(filter(None, map(self._at, rows if isinstance(rows, list) else [rows])), default=None)
            if oldest and oldest < utc(self.initial_value):
                self.start_out_of_range = True
                # A transformer's pipe is shared by all rows of its parent.
                if not self._bound_pipe.has_parent:
                    self._bound_pipe.close()
        return rows

    def _at(self, row: Any) -> datetime | None:
        """The time of this row, or of the oldest row of an Arrow table; None if unknown."""
        if hasattr(row, "column_names"):
            value = min(filter(None, row[self.cursor_path].to_pylist()), default=None)
        else:
            value = next(iter(find_values(self.cursor_path, row)), None) if isinstance(row, dict) else None
        try:
            return utc(datetime.fromisoformat(value) if isinstance(value, str) else value)
        except (AttributeError, OverflowError, ValueError):
            return None


Cursor.__orig_class__ = Cursor


def _as(cls: type[datetime], value: Any) -> Any:
    return cls.combine(value.date(), value.timetz()) if isinstance(value, datetime) else value
