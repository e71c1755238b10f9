"""How many requests a table needs, estimated before it sends them.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Budget:
    """The fewest requests a table needs, and what is left of the rate limit they count against.

    Attributes:
        table: What they read, such as `pushes`.
        requests: A lower bound: further pages and retries come on top.
        remaining: Requests left in the current hour, from GitHub's last response; None if unknown.
        resets_at: When that hour ends, UTC; None if unknown.
        per_minute: For searches, which have a per-minute limit instead of the hourly one: that limit.
    """

    table: str
    requests: int
    remaining: int | None = None
    resets_at: datetime | None = None
    per_minute: int | None = None

    @property
    def is_affordable(self) -> bool:
        """Whether the rest of the hour covers `requests`. True for searches: they only take time."""
        return self.remaining is None or self.requests <= self.remaining

    def __str__(self) -> str:
        """One line, such as `pushes: at least 35 requests; 4965 left this hour`."""
        left = "unknown" if self.remaining is None else self.remaining
        limit = f"{self.per_minute} a minute" if self.per_minute else f"{left} left this hour"
        return f"{self.table}: at least {self.requests} requests; {limit}"
