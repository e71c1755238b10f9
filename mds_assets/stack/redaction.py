"""Keeps secrets, and characters that act, out of what a process prints, logs and stores with Dagster.

Code of a source can quote a secret anywhere: in an exception of a resource, in SQL, in a log message. No call of ours
sees them all, so this goes where all of them pass: Python's log records, warnings and uncaught exceptions, those of
threads and finalizers too, Dagster's errors and events. What code prints by itself (`print`) is not covered: use
`context.log`.
"""

import json
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

import click

from mds_assets.stack.text import log_text, printable

# Of a stored event: what people write. Keys, partitions and the like stay as they are, whatever a secret looks like.
_WRITTEN = {"user_message", "message", "description", "label", "metadata", "metadata_entries", "error", "error_info"}

_FORMAT_WARNING = warnings.formatwarning


def shown(text: str, keep: str = "") -> str:
    """The text without secrets, and with an escape for each character that acts; see `text.printable`."""
    return printable(_redact(text), keep=keep)


def _redact(text: str) -> str:
    try:
        from mds_assets.stack.settings import redact  # here, because commands turn their options into settings first
    except (click.ClickException, ImportError):  # a setting is wrong, or they are being read
        return text
    return redact(text)


def guard_output() -> None:
    """Clean the log records, the warnings and the uncaught exceptions of this process."""
    make = logging.getLogRecordFactory()
    # Once, though `mds` guards its output before the definitions guard theirs: cleaning a record takes time.
    if not (isinstance(make, partial) and make.func is _make_clean):
        logging.setLogRecordFactory(partial(_make_clean, make))
    sys.excepthook = _print_exception
    # The text of `showwarning`, which `catch_warnings` resets to Python's own.
    warnings.formatwarning = _format_warning
    # Not those of a test runner, which collects what it is given.
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _print_exception_of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _print_unraisable


def _make_clean(make: Callable[..., logging.LogRecord], *args: Any, **options: Any) -> logging.LogRecord:
    return _cleaned(make(*args, **options))


def _cleaned(record: logging.LogRecord) -> logging.LogRecord:
    """The record, with its message and arguments one by one: some handlers (uvicorn's) read the arguments."""
    record.msg = _clean(record.msg)
    if isinstance(record.args, dict):
        record.args = {name: _clean(value) for name, value in record.args.items()}
    elif record.args:
        record.args = tuple(map(_clean, record.args))
    if record.exc_info and record.exc_info[0]:
        record.exc_text = log_text(_redact(logging.Formatter().formatException(record.exc_info)))
    return record


def _clean(value: Any) -> Any:
    """The value itself if its text is clean: a format such as %d needs its type."""
    if value is None or isinstance(value, int | float):
        return value
    try:
        text = str(value)
    except Exception:  # whatever its code raises, logging deals with it
        return value
    cleaned = log_text(_redact(text))
    return value if cleaned == text else cleaned


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _print("", kind, error, trace)


def _print_exception_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:  # as Python's own hook does
        return
    name = args.thread.name if args.thread else "unknown"
    _print(f"Exception in thread {name}:\n", args.exc_type, args.exc_value, args.exc_traceback)


def _print_unraisable(args: "sys.UnraisableHookArgs") -> None:
    owner = ""
    with suppress(Exception):  # the object is being destroyed
        owner = f": {args.object!r}"
    _print(f"{args.err_msg or 'Exception ignored in'}{owner}\n", args.exc_type, args.exc_value, args.exc_traceback)


def _print(title: str, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if sys.stderr:  # None while Python ends
        sys.stderr.write(shown(title + "".join(traceback.format_exception(kind, error, trace)), keep="\n"))


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return shown(_FORMAT_WARNING(message, category, filename, lineno, line), keep="\n")


def guard_dagster() -> None:
    """Clean the errors that Dagster makes of exceptions, and the events that it stores.

    Dagster has no hook for either, except classes in `dagster.yaml`, which not every instance has.
    """
    from dagster import DagsterInstance
    from dagster_shared.error import SerializableErrorInfo

    describe: Callable[..., Any] = SerializableErrorInfo.from_traceback.__func__
    store = DagsterInstance.handle_new_event

    def from_traceback(cls: Any, tb: traceback.TracebackException) -> Any:
        error = describe(cls, tb)  # which calls this for its cause
        stack = [shown(line, keep="\n\t") for line in error.stack]
        return error._replace(message=shown(error.message, keep="\n\t"), stack=stack)

    def handle_new_event(self: DagsterInstance, event: Any, **options: Any) -> None:
        store(self, _without_secrets(event), **options)

    SerializableErrorInfo.from_traceback = classmethod(from_traceback)  # pyright: ignore[reportAttributeAccessIssue]
    DagsterInstance.handle_new_event = handle_new_event


def _without_secrets(event: Any) -> Any:
    from dagster import EventLogEntry
    from dagster._serdes import deserialize_value, serialize_value

    from mds_assets.stack.settings import has_secrets

    if not has_secrets():
        return event
    stored = json.loads(serialize_value(event))
    cleaned = _redacted(stored)
    return event if cleaned == stored else deserialize_value(json.dumps(cleaned), EventLogEntry)


def _redacted(value: Any, *, is_written: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            name: part if name.startswith("__") else _redacted(part, is_written=is_written or name in _WRITTEN)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_redacted(part, is_written=is_written) for part in value]
    return _redact(value) if is_written and isinstance(value, str) else value
