"""Runs one command and writes what it took as JSON: `python -IS wrapper.py RESULT MEMORY_LIMIT COMMAND...`.

A small process of its own, because a process inherits the peak memory of the one that forks it, and the runner is
large. `MEMORY_LIMIT` is in bytes, 0 for none. It is the limit of a control group, as that of a container or a service
is: resident memory and the page cache of what is read and written count, addresses that no memory stands behind do not
(https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files). Beyond it Linux kills the process. Setting
it takes root.
"""

import json
import os
import sys
import time
from pathlib import Path

# Of the first version of control groups, if this machine still has that one, and of the second.
_GROUPS = (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max")


def main(result: str, memory_limit: str, command: list[str]) -> int:
    """Run the command; its exit code is ours."""
    group = _limited(memory_limit) if int(memory_limit) else None
    started = time.perf_counter()
    child = os.fork()
    if not child:
        if group:
            (group / "cgroup.procs").write_text(str(os.getpid()))
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    _, status, usage = os.wait4(child, 0)
    if group:
        group.rmdir()
    took = {
        "wall": time.perf_counter() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        # Linux counts kB, of the largest of the process and the children that it waited for.
        "peak_mb": usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2),
    }
    Path(result).write_text(json.dumps(took), encoding="utf-8")
    return os.waitstatus_to_exitcode(status)


def _limited(memory_limit: str) -> Path:
    """A new control group with this limit."""
    root, file = next((root, file) for root, file in _GROUPS if root.is_dir())
    group = root / f"bench-{os.getpid()}"
    group.mkdir()
    (group / file).write_text(memory_limit)
    return group


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
