"""A response's body as JSON: what JSON forbids, or Python reads differently elsewhere, is rejected here."""

import json
from math import isfinite
from typing import Any

MAX_LEVELS = 100  # GitHub's bodies have fewer than 10; Python's recursion limit would end in an error without a name


class InvalidBodyError(Exception):
    """The body is complete but cannot be used. The message continues the sentence `it has ...`."""


def parse_json(content: bytes | bytearray) -> Any:
    """Parse the body.

    Raises:
        json.JSONDecodeError: It is not JSON, or truncated.
        UnicodeDecodeError: It is not UTF-8, or truncated.
        InvalidBodyError: It has a number that is not finite or has over 4,300 digits, or is nested too deeply.
    """
    try:
        body = json.loads(content, parse_float=_finite, parse_constant=_finite)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # int()
        raise InvalidBodyError("a number with over 4,300 digits") from None
    except RecursionError:
        raise InvalidBodyError("too many levels of nesting") from None
    if _is_deeper(body, MAX_LEVELS):
        raise InvalidBodyError(f"more than {MAX_LEVELS} levels of nesting")
    return body


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):  # JSON has neither NaN nor Infinity, and DuckDB reads neither from JSON text
        raise InvalidBodyError(f"the number {text[:20]}")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than this, without recursion."""
    level: list[Any] = [value]
    for _ in range(levels + 1):
        containers: list[Any] = [each for each in level if isinstance(each, list | dict)]
        if not containers:
            return False
        level = [child for each in containers for child in (each.values() if isinstance(each, dict) else each)]
    return True
