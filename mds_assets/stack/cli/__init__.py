"""`mds`: run the whole project from a terminal. It calls Dagster underneath, on the same instance.

A source adds options to `mds run` with a module `options.py`, and closing lines with its settings.
"""

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from mds_assets.stack import memory
from mds_assets.stack.cli.interrupts import raise_received, watch

INTERRUPTED = 130  # the exit code, as shells have it


def main() -> NoReturn:
    """Run the command; an error is one line on standard error, with exit code 1, or 2 if the command was misspelt."""
    memory.before_imports()  # until the definitions are imported
    try:
        watch()
        # Here, so that an interrupt while it is imported is one line, too.
        from mds_assets.stack.cli.app import run_app

        code = run_app()
        raise_received()
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; nothing is half-written; run it again\n")
        code = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt while Python ends needs no traceback
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process without freeing its million objects one by one, which takes a second of a short run."""
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # as multiprocessing does
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)
