"""Promises of the stack's settings, tried with a toy source: errors of one line, secrets that are never shown."""

import os
import re
import shutil
import subprocess
import sys
from datetime import date
from itertools import count
from pathlib import Path

import pytest
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from mds_assets.stack import environment
from mds_assets.stack import settings as stack
from mds_assets.stack.environment import (
    PROJECT_ROOT,
    SettingsError,
    SourceSettings,
    check_names,
    load,
    redact_secrets,
    secret_values,
    source_folders,
    source_settings,
    variables,
)
from mds_assets.stack.lake import Lake
from mds_assets.stack.settings import Settings
from mds_assets.stack.ui_settings import UISettings

TOY = """
from typing import ClassVar
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict
from mds_assets.stack.environment import SourceSettings, load

class ToySettings(SourceSettings):
    '''Where the toy is.'''
    model_config = SettingsConfigDict(env_prefix="TOY_")
    box: str = Field(default="attic", title="Its box.", description="a box | a chest")
    token: SecretStr | None = Field(default=None, title="Its key.", description="a key")
    batch: int | None = Field(default=None, validation_alias="MDS_TOY_BATCH", title="Toys.", description="a number")

settings = load(ToySettings)
"""
_packages = count()


class Shop(SourceSettings):
    """A shop."""

    model_config = SettingsConfigDict(env_prefix="SHOP_")

    url: str = Field(title="Where it is.", description="a URL")
    tokens: tuple[SecretStr, ...] | None = Field(default=(), title="Its tokens.", description="tokens")
    pin: SecretStr | None = Field(default=None, title="Its PIN.", description="four digits", max_length=4)

    @field_validator("pin", mode="before")
    @classmethod
    def _pin_is_a_number(cls, value: str | None) -> str | None:
        int(value or 0)  # its error quotes the value
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Shop":
        if self.url == "misfit":
            raise ValueError("url and tokens do not fit")
        return self


def write_source(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str = TOY, name: str = "toy") -> str:
    """A package of its own in this folder that holds one source, the package's name."""
    package = f"toy_defs_{next(_packages)}"
    source = folder / package / name
    source.mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    (source / "__init__.py").touch()
    (source / "settings.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    return package


def write_dotenv(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / ".env").write_text(text)
    monkeypatch.setattr(environment, "ENV_FILE", folder / ".env")


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package of a toy source without secrets, which the stack takes for all its sources."""
    package = write_source(tmp_path, monkeypatch)
    monkeypatch.setattr(stack, "source_settings", lambda only: source_settings(package))
    return package


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
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
        ("MDS_START_DATE", "86400", "YYYY-MM-DD"),
        ("MDS_PREVIEW_ROWS", "-1", "0 to 100"),
        ("MDS_DUCKDB_MEMORY_LIMIT", "plenty", "4GB"),
        ("MDS_DUCKDB_MEMORY_LIMIT", "0GB", "4GB"),
        ("MDS_DUCKDB_MEMORY_LIMIT", "4", "4GB"),
        ("MDS_DUCKDB_THREADS", "0", "1 to 1024"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load(Settings)
    message = error.value.format_message()
    assert message.startswith(f"{variable}={value!r} ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize("value", ["4GB", "512MiB", "1.5 gb", "80%", "100B"])
def test_an_amount_of_memory_is_handed_to_duckdb_as_it_is_written(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("MDS_DUCKDB_MEMORY_LIMIT", value)
    assert load(Settings).duckdb_memory_limit == value


def test_the_first_partition_may_be_any_past_date(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MDS_START_DATE", "1999-12-31")
    assert load(Settings).start_date == date(1999, 12, 31)


def test_a_variable_that_has_only_the_name_of_a_field_is_somebody_elses(monkeypatch: pytest.MonkeyPatch):
    for name in variables(Settings):
        monkeypatch.delenv(name, raising=False)
    before = load(Settings)
    for name in Settings.model_fields:
        if name.upper() not in variables(Settings):
            monkeypatch.setenv(name.upper(), "99")
    assert load(Settings) == before


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
        load(Settings)
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
    settings = load(Settings)
    monkeypatch.setattr(stack, "settings", settings)
    assert settings.alert_webhook
    assert settings.alert_webhook.get_secret_value() == value
    assert "hunter2" not in repr(settings) + settings.model_dump_json() + stack.redact(f"POST {value} failed")


@pytest.mark.parametrize("value", ["s3://key:hunter2@bucket", "gs://a/ghp_hunter2", "gs://github_pat_hunter2"])
def test_a_secret_in_the_wrong_place_is_not_shown(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("MDS_DATA_DIR", value)
    with pytest.raises(SettingsError) as error:
        load(Settings)
    assert "MDS_DATA_DIR=" in error.value.format_message()
    assert "hunter2" not in repr(error.value) + error.value.format_message()


def test_an_empty_value_means_the_default_whatever_dotenv_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    write_dotenv(tmp_path, monkeypatch, "MDS_LOOKBACK_DAYS=3\nMDS_DUCKDB_THREADS=2\n")
    monkeypatch.setenv("MDS_LOOKBACK_DAYS", "")
    monkeypatch.delenv("MDS_DUCKDB_THREADS")
    settings = load(Settings)
    assert settings.lookback_days == 7
    assert settings.duckdb_threads == 2  # not set in the environment


def test_a_relative_data_folder_lies_beside_pyproject_whatever_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDS_DATA_DIR", "lake")
    assert load(Settings).data_dir == str(PROJECT_ROOT / "lake")
    monkeypatch.setenv("MDS_DATA_DIR", "file:///some/lake")
    assert load(Settings).data_dir == "/some/lake"
    monkeypatch.delenv("MDS_DATA_DIR")
    monkeypatch.setattr(environment, "ENV_FILE", tmp_path / ".env")
    assert load(Settings).data_dir == str(PROJECT_ROOT / "data")


@pytest.mark.slow(2)
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
            "2025-01-01",
        ],
        ["dg", "launch", "--target-path", str(PROJECT_ROOT), "--assets", "*", "--partition", "2025-01-01"],
        ["mds", "run"],
        ["mds", "show"],
    ],
)
@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("MDS_LOOKBACK_DAYS", "MDS_LOOKBACK_DAYS='week' is wrong"),
        ("MDS_LOOKBACK", "MDS_LOOKBACK in the environment is"),
    ],
)
def test_a_wrong_setting_ends_each_command_with_one_line_and_exit_code_1(
    command: list[str], variable: str, message: str, tmp_path: Path
):
    program = Path(sys.executable).with_name(command[0])
    lake = tmp_path / "lake"
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")  # as the project's own home has it
    ended = subprocess.run(
        [program, *command[1:]],
        env=os.environ | {variable: "week", "MDS_DATA_DIR": str(lake), "DAGSTER_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    *before, line = (ended.stdout + ended.stderr).splitlines()
    assert line.startswith(f"Error: {message}")
    assert not before or (command[0] == "dagster" and "Use 'dg launch" in before[0])  # Dagster's, of its own command
    assert "Traceback" not in ended.stderr
    assert not lake.exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": "key"}, "AWS_SECRET_ACCESS_KEY is wrong: one of AWS_ACCESS_KEY_ID and"),
        ({"AWS_SECRET_ACCESS_KEY": "hunter2"}, "AWS_SECRET_ACCESS_KEY is wrong: one of AWS_ACCESS_KEY_ID and"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "AWS_ENDPOINT_URL='127.0.0.1:9000' is wrong"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000/bucket"}, "the http(s) URL of the object store"),
        ({"AWS_REGION": "Frankfurt am Main"}, "AWS_REGION='Frankfurt am Main' is wrong"),
        ({"AWS_DEFAULT_REGION": "Frankfurt am Main"}, "eu-central-1"),
        ({"AWS_ENDPOINT": "http://127.0.0.1:9"}, "AWS_ENDPOINT is set, which only some clients honour; use AWS_END"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "AWS_ENDPOINT_URL_S3 is set"),
    ],
)
def test_a_store_that_its_clients_would_not_find_alike_is_refused_and_a_local_lake_does_not_care(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    load(Settings)
    monkeypatch.setenv("MDS_DATA_DIR", "s3://bucket/lake")
    with pytest.raises(SettingsError) as error:
        load(Settings)
    message = error.value.format_message()
    assert said in message
    assert "hunter2" not in message


def test_a_bucket_needs_no_more_than_its_url(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MDS_DATA_DIR", "s3://bucket/lake/")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    given = load(Settings)
    assert given.data_dir == "s3://bucket/lake"
    assert given.region == "eu-central-1"
    assert given.aws_key is None
    assert given.aws_profile is None
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert load(Settings).region == "us-east-2"


def test_without_the_extra_it_says_which_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MDS_DATA_DIR", "s3://bucket/lake")
    monkeypatch.setattr("mds_assets.stack.settings.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="uv sync --extra scale"):
        load(Settings)


def test_a_source_is_found_by_its_folder_and_read_like_the_stack(
    toys: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / toys / "without_settings").mkdir()
    write_dotenv(tmp_path, monkeypatch, "TOY_BOX=cellar\nTOY_TOKEN=key\n")
    monkeypatch.setenv("TOY_TOKEN", "")
    monkeypatch.setenv("MDS_TOY_BATCH", "3")
    (toy,) = source_settings(toys)
    assert toy.model_dump() == {"box": "cellar", "token": None, "batch": 3}


def test_without_sources_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "no_sources").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert source_settings("no_sources") == []
    assert source_settings("no_such_package") == []


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import no_such_module", ModuleNotFoundError, "no_such_module"),
        ("settings = 1 / 0", ZeroDivisionError, "division"),
        ("", SettingsError, r"toy\.settings has no `settings = load"),
        (TOY.replace("load(ToySettings)", "ToySettings"), SettingsError, r"toy\.settings has no `settings = load"),
        (TOY.replace('description="a key"', ""), TypeError, r"ToySettings\.token needs a title, a description"),
        (TOY.replace('default="attic"', "default=1"), SettingsError, r"TOY_BOX=1 is wrong: .* Allowed: a box"),
    ],
)
def test_a_sources_broken_settings_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, error: type[Exception], message: str
):
    package = write_source(tmp_path, monkeypatch, code)
    with pytest.raises(error, match=message):
        source_settings(package)


def test_a_source_that_lacks_a_value_is_told_the_variable_and_nothing_of_its_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP_PIN", "1234")
    with pytest.raises(SettingsError) as error:
        load(Shop)
    assert error.value.format_message() == "SHOP_URL is not set. Allowed: a URL."


def test_a_check_of_several_fields_shows_none_of_their_values(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP_URL", "misfit")
    monkeypatch.setenv("SHOP_PIN", "1234")
    with pytest.raises(SettingsError) as error:
        load(Shop)
    assert error.value.format_message() == "The settings of Shop are wrong: url and tokens do not fit."


@pytest.mark.parametrize("variable", ["SHOP_PIN", "SHOP_TOKENS"])
def test_a_sources_wrong_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch, variable: str):
    monkeypatch.setenv("SHOP_URL", "here")
    monkeypatch.setenv(variable, "hunter2")
    with pytest.raises(SettingsError) as error:
        load(Shop)
    message = error.value.format_message()
    assert message.startswith(f"{variable} is wrong: ")
    assert "hunter2" not in message + repr(error.value)


def test_secrets_in_collections_are_redacted_too():
    shop = Shop.model_construct(url="here", tokens=(SecretStr("one"), SecretStr("")), pin=SecretStr("one-two"))
    assert secret_values(shop) == {"one", "one-two"}
    assert redact_secrets("one-two, one, there", secret_values(shop)) == "***, ***, there"


@pytest.mark.usefixtures("toys")
def test_every_secret_of_stack_and_sources_is_redacted(monkeypatch: pytest.MonkeyPatch):
    secrets = {name for name, field in variables(Settings).items() if environment.is_secret(field)}
    assert {"MDS_ALERT_WEBHOOK", "AWS_SECRET_ACCESS_KEY"} <= secrets
    monkeypatch.setenv("TOY_TOKEN", "toy-hunter2")
    for name in secrets:
        monkeypatch.setenv(name, f"https://{name}.hunter2")
    monkeypatch.setattr(stack, "settings", load(Settings))
    text = " ".join(["toy-hunter2", *(f"https://{name}.hunter2" for name in secrets)])
    assert stack.redact(text) == " ".join(["***"] * (len(secrets) + 1))


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("cloning https://me:hunter2@host/x", "cloning https://***@host/x"),
        ("with ghp_hunter2 and github_pat_hunter2", "with *** and ***"),
        (f"with {'0a' * 20}", "with ***"),
        ("mail me@host about https://host/x", "mail me@host about https://host/x"),
    ],
)
def test_what_looks_like_a_secret_is_redacted(text: str, redacted: str):
    assert stack.redact(text) == redacted


@pytest.mark.usefixtures("toys")
def test_rows_are_shown_by_default_only_where_no_secret_could_have_shown_private_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MDS_ALERT_WEBHOOK", "https://hooks.corp/x")  # reads nothing
    monkeypatch.setattr(stack, "settings", load(Settings))
    assert (stack.preview_rows(), stack.previews_allowed()) == (5, True)
    monkeypatch.setenv("MDS_PREVIEW_ROWS", "0")
    assert stack.preview_rows(load(Settings)) == 0
    monkeypatch.setattr(stack, "settings", load(Settings))
    assert not stack.previews_allowed()  # what a run with a secret landed is not named by a run without


def test_no_rows_are_shown_by_default_where_a_source_has_a_secret(toys: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOY_TOKEN", "key")
    assert source_settings(toys)
    assert (stack.preview_rows(), stack.previews_allowed()) == (0, False)
    monkeypatch.setenv("MDS_PREVIEW_ROWS", "3")
    assert stack.preview_rows(load(Settings)) == 3


@pytest.mark.usefixtures("toys")
def test_no_rows_are_shown_by_default_of_a_lake_that_was_landed_with_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stack, "settings", load(Settings).model_copy(update={"data_dir": str(tmp_path)}))
    assert (stack.preview_rows(), stack.previews_allowed()) == (5, True)
    Lake(str(tmp_path)).mark_private()
    assert (stack.preview_rows(), stack.previews_allowed(), stack.is_private()) == (0, False, True)
    assert stack.preview_rows(stack.settings.model_copy(update={"preview_rows": 3})) == 3
    assert not stack.has_source_secrets()


def test_a_secret_that_is_the_default_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = TOY.replace("SecretStr | None = Field(default=None,", 'SecretStr = Field(default=SecretStr("pg://"),')
    package = write_source(tmp_path, monkeypatch, code)
    monkeypatch.setattr(stack, "source_settings", lambda only: source_settings(package))
    assert stack.previews_allowed()


def test_only_the_sources_that_are_named_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = write_source(tmp_path, monkeypatch)
    shutil.copytree(tmp_path / package / "toy", tmp_path / package / "other")
    assert list(source_folders(package)) == ["other", "toy"]
    named = source_settings(package, only=["toy"])
    assert [type(each).__module__ for each in named] == [f"{package}.toy.settings"]
    monkeypatch.setenv("MDS_SOURCES", "nowhere, ")
    with pytest.raises(SettingsError, match="MDS_SOURCES='nowhere, ' is wrong: there is no mds_assets/defs/nowhere"):
        load(Settings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MDS_LOOKBACK", "is not a setting; did you mean MDS_LOOKBACK_DAYS? Allowed: MDS_ALERT_WEBHOOK, "),
        ("MDS_TOY_BATCHES", "is not a setting; did you mean MDS_TOY_BATCH? Allowed: "),
        ("mds_data_dirs", "is not a setting; did you mean MDS_DATA_DIR? Allowed: "),
        ("MDS_XYZ", "is not a setting. Allowed: MDS_ALERT_WEBHOOK, MDS_ARROW_MEMORY, "),
        ("TOY_TOKENS", "is not a setting; did you mean TOY_TOKEN? Allowed: TOY_BOX, TOY_TOKEN."),
    ],
)
@pytest.mark.parametrize("where", [".env", "the environment"])
def test_an_unknown_name_is_one_line_with_the_nearest_known_one(
    toys: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, message: str, where: str
):
    kinds = [Settings, *map(type, source_settings(toys))]
    write_dotenv(tmp_path, monkeypatch, f"{name}=hunter2\n" if where == ".env" else "")
    if where != ".env":
        monkeypatch.setenv(name, "hunter2")
    with pytest.raises(SettingsError) as error:
        check_names(kinds)
    assert error.value.format_message().startswith(f"{name.upper()} in {where} {message}")
    assert not re.search(r"\n|hunter2", error.value.format_message())


def test_a_sources_prefix_is_its_own_in_dotenv_but_not_in_the_environment(
    toys: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    kinds = [Settings, *map(type, source_settings(toys))]
    write_dotenv(tmp_path, monkeypatch, "")
    monkeypatch.setenv("TOY_STORY", "2")
    check_names(kinds)
    write_dotenv(tmp_path, monkeypatch, "TOY_STORY=2\n")
    with pytest.raises(SettingsError, match=r"TOY_STORY in \.env is not a setting"):
        check_names(kinds)


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in variables(Settings) if name.startswith("MDS_")),
        "MDS_TOY_BATCH",
        "MDS_CODE_PORT",
        "MDS_SCREENSHOTS",
        # What Kubernetes sets for the services of deploy/kubernetes.
        "MDS_ASSETS_DAGSTER_WEBSERVER_SERVICE_HOST",
        "MDS_ASSETS_DAGSTER_WEBSERVER_SERVICE_PORT_HTTP",
        "MDS_ASSETS_DAGSTER_WEBSERVER_PORT_80_TCP_ADDR",
    ],
)
def test_known_names_and_those_of_deployments_pass(toys: str, monkeypatch: pytest.MonkeyPatch, name: str):
    kinds = [Settings, *map(type, source_settings(toys))]
    monkeypatch.setenv(name, "1")
    check_names(kinds)


def imported(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_names_are_checked_whenever_the_settings_are_read():
    ended = imported("import mds_assets.stack.settings", MDS_LOOKBACK="3")
    assert ended.returncode == 1
    assert "did you mean MDS_LOOKBACK_DAYS?" in ended.stderr.splitlines()[-1]


def test_reading_settings_imports_nothing_heavy():
    heavy = "{'dagster', 'duckdb', 'polars', 'dlt', 'upath', 'pyarrow', 'requests'}"
    ended = imported(f"import mds_assets.stack.settings, sys; print({heavy} & set(sys.modules))")
    assert ended.stdout == "set()\n", ended.stderr


def test_the_reference_tells_each_setting_of_each_owner(toys: str):
    page = stack.settings_reference(source_settings(toys))
    assert re.findall(r"^## (.*)", page, re.MULTILINE) == ["The stack", "The UI", "toy"]
    assert page.endswith(
        "## toy\n\nWhere the toy is.\n\n"
        "| variable | default | allowed | meaning |\n|---|---|---|---|\n"
        "| `TOY_BOX` | `attic` | a box \\| a chest | Its box. |\n"
        "| `TOY_TOKEN` | none | a key | Its key. Never logged, never stored. |\n"
        "| `MDS_TOY_BATCH` | none | a number | Toys. |\n"
    )
    assert "| `SHOP_URL` | required | a URL | Where it is. |" in stack.settings_table(Shop)


def test_the_reference_page_is_not_stale():
    page = (PROJECT_ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert page.startswith(stack.settings_reference([]))  # sources test their own sections


def test_the_module_prints_the_page():
    printed = subprocess.run(
        [sys.executable, "-m", "mds_assets.stack.settings"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout == stack.settings_reference()


def test_env_example_names_each_setting_once_with_its_default_or_a_value_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    examples = [line[1:].split("=", 1) for line in lines if re.match(r"#\w+=", line)]
    known = variables(Settings) | variables(UISettings)
    assert [name for name, _ in examples if name in known] == list(known)
    for name, value in examples:
        if name in known and known[name].default:
            assert value == str(known[name].default)
        monkeypatch.delenv(name, raising=False)
    write_dotenv(tmp_path, monkeypatch, "\n".join(line[1:] for line in lines if re.match(r"#\w+=", line)))
    load(Settings)
    load(UISettings)
