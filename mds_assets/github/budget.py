"""What a table will ask of GitHub, said before it asks.

https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Budget:
    """The requests that a table will make at least, and what is left of the limit that they count against.

    Attributes:
        what: The rows that they are for, such as `pushes`.
        requests: How many it will be at least: further pages and retries come on top.
        remaining: Requests left in the current hour, as GitHub last said; None when it did not.
        resets_at: When that hour ends, UTC; None when GitHub did not say.
        per_minute: Of searches, which the hour does not limit: how many a minute may have.
    """

    what: str
    requests: int
    remaining: int | None = None
    resets_at: datetime | None = None
    per_minute: int | None = None

    @property
    def is_affordable(self) -> bool:
        """Whether what is left of the hour may suffice. Searches always are: they only take time."""
        return self.remaining is None or self.requests <= self.remaining

    def __str__(self) -> str:
        """One line, such as `pushes: some 35 requests; 4965 left this hour`."""
        left = "unknown" if self.remaining is None else self.remaining
        limit = f"{self.per_minute} a minute" if self.per_minute else f"{left} left this hour"
        return f"{self.what}: some {self.requests} requests; {limit}"
