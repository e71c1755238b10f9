"""Promises of the settings: what is wrong is told in one line; secrets are never told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mds_assets.stack.settings import PROJECT_ROOT, Settings, SettingsError, load_settings


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("GITHUB_ORG", "a/b", "letters, digits and single hyphens"),
        ("GITHUB_ORG", "dagster-io,,npm", "comma-separated"),
        ("GITHUB_ORG", "-dagster", "letters, digits and single hyphens"),
        ("GITHUB_API_URL", "api.github.com", "http(s) URL"),
        ("GITHUB_API_URL", "ftp://api.github.com", "http(s) URL"),
        ("GITHUB_API_URL", "https://api.github.com:99999", "http(s) URL"),
        ("GITHUB_API_URL", "https://a b.c", "http(s) URL"),
        ("GITHUB_API_URL", "https://", "http(s) URL"),
        ("GITHUB_API_VERSION", "latest", "YYYY-MM-DD"),
        ("GITHUB_MAX_WAIT_SECONDS", "-1", "0 to 86400"),
        ("GITHUB_MAX_WAIT_SECONDS", "15m", "0 to 86400"),
        ("MDS_DATA_DIR", "gs://bucket/lake", "s3://bucket/prefix"),
        ("MDS_DATA_DIR", "s3://bucket/lake?region=eu", "s3://bucket/prefix"),
        ("MDS_DATA_DIR", "s3://bucket/a lake", "s3://bucket/prefix"),
        ("MDS_DATA_DIR", "s3://bucket/a/../b", "s3://bucket/prefix"),
        ("MDS_DATA_DIR", "s3://bucket//lake", "s3://bucket/prefix"),
        ("MDS_DATA_DIR", "s3://Bucket/lake", "s3://bucket/prefix"),
        ("MDS_DATA_DIR", "s3://", "s3://bucket/prefix"),
        ("MDS_DATA_DIR", "100 %", "dlt cannot work in"),
        ("MDS_DATA_DIR", "mine?", "DuckDB cannot work in"),
        ("MDS_DATA_DIR", r"my\lake", "without %, ? and \\"),
        ("MDS_LOOKBACK_DAYS", "0", "1 to 366"),
        ("MDS_LOOKBACK_DAYS", "7.5", "1 to 366"),
        ("MDS_LOOKBACK_DAYS", "week", "1 to 366"),
        ("MDS_START_DATE", "2026-13-01", "YYYY-MM-DD"),
        ("MDS_START_DATE", "2999-01-01", "YYYY-MM-DD"),
        ("MDS_PREVIEW_ROWS", "-1", "0 to 100"),
        ("MDS_DUCKDB_MEMORY_LIMIT", "plenty", "4GB"),
        ("MDS_DUCKDB_MEMORY_LIMIT", "0GB", "4GB"),
        ("MDS_DUCKDB_THREADS", "0", "1 to 1024"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    message = error.value.format_message()
    assert message.startswith(f"{variable}={value!r} ")
    assert allowed in message
    assert "\n" not in message


def test_a_wrong_token_is_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret\n")
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "GITHUB_TOKEN" in error.value.format_message()
    assert "ghp_secret" not in repr(error.value) + error.value.format_message()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("http://hooks.corp/services/hunter2", "unencrypted; use https"),
        ("http://127.0.0.1.corp/hunter2", "unencrypted; use https"),
        ("ftp://hooks.corp/hunter2", "not a plain http(s) URL"),
        ("hooks.corp/hunter2", "not a plain http(s) URL"),
        ("https://me:hunter2@hooks.corp/", "not a plain http(s) URL"),
        ("https://hooks.corp/#hunter2", "not a plain http(s) URL"),
        ("https://hunter2 .corp/", "not a plain http(s) URL"),
        ("https://hooks.corp:hunter2/", "not a plain http(s) URL"),
        ("https://hooks.corp/hunter2 ", "blanks or characters"),
    ],
)
def test_a_wrong_webhook_is_never_shown(monkeypatch: pytest.MonkeyPatch, value: str, reason: str):
    monkeypatch.setenv("MDS_ALERT_WEBHOOK", value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    message = error.value.format_message()
    assert message.startswith("MDS_ALERT_WEBHOOK is wrong: ")
    assert reason in message
    assert message.endswith("Allowed: the https URL of an incoming webhook; http only on this machine.")
    assert "hunter2" not in repr(error.value) + message


@pytest.mark.parametrize(
    "value", ["https://hooks.slack.com/services/T0/hunter2?x=1", "http://[::1]:8065/hooks/hunter2"]
)
def test_a_right_webhook_is_not_shown_either(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("MDS_ALERT_WEBHOOK", value)
    settings = load_settings()
    assert settings.alert_webhook
    assert settings.alert_webhook.get_secret_value() == value
    assert "hunter2" not in repr(settings) + settings.model_dump_json() + settings.redacted(f"POST {value} failed")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GITHUB_API_URL", "https://user:hunter2@api.github.com"),
        ("GITHUB_API_URL", "https://:hunter2@api.github.com"),
        ("GITHUB_API_URL", "https://user:p@hunter2@api.github.com"),
        ("GITHUB_API_URL", "https://user:p/hunter2@api.github.com"),
        ("MDS_DATA_DIR", "s3://key:hunter2@bucket"),
        ("GITHUB_ORG", "ghp_hunter2ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
        ("GITHUB_ORG", "github_pat_hunter2ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str, value: str):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert f"{variable}=" in error.value.format_message()
    assert "hunter2" not in repr(error.value) + error.value.format_message()


@pytest.mark.parametrize("url", ["http://github.corp/api/v3", "http://10.0.0.1", "http://127.0.0.1.corp"])
def test_a_token_over_plain_http_is_refused(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("GITHUB_API_URL", url)
    load_settings()
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret")
    with pytest.raises(SettingsError, match=r"GITHUB_API_URL='http://.*unencrypted; use https"):
        load_settings()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:1", "https://a.corp"])
def test_a_token_over_https_or_on_this_machine_is_allowed(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("GITHUB_API_URL", url)
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret")
    assert load_settings().api_url == url


def test_a_right_token_is_not_shown_either(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret")
    settings = load_settings()
    assert settings.token is not None
    assert settings.token.get_secret_value() == "ghp_secret"
    assert "ghp_secret" not in repr(settings) + settings.model_dump_json()


def test_organisations_are_split_and_each_taken_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_ORG", " Dagster-io, npm ,dagster-IO")
    assert load_settings().organisations == ("dagster-io", "npm")


def test_an_empty_value_means_the_default_whatever_dotenv_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("GITHUB_ORG=npm\nMDS_LOOKBACK_DAYS=3\n")
    monkeypatch.setitem(Settings.model_config, "env_file", dotenv)
    monkeypatch.delenv("MDS_LOOKBACK_DAYS")
    settings = load_settings()
    assert settings.organisations == ()  # GITHUB_ORG is empty in the environment of the tests
    assert settings.lookback_days == 3  # not set there


def test_a_relative_data_folder_lies_beside_pyproject_whatever_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDS_DATA_DIR", "lake")
    assert load_settings().data_dir == str(PROJECT_ROOT / "lake")
    monkeypatch.setenv("MDS_DATA_DIR", "file:///some/lake")
    assert load_settings().data_dir == "/some/lake"
    monkeypatch.delenv("MDS_DATA_DIR")
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    assert load_settings().data_dir == str(PROJECT_ROOT / "data")


@pytest.mark.parametrize(
    "command",
    [
        [
            "dagster",
            "asset",
            "materialize",
            "-m",
            "mds_assets.definitions",
            "--select",
            "*",
            "--partition",
            "2026-01-01",
        ],
        ["mds", "run"],
        ["mds", "show"],
    ],
)
def test_a_wrong_setting_ends_each_command_with_one_line_and_exit_code_1(command: list[str], tmp_path: Path):
    program = Path(sys.executable).with_name(command[0])
    lake = tmp_path / "lake"
    ended = subprocess.run(
        [program, *command[1:]],
        env=os.environ | {"MDS_LOOKBACK_DAYS": "week", "MDS_DATA_DIR": str(lake), "DAGSTER_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("Error: MDS_LOOKBACK_DAYS='week' is wrong")
    assert "Traceback" not in ended.stderr
    assert not lake.exists()


def test_rows_are_shown_by_default_only_where_no_token_could_have_seen_private_ones(monkeypatch: pytest.MonkeyPatch):
    for name in ("GITHUB_TOKEN", "MDS_PREVIEW_ROWS"):
        monkeypatch.delenv(name, raising=False)
    assert load_settings().preview_rows == 5
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_some")
    assert load_settings().preview_rows == 0
    monkeypatch.setenv("MDS_PREVIEW_ROWS", "3")
    assert load_settings().preview_rows == 3


def test_repositories_that_a_token_has_landed_are_not_named_by_a_run_without_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.setenv("MDS_PREVIEW_ROWS", "0")
    assert not load_settings().repositories_may_be_named


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "key"}, "AWS_SECRET_ACCESS_KEY is wrong: one of AWS_ACCESS_KEY_ID and"),
        ({"AWS_SECRET_ACCESS_KEY": "hunter2"}, "AWS_SECRET_ACCESS_KEY is wrong: one of AWS_ACCESS_KEY_ID and"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "AWS_ENDPOINT_URL='127.0.0.1:9000' is wrong"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000/bucket"}, "the http(s) URL of the object store"),
        ({"AWS_REGION": "Frankfurt am Main"}, "AWS_REGION='Frankfurt am Main' is wrong"),
        ({"AWS_DEFAULT_REGION": "Frankfurt am Main"}, "eu-central-1"),
        ({"AWS_PROFILE": "work"}, "AWS_PROFILE is set, which not all of its readers know"),
        ({"AWS_ENDPOINT": "http://127.0.0.1:9"}, "AWS_ENDPOINT is set, which not all of its readers know; use AWS_END"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "AWS_ENDPOINT_URL_S3 is set"),
    ],
)
def test_a_store_that_s3fs_and_polars_would_not_find_alike_is_refused_and_a_local_lake_does_not_care(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    load_settings()
    monkeypatch.setenv("MDS_DATA_DIR", "s3://bucket/lake")
    with pytest.raises(SettingsError) as error:
        load_settings()
    message = error.value.format_message()
    assert said in message
    assert "hunter2" not in message


def test_a_bucket_needs_no_more_than_its_url(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MDS_DATA_DIR", "s3://bucket/lake/")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    given = load_settings()
    assert given.data_dir == "s3://bucket/lake"
    assert given.region == "eu-central-1"
    assert given.aws_credentials == {}
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert load_settings().region == "us-east-2"


def test_without_the_extra_it_says_which_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MDS_DATA_DIR", "s3://bucket/lake")
    monkeypatch.setattr("mds_assets.stack.settings.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="uv sync --extra scale"):
        load_settings()
