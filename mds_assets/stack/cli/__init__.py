"""`mds`: run the whole project from a terminal. It calls Dagster underneath, on the same instance.

A source adds options to `mds run` with a module `options.py`, and closing lines with its settings.
"""

import signal
import sys

from mds_assets.stack.cli.interrupts import raise_received, watch

INTERRUPTED = 130  # the exit code, as shells have it


def main() -> None:
    """Run the command; an error is one line on standard error, with exit code 1."""
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
    sys.exit(code)
