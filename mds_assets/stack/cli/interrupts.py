"""Interrupts (Ctrl-C) that are never lost: a library that swallows one, say while it is imported, only delays it."""

import signal
from types import FrameType
from typing import NoReturn


class Interrupts:
    """The process's handler of SIGINT; Dagster puts its own in its place while a run goes on."""

    def __init__(self) -> None:
        """Nothing was received yet."""
        self.received = False

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        """Remember the interrupt, and raise it as Python does."""
        self.received = True
        raise KeyboardInterrupt


def watch() -> None:
    """Handle interrupts from now on."""
    signal.signal(signal.SIGINT, Interrupts())


def raise_received() -> None:
    """Raise an interrupt that somebody swallowed."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Interrupts) and handler.received:
        raise KeyboardInterrupt
