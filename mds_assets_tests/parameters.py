"""Parameters of tests, of which `make test` takes some and `make test-all` all."""

from collections.abc import Iterable

import pytest


def slow_except(*quick: object, of: Iterable[object], seconds: float) -> list[pytest.ParameterSet]:
    """Values for `parametrize`, all but the quick ones marked slow."""
    return [pytest.param(value, marks=() if value in quick else pytest.mark.slow(seconds)) for value in of]
