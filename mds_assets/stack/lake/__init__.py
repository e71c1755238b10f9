"""The lake: Parquet files in a folder or an object store. Readers see a complete file, old or new, never a mix.

Read `layout` (folders and names), `lake` (the public interface), `commit` (reading and publishing concurrently with
other runs), then the two backends: `local` and `object_store`.
"""

from mds_assets.stack.lake.backend import LakeError
from mds_assets.stack.lake.commit import Files, Index, InputsChangedError, ReadSet
from mds_assets.stack.lake.lake import Lake
from mds_assets.stack.lake.layout import DATA_FILE, Partition

__all__ = ["DATA_FILE", "Files", "Index", "InputsChangedError", "Lake", "LakeError", "Partition", "ReadSet"]
