"""Why a step failed, as the one line that the terminal and the alert show.

It may contain secrets: callers that publish it redact it.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterEvent
    from dagster_shared.error import SerializableErrorInfo


def reason(failure: "DagsterEvent") -> str:
    """Why a step failed: the description that its code gave, else the original error."""
    given = failure.step_failure_data.user_failure_data
    return (given and given.description) or root(failure.step_failure_data.error)


def table_of(step: "DagsterEvent") -> str:
    """The table that a step makes."""
    return (step.step_key or "").replace("__", "/", 1)


def root(error: "SerializableErrorInfo | None") -> str:
    """The first line of the innermost cause, plus the next line if it ends with a colon."""
    while error and error.cause:
        error = error.cause
    if not error:
        return "failed"
    first, *others = error.message.strip().splitlines()
    message = (
        " ".join([first, *others[:1]]) if first.endswith(":") else first
    )  # Dagster names blocking checks like that
    # Dagster prefixes the exception's class with its module. Its own class for a reason in words adds nothing to it.
    return re.sub(r"^[\w.]+\.(?=\w+: )(Failure: )?", "", message)
