"""What a run prints if no logger is configured: `dg launch`, `dagster asset materialize`, runs of the daemon.

Dagster prints each event of a run, at level DEBUG: some ten lines per table. Here, a run prints one line per step that
made tables, each failed check, retry and skipped raw table, and what its code logs at INFO or above. Dagster's event
log keeps every event, so the UI shows them all.

`python_logs` in `dagster.yaml` and `loggers` in run config take precedence.

https://docs.dagster.io/guides/log-debug/logging/python-logging
"""

import logging
import warnings
from collections.abc import Mapping, Sequence

from dagster import BetaWarning, DagsterEvent, DagsterEventType, DagsterInstance, InitLoggerContext, LoggerDefinition
from dagster._core.execution import context_creation_job
from dagster._loggers import default_system_loggers

from mds_assets.stack.failures import root
from mds_assets.stack.names import SKIPPED

_SHOWN = {DagsterEventType.RUN_SUCCESS, DagsterEventType.STEP_UP_FOR_RETRY}


def shorten_run_logs() -> None:
    """Make runs of this process print what a reader acts on. Dagster has no setting for its default logger."""
    context_creation_job.default_system_loggers = _loggers  # pyright: ignore[reportPrivateImportUsage]
    # Dagster's own call, each time a selection such as `group:marts` is read.
    warnings.filterwarnings("ignore", "Parameter `include_sources`", BetaWarning)


def _loggers(instance: DagsterInstance | None) -> Sequence[tuple[LoggerDefinition, Mapping[str, object]]]:
    """Dagster's default logger, which prints fewer and shorter lines."""
    ((console, config),) = default_system_loggers(instance)
    if instance and instance.python_log_level:
        return [(console, config)]

    def shortened(context: InitLoggerContext) -> logging.Logger:
        made = console.logger_fn(context)
        made.addFilter(_Shorten())
        return made

    return [(LoggerDefinition(shortened, console.config_schema), config)]


def _in_one_line(message: str, event: DagsterEvent | None) -> str | None:
    """The message of an event with its cause, where Dagster's has none, or a stack that helps nobody."""
    if event and _is_skip(event):
        observation = event.asset_observation_data.asset_observation
        return f"{observation.asset_key.to_user_string()} {observation.description}"
    if event and event.event_type == DagsterEventType.STEP_UP_FOR_RETRY:
        return f"{message} {root(event.step_retry_data.error)}"
    if event and event.is_step_failure and (given := event.step_failure_data.user_failure_data) and given.description:
        return f"{message} {given.description}"  # the code that raised it says what is wrong
    if event and event.event_type == DagsterEventType.RUN_FAILURE and event.job_failure_data.first_step_failure_event:
        return message  # the step's failure was printed
    return None


def _is_skip(event: DagsterEvent) -> bool:
    """Whether a raw table says why it landed nothing."""
    is_observation = event.event_type == DagsterEventType.ASSET_OBSERVATION
    return is_observation and SKIPPED in event.asset_observation_data.asset_observation.metadata


class _Shorten(logging.Filter):
    """Passes the records of one run that a reader acts on, without what is the same in all of its lines."""

    def __init__(self) -> None:
        super().__init__()
        self._made_tables = set[str | None]()  # steps that did

    def filter(self, record: logging.LogRecord) -> bool:
        metadata = getattr(record, "dagster_meta", None)
        if metadata is None:
            return record.levelno >= logging.INFO
        message, event = metadata["orig_message"], metadata["dagster_event"]
        record.levelno = self._level(record.levelno, event)
        record.levelname = logging.getLevelName(record.levelno)
        # Job, full run id, process, step and event's name stand before the message, the error's stack behind it.
        text = _in_one_line(message, event) or record.msg[max(record.msg.find(message), 0) :]
        run = metadata["run_id"]  # None outside of runs, such as in a resource that a script opens
        record.msg = f"{run[:8]} - {text}" if run else text
        # Dagster logs one such line for each step downstream of what was skipped.
        return record.levelno >= logging.INFO and not message.startswith("Skipping step ")

    def _level(self, level: int, event: DagsterEvent | None) -> int:
        if event is None:
            return level
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            self._made_tables.add(event.step_key)
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            if not event.asset_check_evaluation_data.passed:
                return max(level, logging.WARNING)
        elif _is_skip(event):
            return max(level, logging.WARNING)
        elif event.event_type in _SHOWN or (event.is_step_success and event.step_key in self._made_tables):
            return max(level, logging.INFO)
        return level
