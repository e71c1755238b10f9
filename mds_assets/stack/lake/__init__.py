"""The lake: Parquet files in a folder or an object store. A reader sees a whole file, old or new, never half of one.

Read `layout` (folders and names), `lake` (what callers use), `commit` (reading and publishing side by side with other
runs), then the two backends: `local` and `object_store`.
"""

from mds_assets.stack.lake.backend import LakeError
from mds_assets.stack.lake.commit import Files, InputsChangedError, ReadSet
from mds_assets.stack.lake.lake import Lake
from mds_assets.stack.lake.layout import DATA_FILE, Partition

__all__ = ["DATA_FILE", "Files", "InputsChangedError", "Lake", "LakeError", "Partition", "ReadSet"]
