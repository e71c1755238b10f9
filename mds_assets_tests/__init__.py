"""The tests; whatever the machine says of an object store, none of them is asked but their own."""

import os
import shutil
import tempfile
from pathlib import Path

for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]

# Dagster's SQLite waits for the disk at each of a run's hundreds of events, and no test's files have to outlive a power
# cut: they go into memory, where there is room.
_MEMORY = Path("/dev/shm")  # noqa: S108
if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 4 << 30:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
