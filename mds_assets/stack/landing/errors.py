"""Classify errors while a source lands: a one-line message, and whether to retry."""

import http.client

import requests
import urllib3
from dlt.common.exceptions import DltException

_TOO_MANY_REQUESTS, _SERVER_ERRORS = 429, 500

# The network, a server, a truncated response.
_TRANSIENT_ERRORS = (
    ConnectionError,
    TimeoutError,
    http.client.IncompleteRead,
    requests.ConnectionError,
    requests.JSONDecodeError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
)
# In SQLAlchemy and all DB-API drivers, errors with these names mean that the database cannot be reached.
_TRANSIENT_NAMES = {"OperationalError", "InterfaceError"}


class LandingError(Exception):
    """A source cannot be landed. The message is one line.

    Attributes:
        retryable: Whether a retry may help.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        """Keep the message on one line."""
        super().__init__(" ".join(message.split()))
        self.retryable = retryable


def landing_error(error: BaseException, name: str) -> BaseException:
    """The original error, without dlt's wrappers.

    An error with a `retryable` attribute was classified by the source, and a plain OSError means a disk problem: both
    are returned unchanged. Any other becomes a LandingError that names the table.
    """
    # dlt wraps an error several times, each quoting the last.
    while isinstance(error, DltException) and not hasattr(error, "retryable"):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        error = cause
    if hasattr(error, "retryable") or not isinstance(error, Exception):
        return error
    retryable = _is_transient(error)
    # requests' errors are OSErrors too.
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException) and not retryable:
        # On a full disk, dlt fails again during cleanup; the first error has the reason.
        while isinstance(error.__context__, OSError):
            error = error.__context__
        return error
    landing = LandingError(f"{name}: {type(error).__name__}: {error}", retryable=retryable)
    landing.__cause__ = error
    return landing


def _is_transient(error: Exception) -> bool:
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else 0
        return status == _TOO_MANY_REQUESTS or status >= _SERVER_ERRORS
    return isinstance(error, _TRANSIENT_ERRORS) or any(cls.__name__ in _TRANSIENT_NAMES for cls in type(error).__mro__)
