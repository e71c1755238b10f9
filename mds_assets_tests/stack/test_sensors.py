"""Promises of the alert: one clear text for each failed run, without secrets, whatever becomes of the webhook."""

import logging
import time
from collections.abc import Iterator
from datetime import date
from html import unescape
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
    AssetSelection,
    DagsterEvent,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    Definitions,
    Failure,
    RunFailureSensorContext,
    asset_check,
    build_run_status_sensor_context,
    build_sensor_context,
    define_asset_job,
    job,
    op,
)
from pydantic import SecretStr

import mds_assets.stack.settings as stack_settings
from mds_assets.definitions import defs
from mds_assets.stack import sensors
from mds_assets.stack.blocks import mart
from mds_assets.stack.sensors import failed_runs, post
from mds_assets.stack.settings import Settings, settings
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.webhook import Webhook, answer

TOKEN = "ghp_1234567890abcdefSECRET"
DAY, LAST = date(2019, 10, 24), date(2019, 10, 25)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield server


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance with real records; nothing runs on it before its fixtures are there."""
    with DagsterInstance.from_config(str(Runs(tmp_path).home)) as instance:
        yield instance


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, webhook: Webhook) -> Settings:
    """The sensor's settings: the webhook."""
    secrets = {"alert_webhook": SecretStr(webhook.url)}
    monkeypatch.setattr(sensors, "settings", settings.model_copy(update=secrets))
    monkeypatch.setattr(stack_settings, "settings", sensors.settings)  # `redact` knows its secrets
    return sensors.settings


def told(instance: DagsterInstance, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the sensor logs of the newest run."""
    (record,) = instance.get_run_records(limit=1)
    assert record.dagster_run.status == DagsterRunStatus.FAILURE
    (failure,) = [
        entry.dagster_event
        for entry in instance.all_logs(record.dagster_run.run_id)
        if entry.dagster_event and entry.dagster_event.is_run_failure
    ]
    return run_sensor(instance, record.dagster_run.run_id, failure, caplog)


def run_sensor(
    instance: DagsterInstance, run_id: str, failure: DagsterEvent, caplog: pytest.LogCaptureFixture
) -> list[str]:
    run = instance.get_run_by_id(run_id)
    assert run
    context = build_run_status_sensor_context("failed_runs", failure, instance, run).for_run_failure()
    assert isinstance(context, RunFailureSensorContext)
    context.log.addHandler(caplog.handler)
    caplog.clear()
    assert failed_runs(context) is None
    assert [record.levelno for record in caplog.records][:1] == [logging.ERROR]
    return [record.getMessage().replace("\n| ", "\n") for record in caplog.records]


def shown(posted: str) -> str:
    """What a chat shows of a post: the content of its code block."""
    first, *lines, last = posted.split("\n")
    assert first == last == "```"
    return unescape("\n".join(lines))


def fails(instance: DagsterInstance, error: Exception) -> str:
    """The id of a run in which a step raises this."""

    @op
    def step() -> None:
        raise error

    @job
    def failing() -> None:
        step()

    return failing.execute_in_process(instance=instance, raise_on_error=False).run_id


def test_it_is_on_and_says_what_it_does():
    sensor = defs.resolve_sensor_def("failed_runs")
    assert sensor.default_status == DefaultSensorStatus.RUNNING
    assert "MDS_ALERT_WEBHOOK" in (sensor.description or "")


def test_a_failed_load_is_told_with_run_days_step_reason_and_the_way_to_look(
    tmp_path: Path, instance: DagsterInstance, webhook: Webhook, caplog: pytest.LogCaptureFixture
):
    class Refusing(list[object]):
        def __iter__(self) -> Iterator[object]:
            raise ValueError(f"401 'Bad credentials {TOKEN}'")

    runs = Runs.of(tmp_path, toy.orders, shop=Refusing())
    result = runs.materialise(DAY, LAST, instance=instance, raise_on_error=False)
    (text,) = told(instance, caplog)
    first, why, look = text.splitlines()
    assert first == "Failed: daily_refresh of 2019-10-24...2019-10-25, at raw__orders"
    assert why == "raw/orders: ValueError: 401 'Bad credentials ***'"
    assert look == f"Run {result.run_id}: `make dev` shows it at /runs/{result.run_id}"
    ((path, headers, body),) = webhook.posts
    assert path == f"/services/{Webhook.SECRET}"
    assert headers["Content-Type"] == "application/json"
    assert body.keys() == {"text"}
    assert shown(body["text"]) == text.replace("`", "'")
    assert TOKEN not in text


def test_a_day_and_the_innermost_error_of_marts_are_told(
    tmp_path: Path, instance: DagsterInstance, caplog: pytest.LogCaptureFixture
):
    def divides(orders: object) -> Any:
        """A bug."""
        return 1 // 0

    reads = {"orders": "staging/orders"}
    marts = [mart(columns=toy.REVENUE, name=name, latest=reads)(divides) for name in ("a", "b")]
    runs = Runs.of(tmp_path, toy.orders, toy.staged, *marts, shop=[])
    job = runs.definitions.resolve_implicit_global_asset_job_def()
    keys = [AssetKey(["marts", name]) for name in ("a", "b")]
    job.execute_in_process(instance=instance, asset_selection=keys, partition_key=str(DAY), raise_on_error=False)
    first, why, _ = told(instance, caplog)[0].splitlines()
    assert first == "Failed: marts/a, marts/b of 2019-10-24, at marts_of_staging__orders_7_days"
    assert why == "ZeroDivisionError: integer division or modulo by zero"


def test_a_run_without_days_or_step_is_told_by_what_dagster_says(
    instance: DagsterInstance, caplog: pytest.LogCaptureFixture
):
    died = instance.create_run_for_job(defs.resolve_job_def("prune"), status=DagsterRunStatus.STARTED)
    instance.report_engine_event("Something else", died)
    crash = f"[DagsterApiServer] Run execution process for {died.run_id} was terminated by signal 9 (SIGKILL)."
    instance.report_engine_event(crash, died)
    instance.report_run_failed(died)
    lines = told(instance, caplog)[0].splitlines()
    assert lines[0] == "Failed: prune"
    assert lines[1] == "This run has been marked as failed from outside the execution context."
    assert lines[2] == crash
    assert len(lines) == 4


def test_secrets_in_an_error_are_not_told(
    instance: DagsterInstance, webhook: Webhook, caplog: pytest.LogCaptureFixture
):
    other = "github_pat_" + "A1b2" * 12
    fails(instance, ValueError(f"no {TOKEN}, {other}, {webhook.url}, https://me:hunter2@acme.org/path?by=a@b.c"))
    text = told(instance, caplog)[0]
    assert text.splitlines()[1] == "ValueError: no ***, ***, ***, https://***@acme.org/path?by=a@b.c"
    for secret in (TOKEN, other, Webhook.SECRET, "hunter2"):
        assert secret not in text + str(webhook.texts)


def test_a_reason_of_many_words_is_cut(instance: DagsterInstance, caplog: pytest.LogCaptureFixture):
    fails(instance, Failure("many words " * 1000))
    assert len(told(instance, caplog)[0]) < 1500


def test_what_chats_read_as_commands_is_escaped(
    instance: DagsterInstance, webhook: Webhook, caplog: pytest.LogCaptureFixture
):
    fails(instance, Failure("<!channel> a & b"))
    assert "<!channel> a & b" in told(instance, caplog)[0]
    assert "&lt;!channel&gt; a &amp; b" in webhook.texts[0]


def test_what_chats_read_as_a_mention_a_link_or_a_line_of_ours_is_none(
    instance: DagsterInstance, webhook: Webhook, caplog: pytest.LogCaptureFixture
):
    hostile = "@channel ```\n[pay](https://evil.example) \x1b[2J ![](https://evil.example/x.png)\nRun 1: all is well"
    run_id = fails(instance, Failure(hostile))
    lines = told(instance, caplog)[0].splitlines()
    assert lines[1] == hostile.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert lines[2].startswith(f"Run {run_id}")
    assert webhook.texts[0].count("```") == 2
    assert shown(webhook.texts[0]).splitlines()[1] == lines[1].replace("`", "'")


def test_without_a_webhook_the_log_is_all(
    instance: DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(sensors, "settings", settings.model_copy(update={"alert_webhook": None}))
    fails(instance, Failure("broken"))
    assert len(told(instance, caplog)) == 1
    assert webhook.posts == []


def hangs(handler: BaseHTTPRequestHandler) -> None:
    """No answer, for longer than anybody waits."""
    time.sleep(3)


@pytest.mark.parametrize(
    ("answers", "logged"),
    [
        (lambda handler: answer(handler, 404), "it answered 404"),
        (lambda handler: answer(handler, 500), "it answered 500"),
        (lambda handler: answer(handler, 302, "http://127.0.0.1:9/elsewhere"), "it answered 302"),
        (lambda handler: handler.connection.close(), "RemoteDisconnected"),
        (hangs, "TimeoutError"),
        (None, "ConnectionRefusedError"),
    ],
    ids=["404", "500", "redirect", "hang-up", "silence", "nobody"],
)
def test_a_webhook_that_fails_is_told_once_without_its_url_and_is_no_error(
    instance: DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    answers: object, logged: str,
):  # fmt: skip
    monkeypatch.setattr(sensors, "_SECONDS", (1.0, 1.0))
    if answers:
        monkeypatch.setattr(webhook, "answers", answers)
    else:
        nobody = SecretStr(f"http://127.0.0.1:9/services/{Webhook.SECRET}")
        monkeypatch.setattr(sensors, "settings", settings.model_copy(update={"alert_webhook": nobody}))
    run_id = fails(instance, Failure("broken"))
    text, trouble = told(instance, caplog)
    assert "broken" in text
    assert trouble == f"MDS_ALERT_WEBHOOK was not notified of run {run_id}: {logged}"
    assert len(webhook.posts) <= 1  # nothing is posted again
    assert "hunter2" not in text + trouble


def test_a_webhook_on_this_machine_is_not_requested_through_a_proxy(webhook: Webhook, monkeypatch: pytest.MonkeyPatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert post(webhook.url, "hello") is None
    assert webhook.texts == ["```\nhello\n```"]


def test_five_silent_webhooks_fit_into_the_time_of_a_tick():
    assert 5 * sum(sensors._SECONDS) < 50  # pyright: ignore[reportPrivateUsage]


def checked(instance: DagsterInstance, passed: bool, severity: AssetCheckSeverity, name: str = "looks") -> None:
    """A run that succeeds, of a job of this name, with one check."""

    @asset_check(asset="table", name="agrees")
    def agrees() -> AssetCheckResult:
        return AssetCheckResult(passed=passed, severity=severity, description=f"1 number differs, {TOKEN}")

    looks = define_asset_job(name, selection=AssetSelection.all_asset_checks())
    parts = Definitions(asset_checks=[agrees], jobs=[looks])
    assert parts.resolve_job_def(name).execute_in_process(instance=instance).success


def test_checks_that_do_not_pass_in_a_run_that_succeeds_are_told_once(instance: DagsterInstance, webhook: Webhook):
    """Errors of any run; warnings of the job that looks at everything, as a stale table is told by nobody else."""
    sensor = defs.resolve_sensor_def("failed_checks")
    assert sensor.default_status == DefaultSensorStatus.RUNNING

    def tick(cursor: str | None) -> str | None:
        context = build_sensor_context(instance, cursor=cursor, repository_def=defs.get_repository_def())
        return sensor.evaluate_tick(context).cursor

    checked(instance, False, AssetCheckSeverity.ERROR)
    cursor = tick(None)
    assert webhook.texts == []
    checked(instance, True, AssetCheckSeverity.ERROR)
    checked(instance, False, AssetCheckSeverity.WARN)
    checked(instance, False, AssetCheckSeverity.ERROR)
    checked(instance, False, AssetCheckSeverity.WARN, "table_checks")
    cursor = tick(cursor)
    newest = instance.get_run_records(limit=2)
    expected = [
        "Failed checks: table agrees\ntable agrees: 1 number differs, ***\n"
        f"Run {record.dagster_run.run_id}: 'make dev' shows it at /runs/{record.dagster_run.run_id}"
        for record in reversed(newest)
    ]
    assert [shown(text) for text in webhook.texts] == expected
    tick(cursor)
    assert len(webhook.texts) == 2


def test_each_tick_tells_of_the_runs_that_failed_since_the_last_one(instance: DagsterInstance, webhook: Webhook):
    """The tick itself, which keeps a cursor; also of runs of the command line, which have no code location."""
    sensor = defs.resolve_sensor_def("failed_runs")

    def tick(cursor: str | None) -> str | None:
        context = build_sensor_context(instance, cursor=cursor, repository_def=defs.get_repository_def())
        return sensor.evaluate_tick(context).cursor

    fails(instance, Failure("long ago"))
    cursor = tick(None)
    assert webhook.texts == []
    fails(instance, Failure("first"))
    fails(instance, Failure("second"))
    cursor = tick(cursor)
    assert [shown(text).splitlines()[1] for text in webhook.texts] == ["first", "second"]
    tick(cursor)
    assert len(webhook.texts) == 2
