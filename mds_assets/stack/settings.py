"""Every environment variable of the project: typed, validated, documented, and read here only.

Values come from the environment, else from `.env` beside `pyproject.toml`, else from the defaults below. An empty
variable of the environment means the default, whatever `.env` says. What does not belong here: anything that is the
same for every user; that is code.
"""

import os
import re
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

import click
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mds_assets.stack.loopback import is_loopback

PROJECT_ROOT = Path(__file__).resolve().parents[2]

# GitHub's own rule for logins: letters, digits and single hyphens, at most 39 characters. Users of an Enterprise with
# managed accounts carry an underscore and a short code besides.
_LOGIN = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9_])*")
_CREDENTIAL = r"gh[a-z]_\w+|github_pat_\w+|\b[0-9a-f]{40}\b"
# What a secret looks like that was put into the wrong variable: a token, or the password in a URL.
_SECRET = re.compile(rf"{_CREDENTIAL}|(?<=://).*(?=@)")
# What one looks like in a text of many words.
_SECRET_IN_TEXT = re.compile(rf"{_CREDENTIAL}|(?<=://)[^\s/@]+(?=@)")
_BUCKET_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?")
# What one of s3fs and Polars reads and the other does not: they would look at two stores.
_NOT_AWS = {
    "AWS_PROFILE": "unset it and `eval $(aws configure export-credentials --format env)`",
    "AWS_ENDPOINT": "use AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3": "use AWS_ENDPOINT_URL",
}
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:]+")
_BYTES = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B|B|%)", re.IGNORECASE)


class SettingsError(click.ClickException):
    """A setting has a wrong value. The message is one line: the variable, its value, what is allowed.

    It is click's exception because click prints it as that one line with exit code 1 in `dagster` and `mds` alike,
    while Dagster's code server shows it as any other exception.
    """


class Settings(BaseSettings):
    """The settings, by the name of their environment variable.

    Each description says what is allowed: it is the way out that an error message shows.
    """

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env", extra="ignore", frozen=True, populate_by_name=True
    )

    organisations: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        validation_alias="GITHUB_ORG",
        description="an organisation or user, or several, comma-separated: letters, digits and single hyphens",
    )
    orgs_per_run: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        validation_alias="MDS_ORGS_PER_RUN",
        description="how many organisations a run crawls, 1 to 10000",
    )
    token: SecretStr | None = Field(
        default=None, validation_alias="GITHUB_TOKEN", description="a GitHub token, without blanks"
    )
    api_url: str = Field(
        default="https://api.github.com",
        validation_alias="GITHUB_API_URL",
        description="the http(s) URL of GitHub's REST API; of a GitHub Enterprise Server: https://HOST/api/v3",
    )
    api_version: str = Field(
        default="2022-11-28",
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        validation_alias="GITHUB_API_VERSION",
        description="a version of GitHub's REST API, a date as YYYY-MM-DD",
    )
    max_wait_seconds: int = Field(
        default=900,
        ge=0,
        le=86_400,
        validation_alias="GITHUB_MAX_WAIT_SECONDS",
        description="a whole number of seconds, 0 to 86400",
    )
    data_dir: str = Field(
        default="data",
        validation_alias="MDS_DATA_DIR",
        description="a folder (a relative one lies beside pyproject.toml) or a file:// URL, without %, ? and \\; or "
        "s3://bucket/prefix, of lower-case letters, digits, dots and hyphens, the prefix also of capitals, _ and /",
    )
    aws_endpoint_url: str | None = Field(
        default=None,
        validation_alias="AWS_ENDPOINT_URL",
        description="the http(s) URL of the object store, where it is not Amazon's",
    )
    aws_region: str | None = Field(
        default=None,
        validation_alias="AWS_REGION",
        description="a region such as eu-central-1",
    )
    aws_default_region: str | None = Field(
        default=None,
        validation_alias="AWS_DEFAULT_REGION",
        description="a region such as eu-central-1; AWS_REGION wins over it",
    )
    aws_access_key_id: SecretStr | None = Field(
        default=None, validation_alias="AWS_ACCESS_KEY_ID", description="an access key, with AWS_SECRET_ACCESS_KEY"
    )
    aws_secret_access_key: SecretStr | None = Field(
        default=None,
        validate_default=True,
        validation_alias="AWS_SECRET_ACCESS_KEY",
        description="the secret of AWS_ACCESS_KEY_ID; without both, the role of the machine or container is taken",
    )
    aws_session_token: SecretStr | None = Field(
        default=None, validation_alias="AWS_SESSION_TOKEN", description="the session of a temporary AWS_ACCESS_KEY_ID"
    )
    lookback_days: int = Field(
        default=7, ge=1, le=366, validation_alias="MDS_LOOKBACK_DAYS", description="a whole number of days, 1 to 366"
    )
    start_date: date = Field(
        default=date(2026, 1, 1),
        validation_alias="MDS_START_DATE",
        description="a past date as YYYY-MM-DD, from 2008-01-01 (GitHub's first year)",
    )
    preview_rows: int = Field(
        # Without a token GitHub lists only public repositories.
        default_factory=lambda given: 0 if given.get("token") else 5,
        ge=0,
        le=100,
        validation_alias="MDS_PREVIEW_ROWS",
        description="how many rows of a day's table the event log and the report may show, 0 to 100",
    )
    alert_webhook: SecretStr | None = Field(
        default=None,
        validation_alias="MDS_ALERT_WEBHOOK",
        description="the https URL of an incoming webhook; http only on this machine",
    )
    duckdb_memory_limit: str | None = Field(
        default=None,
        validation_alias="MDS_DUCKDB_MEMORY_LIMIT",
        description="an amount of memory such as 4GB or 512MiB",
    )
    duckdb_threads: int | None = Field(
        default=None, ge=1, le=1024, validation_alias="MDS_DUCKDB_THREADS", description="a number of threads, 1 to 1024"
    )

    @property
    def repositories_may_be_named(self) -> bool:
        """Whether others than tables may name repositories, also those that a run with a token has landed."""
        return self.preview_rows > 0

    @property
    def region(self) -> str | None:
        """The object store's region."""
        return self.aws_region or self.aws_default_region

    @property
    def aws_credentials(self) -> dict[str, str]:
        """The object store's credentials that are set: `access_key_id`, `secret_access_key`, `session_token`."""
        given = {
            "access_key_id": self.aws_access_key_id,
            "secret_access_key": self.aws_secret_access_key,
            "session_token": self.aws_session_token,
        }
        return {name: secret.get_secret_value() for name, secret in given.items() if secret}

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        # Here and not by pydantic's `env_ignore_empty`, so that an empty variable also unsets what `.env` says.
        return {name: value for name, value in values.items() if value != ""}

    @field_validator("organisations", mode="before")
    @classmethod
    def _split_organisations(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",")]
        for name in names:
            if len(name) > 39 or not _LOGIN.fullmatch(name):
                raise ValueError(f"{name!r} is not an organisation name")
        # GitHub compares logins without regard to case. Two spellings in one lake would count a repository twice.
        return tuple(dict.fromkeys(name.lower() for name in names))

    @field_validator("token", mode="after")
    @classmethod
    def _token_is_a_header_value(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("it holds blanks or characters that no token has")
        return value

    @field_validator("api_url", mode="after")
    @classmethod
    def _api_url_is_http(cls, value: str, others: ValidationInfo) -> str:
        url = _http_url(value)
        if url.query:
            raise ValueError("it is not a plain http(s) URL")
        if url.scheme == "http" and others.data.get("token") and not is_loopback(url.hostname or ""):
            raise ValueError("GITHUB_TOKEN would travel unencrypted; use https")
        return value.rstrip("/")

    @field_validator("alert_webhook", mode="after")
    @classmethod
    def _webhook_is_encrypted(cls, value: SecretStr | None) -> SecretStr | None:
        # Whoever has the URL may post to it, so that no message may quote it: not urllib's either, which does.
        if value:
            secret = value.get_secret_value()
            try:
                url = _http_url(secret)
            except ValueError:
                raise ValueError("it is not a plain http(s) URL") from None
            if not re.fullmatch(r"[!-~]+", secret):
                raise ValueError("it holds blanks or characters that no URL has")
            if url.scheme == "http" and not is_loopback(url.hostname or ""):
                raise ValueError("it would travel unencrypted; use https")
        return value

    @field_validator("data_dir", mode="after")
    @classmethod
    def _data_dir_is_absolute(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if scheme == "s3":
            return _bucket_url(value)
        if separator and scheme != "file":
            raise ValueError(f"{scheme}:// is not supported")
        folder = PROJECT_ROOT / Path(rest if separator else value).expanduser()
        for character, who in (("%", "dlt"), ("?", "DuckDB"), ("\\", "DuckDB")):
            if character in folder.as_posix():
                raise ValueError(f"{who} cannot work in '{folder}', whose path has a {character}")
        return str(folder)

    @field_validator("aws_endpoint_url", mode="after")
    @classmethod
    def _endpoint_is_http(cls, value: str | None, others: ValidationInfo) -> str | None:
        if not _on_a_store(others):
            return None
        if value and (_http_url(value).query or value.rstrip("/").count("/") > 2):
            raise ValueError("it has more than a scheme, a host and a port")
        return value and value.rstrip("/")

    @field_validator("aws_region", "aws_default_region", mode="after")
    @classmethod
    def _region_is_a_name(cls, value: str | None, others: ValidationInfo) -> str | None:
        if value and _on_a_store(others) and not re.fullmatch(r"[a-z0-9-]+", value):
            raise ValueError("it is no name of a region")
        return value

    @field_validator("aws_secret_access_key", mode="after")
    @classmethod
    def _credentials_are_whole(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if _on_a_store(others) and bool(value) != bool(others.data.get("aws_access_key_id")):
            raise ValueError("one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set without the other")
        return value

    @field_validator("start_date", mode="after")
    @classmethod
    def _start_is_past(cls, value: date) -> date:
        if not date(2008, 1, 1) <= value < datetime.now(UTC).date():
            raise ValueError("it is not in the past")
        return value

    @field_validator("duckdb_memory_limit", mode="after")
    @classmethod
    def _memory_is_an_amount(cls, value: str | None) -> str | None:
        if value and (not _BYTES.fullmatch(value) or not re.search("[1-9]", value)):
            raise ValueError("it is not an amount of memory")
        return value

    def redacted(self, text: str) -> str:
        """The text without the secrets among these settings, and without what looks like one."""
        for secret in (self.token, self.alert_webhook, self.aws_secret_access_key, self.aws_session_token):
            if secret:
                text = text.replace(secret.get_secret_value(), "***")
        return _SECRET_IN_TEXT.sub("***", text)


def is_remote(root: str) -> bool:
    """Whether this root of a lake is an object store's."""
    return "://" in root


def _on_a_store(others: ValidationInfo) -> bool:
    """Whether the lake lies in an object store: else nothing asks for one."""
    return is_remote(str(others.data.get("data_dir")))


def _bucket_url(value: str) -> str:
    """The URL of a folder in an object store, as far as this machine can tell.

    Raises:
        ValueError: It is none, or the store could not be read as the environment says.
    """
    if not _BUCKET_URL.fullmatch(value) or any(part in {"", ".", ".."} for part in value.rstrip("/").split("/")[3:]):
        raise ValueError("it is no s3://bucket/prefix")
    for name, instead in _NOT_AWS.items():
        if os.environ.get(name):
            raise ValueError(f"{name} is set, which not all of its readers know; {instead}")
    if not find_spec("s3fs"):
        raise ValueError("the extra `scale` is not installed: `.venv/bin/uv sync --extra scale`")
    return value.rstrip("/")


def _http_url(value: str) -> SplitResult:
    """The parts of an http(s) URL without a password or fragment.

    Raises:
        ValueError: It is none.
    """
    url = urlsplit(value)
    if not _HOST.fullmatch(url.hostname or "") or (url.port or 0) < 0:  # `port` raises where it is no number
        raise ValueError("its host or port is wrong")
    if url.scheme not in {"http", "https"} or url.fragment or "@" in url.netloc:
        raise ValueError("it is not a plain http(s) URL")
    return url


def load_settings() -> Settings:
    """Read and validate the settings.

    Returns:
        The settings, frozen.

    Raises:
        SettingsError: a value is wrong. Only the first one is told, in one line; a secret's value never.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0])  # of a default it is the field's own name
        field = Settings.model_fields.get(where) or next(
            field for field in Settings.model_fields.values() if field.validation_alias == where
        )
        variable = field.validation_alias
        is_secret = field.annotation == SecretStr | None
        value = "" if is_secret else f"={_SECRET.sub('***', repr(first['input']))}"
        reason = _SECRET.sub("***", first["msg"].removeprefix("Value error, "))
        raise SettingsError(f"{variable}{value} is wrong: {reason}. Allowed: {field.description}.") from None


settings = load_settings()
