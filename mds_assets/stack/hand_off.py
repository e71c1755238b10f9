"""Tables that a run has just written, kept as Arrow for the assets of the run that read them next.

The file in the lake is the table; rows in memory stand for one version of it. Whoever wants another version, or rows
that the budget had no room for, reads the file, and gets the same values.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from mds_assets.stack.lake import Files, Partition
from mds_assets.stack.lake.footers import footer
from mds_assets.stack.table import DAY, Table

# Up to this size, a file is read back if no asset returned its rows in memory. For a larger one, reading all columns
# takes longer than it saves the assets that need a few of them.
_READ_BACK = 4 * 1024**2


class HandOff:
    """Rows of files, by path and version: first come, first kept, until the run ends."""

    def __init__(self, budget: int) -> None:
        """Keep at most `budget` bytes."""
        self._free = budget
        self._rows: dict[tuple[UPath, str], pa.Table] = {}

    def keep(self, target: UPath, version: str, file: Path, table: Table, returned: pa.Table | None = None) -> None:
        """Keep the rows of a file that is about to be published, in the declared types, if there is room.

        Args:
            target: Its path in the lake.
            version: Its version there.
            file: The written file.
            table: Its declaration.
            returned: What the asset returned, if that was in memory. Columns of fixed width are not copied.
        """
        rows = self._rows_of(file, table, returned)
        if rows is not None and rows.nbytes <= self._free:
            self._free -= rows.nbytes
            self._rows[target, version] = rows

    def _rows_of(self, file: Path, table: Table, returned: pa.Table | None) -> pa.Table | None:
        schema = pa.schema([field.with_nullable(True) for field in table.arrow_schema()])
        if returned is not None and returned.nbytes <= self._free:
            with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # DuckDB has converted what Arrow does not
                return _as(returned, schema)
        if _bytes_in_memory(file) > min(self._free, _READ_BACK):
            return None
        return _as(pq.ParquetFile(file).read(schema.names), schema)

    def find(self, files: Mapping[Partition, Files], table: Table) -> tuple[pa.Table | None, list[UPath]]:
        """The declared columns of the versions that are kept, with `day`, if any; and the other files."""
        types = {field.name: field.type for field in table.arrow_schema()}
        found: list[pa.Table] = []
        others: list[UPath] = []
        for partition, of_partition in files.items():
            for each in of_partition.items():
                rows = self._rows.get(each)
                if rows is None or not types.items() <= _types(rows).items():
                    others.append(each[0])
                    continue
                rows = rows.select(list(types))
                if partition:
                    rows = rows.append_column(DAY, pa.repeat(pa.scalar(partition), rows.num_rows))
                found.append(rows)
        return pa.concat_tables(found) if found else None, others


def _as(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    rows = rows.select(schema.names)
    if rows.schema.types == schema.types:  # of a cast that casts nothing, the import alone takes 50 ms
        return pa.Table.from_arrays(rows.columns, schema=schema)
    return rows.cast(schema)


def _types(rows: pa.Table) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in rows.schema}


def _bytes_in_memory(file: Path) -> int:
    """What a file's columns take before compression; strings that repeat take more in memory."""
    metadata = footer(file)
    return sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
