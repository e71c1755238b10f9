"""How a process uses memory: no search for garbage where there is none, and no allocator that keeps what was freed.

The imports of Dagster, Polars and the project make a million objects that stay until the process ends. Looking through
them for garbage, again and again, takes a tenth of a short run.
"""

import atexit
import gc
import os


def before_imports() -> None:
    """Collect no garbage until `after_imports`, and choose the allocator of Arrow, which reads it once."""
    gc.disable()
    # Arrow's own keeps what was freed: 40 MB of a run that lands 10,000 repositories.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def after_imports() -> None:
    """Collect garbage from now on, seldom, and only among the objects that are made from now on."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # a run makes many objects and few cycles
    gc.enable()
    atexit.register(_free)


def _free() -> None:
    """Free all objects once: those of DuckDB that outlive the process make it print a page about leaks.

    Python collects garbage twice as it ends. The first time nothing is garbage yet, and only that one can be disabled.
    """
    gc.unfreeze()
    gc.disable()
