"""The sensors that post alerts about runs. What starts runs is in `automation.py` and `schedules.py`.

https://docs.dagster.io/guides/automate/run-status-sensors
"""

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    DagsterEvent,
    DagsterEventType,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunFailureSensorContext,
    RunStatusSensorContext,
    run_failure_sensor,
    run_status_sensor,
)

from mds_assets.stack.failures import reason, root
from mds_assets.stack.jobs import table_checks
from mds_assets.stack.loopback import is_loopback
from mds_assets.stack.names import DAY_TAG, FIRST_DAY_TAG, LAST_DAY_TAG
from mds_assets.stack.settings import redact, settings
from mds_assets.stack.text import chat_text, printable

# Connect and read timeouts. Dagster reports up to five runs per tick, and allows it 60 seconds; a tick that takes
# longer is repeated entirely.
_SECONDS = (3.0, 5.0)

_LONGEST_REASON = 1000  # characters
_CRASH = "Run execution process"  # the start of Dagster's message about a process that died


@run_failure_sensor(
    name="failed_runs",
    description="Writes a summary of each failed run to the log, and posts it to MDS_ALERT_WEBHOOK where that is set.",
    default_status=DefaultSensorStatus.RUNNING,
    # Dagster assigns command-line runs (`mds run`) to no code location.
    monitor_all_code_locations=True,
)
def failed_runs(context: RunFailureSensorContext) -> None:
    """Report one failed run. A failing webhook is logged and is not an error."""
    run = context.dagster_run
    engine = context.instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    crashes = [entry.message for entry in engine if _CRASH in entry.message]
    text = summary(run, context.failure_event, context.get_step_failure_events(), crashes)
    _alert(context, text)


@run_status_sensor(
    DagsterRunStatus.SUCCESS,
    name="failed_checks",
    description="Reports, like failed_runs, failed checks in successful runs: every error, and the warnings of the job "
    "table_checks.",
    default_status=DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=True,
)
def failed_checks(context: RunStatusSensorContext) -> None:
    """Report the failed checks of one run. A blocking check fails its run, which `failed_runs` reports."""
    run = context.dagster_run
    entries = context.instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    # In a range, `is_valid` has an evaluation for each day and one for all.
    by_day = {one.asset_check_key for one in found if one.partition}
    found = [one for one in found if one.partition or one.asset_check_key not in by_day]
    # A backfill warns about every day that does not exist yet, which is no news to the person who started it.
    warnings_too = run.job_name == table_checks.name
    failed = [one for one in found if not one.passed and (warnings_too or one.severity == AssetCheckSeverity.ERROR)]
    if failed:
        _alert(context, summary_of_checks(run, failed))


def _alert(context: RunStatusSensorContext, text: str) -> None:
    """Log the text, and post it if a webhook is configured."""
    context.log.error("%s", text)
    if settings.alert_webhook:
        trouble = post(settings.alert_webhook.get_secret_value(), text)
        if trouble:
            run_id = context.dagster_run.run_id
            context.log.warning("MDS_ALERT_WEBHOOK was not notified of run %s: %s", run_id, trouble)


def summary_of_checks(run: DagsterRun, failed: Iterable[AssetCheckEvaluation]) -> str:
    """Which checks failed, their messages, and where to look, without secrets."""
    checks = sorted(
        (
            f"{one.asset_key.to_user_string()} {one.check_name}{f' of {one.partition}' if one.partition else ''}",
            one.description or "",
        )
        for one in failed
    )
    lines = [
        f"Failed checks: {', '.join(name for name, _ in checks)}",
        *(f"{name}: {message}"[:_LONGEST_REASON] for name, message in checks),
        _where(run),
    ]
    return _joined(lines)


def _joined(lines: Iterable[str]) -> str:
    """One line each: what a line quotes must not look like another one."""
    return "\n".join(printable(redact(line)) for line in lines)


def _where(run: DagsterRun) -> str:
    return f"Run {run.run_id}: `make dev` shows it at /runs/{run.run_id}"


def summary(run: DagsterRun, failure: DagsterEvent, steps: Sequence[DagsterEvent], crashes: Iterable[str] = ()) -> str:
    """What failed, for which days, where and why, and where to look, without secrets.

    Args:
        run: The failed run.
        failure: The event of its failure.
        steps: The failure events of its steps; empty if it failed before or between steps.
        crashes: Messages from Dagster's code server about the run's process, if it died.
    """
    tags = run.tags
    # Runs from the UI or from automation use a job of Dagster's own, whose name is meaningless.
    tables = sorted(key.to_user_string() for key in run.asset_selection or ())
    what = ", ".join(tables) if tables and run.job_name.startswith("__") else run.job_name
    first, last = tags.get(FIRST_DAY_TAG), tags.get(LAST_DAY_TAG)
    days = tags.get(DAY_TAG) or (f"{first}...{last}" if first else "")
    where = ", ".join(str(event.step_key) for event in steps)
    if steps:
        why = [reason(event) for event in steps]
    else:
        error = getattr(failure.event_specific_data, "error", None)
        why = [root(error)] if error else [failure.message or "failed", *crashes]
    lines = [
        f"Failed: {what}{f' of {days}' if days else ''}{f', at {where}' if where else ''}",
        *(line[:_LONGEST_REASON] for line in why),
        _where(run) + ("; Dagster tries it once more" if tags.get("dagster/will_retry") == "true" else ""),
    ]
    return _joined(lines)


def post(webhook: str, text: str) -> str | None:
    """Post `{"text": ...}`, which Slack, Mattermost and others take, as a code block: nothing in it is a command.

    Returns:
        None, or why it failed, without any part of the webhook's URL, because anyone who has the URL can post.
    """
    import requests  # not for every process that loads the definitions

    with requests.Session() as session:
        session.trust_env = not is_loopback(urlsplit(webhook).hostname or "")  # a proxy cannot reach this machine
        try:
            payload = {"text": chat_text(text)}
            # Redirects are not followed: one could send text about private repositories to another host.
            answer = session.post(webhook, json=payload, timeout=_SECONDS, allow_redirects=False, stream=True)
        except (requests.RequestException, OSError, ValueError) as error:
            return type(_innermost(error)).__name__
    return None if 200 <= answer.status_code < 300 else f"it answered {answer.status_code}"


def _innermost(error: BaseException) -> BaseException:
    while error.__context__:
        error = error.__context__
    return error
