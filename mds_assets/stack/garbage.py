"""No garbage collection while a process imports the project; afterwards, none of what it has imported.

The imports of Dagster, Polars and the project make a million objects that stay until the process ends. Looking through
them for garbage, again and again, takes a tenth of a short run.
"""

import atexit
import gc


def pause() -> None:
    """Collect nothing until `resume`."""
    gc.disable()


def resume() -> None:
    """Collect garbage from now on, but only among the objects that are made from now on."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # objects of DuckDB that outlive the process make it print a page about leaks
