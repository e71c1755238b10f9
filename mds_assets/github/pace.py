"""The pace of requests that GitHub limits by the minute: searches.

https://docs.github.com/en/rest/search/search#rate-limit
"""

from collections.abc import Callable

from mds_assets.github.errors import PacedError

_WINDOW = 61.0  # seconds: GitHub's minute, and a second for what the network delays


class Pace:
    """At most so many requests in any minute, so that GitHub never has to refuse one.

    Attributes:
        per_minute: The limit: what GitHub last said, or its documented one.
    """

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        """Begin with a whole minute's requests; `monotonic` tells seconds."""
        self.per_minute = per_minute
        self._monotonic = monotonic
        self._sent: list[float] = []
        self._not_before = 0.0

    def take(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            PacedError: It has to wait.
        """
        now = self._monotonic()
        self._sent = [at for at in self._sent if at > now - _WINDOW]
        wait = self._not_before - now
        if len(self._sent) >= self.per_minute:
            wait = max(wait, self._sent[-self.per_minute] + _WINDOW - now)
        if wait > 0:
            raise PacedError(f"GitHub allows {self.per_minute} searches a minute", wait)
        self._sent.append(now)

    def adjust(self, limit: int | None, remaining: int | None, seconds_to_reset: float | None) -> None:
        """Keep to what GitHub said: others may search with the same token."""
        self.per_minute = limit or self.per_minute
        if remaining == 0 and seconds_to_reset is not None:
            self._not_before = self._monotonic() + seconds_to_reset
