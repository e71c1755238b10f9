"""Python's garbage collector and Arrow's allocator, tuned for short runs.

The imports of Dagster, Polars and the project make a million objects that stay until the process ends. Looking through
them for garbage, again and again, takes a tenth of a short run.
"""

import atexit
import gc
import os


def before_imports() -> None:
    """Collect no garbage until `after_imports`, and choose the allocator of Arrow, which reads it once."""
    gc.disable()
    # Arrow's default allocator holds on to freed memory: 40 MB of a run that lands 10,000 repositories.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def after_imports() -> None:
    """Collect garbage from now on, seldom, and only among the objects that are made from now on."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # a run makes many objects and few cycles
    gc.enable()
    atexit.register(_collect_once_at_exit)


def _collect_once_at_exit() -> None:
    """Python collects garbage twice at exit; skip the first time, which finds nothing.

    The second one has to see all objects: those of DuckDB that outlive the process make it print a page about leaks.
    """
    gc.unfreeze()
    gc.disable()
