"""The sensors: what is told of runs.

What does not belong here: what starts runs (`automation.py`, `schedules.py`).

https://docs.dagster.io/guides/automate/run-status-sensors
"""

from collections.abc import Iterable, Sequence
from html import escape
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
from mds_assets.stack.settings import redact, settings

# To connect, and to answer. Dagster tells of up to five runs in one tick, and gives it 60 seconds; a tick that takes
# longer is repeated as a whole.
_SECONDS = (3.0, 5.0)

_LONGEST_REASON = 1000  # characters
_CRASH = "Run execution process"  # what Dagster says of a process that died


@run_failure_sensor(
    name="failed_runs",
    description="Writes a summary of each failed run to the log, and posts it to MDS_ALERT_WEBHOOK where that is set.",
    default_status=DefaultSensorStatus.RUNNING,
    # Dagster files runs of the command line (`mds run`) under no code location.
    monitor_all_code_locations=True,
)
def failed_runs(context: RunFailureSensorContext) -> None:
    """Tell of one failed run. A webhook that fails is a line in the log, and no error."""
    run = context.dagster_run
    engine = context.instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    crashes = [entry.message for entry in engine if _CRASH in entry.message]
    text = summary(run, context.failure_event, context.get_step_failure_events(), crashes)
    _alert(context, text)


@run_status_sensor(
    DagsterRunStatus.SUCCESS,
    name="failed_checks",
    description="Tells, as failed_runs does, of checks that do not pass in runs that succeed: each error, and the "
    "warnings of the job table_checks.",
    default_status=DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=True,
)
def failed_checks(context: RunStatusSensorContext) -> None:
    """Tell of the checks of one run. A check that blocks fails its run, which `failed_runs` tells."""
    run = context.dagster_run
    entries = context.instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    # A backfill warns of each day that is not there yet, which is no news to whoever started it.
    warnings_too = run.job_name == table_checks.name
    failed = [one for one in found if not one.passed and (warnings_too or one.severity == AssetCheckSeverity.ERROR)]
    if failed:
        _alert(context, summary_of_checks(run, failed))


def _alert(context: RunStatusSensorContext, text: str) -> None:
    """Log the text, and post it where that is asked for."""
    context.log.error("%s", text)
    if settings.alert_webhook:
        trouble = post(settings.alert_webhook.get_secret_value(), text)
        if trouble:
            run_id = context.dagster_run.run_id
            context.log.warning("MDS_ALERT_WEBHOOK was not told of run %s: %s", run_id, trouble)


def summary_of_checks(run: DagsterRun, failed: Iterable[AssetCheckEvaluation]) -> str:
    """Which checks do not pass, what they say, and how to look, without secrets."""
    checks = sorted((f"{one.asset_key.to_user_string()} {one.check_name}", one.description or "") for one in failed)
    lines = [
        f"Checks do not pass: {', '.join(name for name, _ in checks)}",
        *(f"{name}: {said}"[:_LONGEST_REASON] for name, said in checks),
        _where(run),
    ]
    return redact("\n".join(lines))


def _where(run: DagsterRun) -> str:
    return f"Run {run.run_id}: `make dev` shows it at /runs/{run.run_id}"


def summary(run: DagsterRun, failure: DagsterEvent, steps: Sequence[DagsterEvent], crashes: Iterable[str] = ()) -> str:
    """What failed, of which days, where and why, and how to look, without secrets.

    Args:
        run: The failed run.
        failure: The event of its failure.
        steps: The events of its steps' failures; none where it failed before or between steps.
        crashes: What Dagster's code server said of the run's process, if it died.
    """
    tags = run.tags
    # A run of the UI or of automation is one of Dagster's own job, whose name says nothing.
    tables = sorted(key.to_user_string() for key in run.asset_selection or ())
    what = ", ".join(tables) if tables and run.job_name.startswith("__") else run.job_name
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    days = tags.get("dagster/partition") or (f"{first}...{last}" if first else "")
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
    return redact("\n".join(lines))


def post(webhook: str, text: str) -> str | None:
    """Post `{"text": ...}`, which Slack, Mattermost and others take.

    Returns:
        None, or why it failed, without any part of the webhook's URL: whoever knows it may post.
    """
    import requests  # not for every process that loads the definitions

    with requests.Session() as session:
        session.trust_env = not is_loopback(urlsplit(webhook).hostname or "")  # a proxy cannot reach this machine
        try:
            # Slack reads <!channel> and the like as commands, and asks for these three characters to be escaped.
            payload = {"text": escape(text, quote=False)}
            # Not followed: a redirect would lead a text about private repositories to another host.
            answer = session.post(webhook, json=payload, timeout=_SECONDS, allow_redirects=False, stream=True)
        except (requests.RequestException, OSError, ValueError) as error:
            return type(_innermost(error)).__name__
    return None if 200 <= answer.status_code < 300 else f"it answered {answer.status_code}"


def _innermost(error: BaseException) -> BaseException:
    while error.__context__:
        error = error.__context__
    return error
