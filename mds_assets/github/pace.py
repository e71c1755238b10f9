"""Client-side pacing for searches, which GitHub limits by the minute.

https://docs.github.com/en/rest/search/search#rate-limit
"""

from collections.abc import Callable

from mds_assets.github.errors import PacedError

_WINDOW = 61.0  # seconds: GitHub's minute, plus one for network latency


class Pace:
    """Caps the requests in any minute, so that GitHub never has to reject one.

    Attributes:
        per_minute: The limit: from GitHub's last search response, or the documented one before that.
    """

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        """Start with the whole limit available; `monotonic` returns seconds."""
        self.per_minute = per_minute
        self._monotonic = monotonic
        self._sent_at: list[float] = []
        self._not_before = 0.0

    def take(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            PacedError: It must wait.
        """
        now = self._monotonic()
        self._sent_at = [at for at in self._sent_at if at > now - _WINDOW]
        wait = self._not_before - now
        if len(self._sent_at) >= self.per_minute:
            wait = max(wait, self._sent_at[-self.per_minute] + _WINDOW - now)
        if wait > 0:
            raise PacedError(f"GitHub allows {self.per_minute} searches a minute", wait)
        self._sent_at.append(now)

    def adjust(self, limit: int | None, remaining: int | None, seconds_to_reset: float | None) -> None:
        """Apply the limit from a response: other clients may be searching with the same token."""
        self.per_minute = limit or self.per_minute
        if remaining == 0 and seconds_to_reset is not None:
            self._not_before = self._monotonic() + seconds_to_reset
