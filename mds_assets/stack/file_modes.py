"""Who may read the lake's files and Dagster's records: by default only their owner, once a source has or had a secret.

What a secret gave access to is private, and the tables repeat it. The process's umask covers every engine that writes:
DuckDB, Polars, pyarrow, dlt, SQLite. The mode of the two root folders covers what was there before.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal

from mds_assets.stack.settings import Settings, has_source_secrets, is_private, is_remote

_UMASKS: dict[Literal["owner", "group"], int] = {"owner": 0o077, "group": 0o027}


def restrict_files(settings: Settings) -> None:
    """Let only these readers read what this process writes, and what is in the lake and in DAGSTER_HOME already."""
    # Every command comes here: none should wait for a store, and what a store holds is not in these files.
    private = has_source_secrets() if is_remote(settings.data_dir) else is_private(settings)
    readers = settings.readable_by or ("owner" if private else "everyone")
    if readers == "everyone":  # as the umask of whoever started the process says
        return
    os.umask(os.umask(0o077) | _UMASKS[readers])
    roots = [] if is_remote(settings.data_dir) else [settings.data_dir]
    roots += filter(None, [os.environ.get("DAGSTER_HOME")])
    for root in map(Path, roots):
        _close(root, _UMASKS[readers])


def _close(root: Path, umask: int) -> None:
    # Never a folder that is more than ours; and one of another owner can't be changed.
    if root.resolve() in {Path("/"), Path.home()}:
        return
    with suppress(OSError):
        mode = root.stat().st_mode
        if mode & umask and not mode & stat.S_ISVTX:
            root.chmod(stat.S_IMODE(mode) & ~umask)
