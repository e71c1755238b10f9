"""GitHub's clock against this machine's."""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from mds_assets.github.errors import GitHubError
from mds_assets.github.headers import date_of

if TYPE_CHECKING:
    import requests

# How far the clocks of two machines may differ before a time counts as in the future. Machines that synchronise differ
# by milliseconds; five minutes is also Kerberos' default, and the time from midnight to the daily schedule.
TOLERANCE = timedelta(minutes=5)

_WARN_ABOVE = timedelta(seconds=60)  # `Date` has whole seconds, and some responses take several
_HEALS_WITHIN = timedelta(minutes=2)  # Dagster retries the step twice, a minute apart


class ClockSkew:
    """Compares GitHub's clock with the local one, and warns once."""

    def __init__(self) -> None:
        """Nothing was compared yet."""
        self._has_warned = False

    def warning(self, response: "requests.Response", received_at: datetime) -> str | None:
        """The warning, if the clocks differ by more than a minute and it was not given before.

        Args:
            response: The response, with its `Date`.
            received_at: When its headers arrived, by the local clock.
        """
        github = date_of(response)
        if self._has_warned or not github or abs(received_at - github) <= _WARN_ABOVE:
            return None
        self._has_warned = True
        seconds = round((received_at - github).total_seconds())
        ahead = "ahead of" if seconds > 0 else "behind"
        return (
            f"This machine's clock is {abs(seconds):,} s {ahead} GitHub's, which says "
            f"{github:%Y-%m-%d %H:%M:%S} UTC. Synchronise it (NTP): days may be read too early or too late."
        )


def is_future(*moments: datetime | None) -> bool:
    """Whether any of these is in the future, by this machine's clock and beyond the tolerance."""
    latest = datetime.now(UTC) + TOLERANCE
    return any(moment > latest for moment in moments if moment)


def future_warning(number: int, nouns: str) -> str:
    """The warning about rows dated in the future, such as 3 `repositories`."""
    return (
        f"{number} {nouns} are dated in the future, by this machine's clock. Raw keeps them; tables by day leave them "
        "out until that time has come. Check the clocks of this machine and of the server at GITHUB_API_URL."
    )


def require_ended(day: date, clock: datetime, organisations: str) -> None:
    """Refuse a day that has not ended on GitHub's clock: what still happens on it would be lost.

    Raises:
        GitHubError: It has not. Retryable if it ends within two minutes.
    """
    end = datetime.combine(day + timedelta(days=1), time(), UTC)
    if clock < end:
        raise GitHubError(
            f"GITHUB_ORG {organisations!r}: {day} ends at {end:%Y-%m-%d %H:%M} UTC, and GitHub's clock says "
            f"{clock:%Y-%m-%d %H:%M:%S}. Nothing was landed. Check this machine's clock, and run it again in "
            f"{_in_words(end - clock)}.",
            retryable=end - clock <= _HEALS_WITHIN,
        )


def _in_words(wait: timedelta) -> str:
    hours, seconds = divmod(int(wait.total_seconds()) + 1, 3600)
    return f"{hours} h {seconds // 60 + 1} min" if hours else f"{seconds // 60 + 1} min"
