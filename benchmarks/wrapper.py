"""Runs one command and writes what it took as JSON: `python -IS wrapper.py RESULT DATA_LIMIT COMMAND...`.

A small process of its own, because a process inherits the peak memory of the one that forks it, and the runner is
large. `DATA_LIMIT` is RLIMIT_DATA in bytes, 0 for none (https://man7.org/linux/man-pages/man2/getrlimit.2.html): what
the process may have of private writable memory, all that is its own and cannot be read again from a file. RLIMIT_AS
would count addresses as well that no memory stands behind: files that Polars maps, what allocators reserve.
"""

import json
import os
import resource
import sys
import time


def main(result: str, data_limit: str, command: list[str]) -> int:
    """Run the command; its exit code is ours."""
    started = time.perf_counter()
    child = os.fork()
    if not child:
        if int(data_limit):
            resource.setrlimit(resource.RLIMIT_DATA, (int(data_limit), int(data_limit)))
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    _, status, usage = os.wait4(child, 0)
    took = {
        "wall": time.perf_counter() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        # Linux counts kB, of the largest of the process and the children that it waited for.
        "peak_mb": usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2),
    }
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123  # pathlib takes longer to import than this runs
        json.dump(took, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
