"""The stack's own settings, and functions over all settings: redaction, previews, the reference page.

Values come from the environment, else from `.env` beside `pyproject.toml`, else from the defaults below. A source's
settings are in its own folder (see `environment`). `python -m mds_assets.stack.settings` prints the reference,
docs/reference/settings.md.
"""

import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from pydantic import ByteSize, Field, SecretStr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from mds_assets.stack.environment import (
    PROJECT_ROOT,
    EnvironmentSettings,
    SourceSettings,
    check_names,
    given_secrets,
    http_url,
    is_secret,
    load,
    redact_secrets,
    secret_values,
    source_folders,
    source_settings,
    variables,
)
from mds_assets.stack.loopback import is_loopback
from mds_assets.stack.names import PRIVATE
from mds_assets.stack.ui_settings import UISettings

if TYPE_CHECKING:
    from obstore.store import S3Credential

_BUCKET_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?")
# Only some of obstore, Polars and boto3 read these, so they would use different stores.
_NOT_AWS = {
    "AWS_ENDPOINT": "use AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3": "use AWS_ENDPOINT_URL",
}
# Not pydantic's ByteSize: it rejects 80% and accepts 10bit or a bare 4, and DuckDB needs the text anyway.
_BYTES = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B|B|%)", re.IGNORECASE)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# In bytes. A path may have 4,096 on Linux and 1,024 on macOS; the lake's own folders and files need up to 300.
_MAX_NAME, _MAX_PATH = 255, 3_700 if sys.platform == "linux" else 700

_PREVIEW_ROWS = 5  # of a table in the event log, if MDS_PREVIEW_ROWS is not set


class Settings(EnvironmentSettings):
    """Where the lake is, how far a mart looks back, what a run may show and use."""

    data_dir: str = Field(
        default="data",
        validation_alias="MDS_DATA_DIR",
        title="The root of the lake.",
        description="a folder (if relative, beside pyproject.toml) or a file:// URL, without %, ? and \\; or "
        "s3://bucket/prefix, of lower-case letters, digits, dots and hyphens, the prefix also of capitals, _ and /",
    )
    aws_endpoint_url: str | None = Field(
        default=None,
        validation_alias="AWS_ENDPOINT_URL",
        title="The object store. This and the next six matter only if MDS_DATA_DIR is s3://.",
        description="the http(s) URL of the object store, if it is not Amazon's",
    )
    aws_region: str | None = Field(
        default=None,
        validation_alias="AWS_REGION",
        title="The region of the object store.",
        description="a region such as eu-central-1",
    )
    aws_default_region: str | None = Field(
        default=None,
        validation_alias="AWS_DEFAULT_REGION",
        title="The region if AWS_REGION is not set.",
        description="a region such as eu-central-1; AWS_REGION takes precedence",
    )
    aws_access_key_id: SecretStr | None = Field(
        default=None,
        validation_alias="AWS_ACCESS_KEY_ID",
        title="The key of the object store.",
        description="an access key, with AWS_SECRET_ACCESS_KEY",
    )
    aws_secret_access_key: SecretStr | None = Field(
        default=None,
        validate_default=True,
        validation_alias="AWS_SECRET_ACCESS_KEY",
        title="The secret of that key.",
        description="the secret of AWS_ACCESS_KEY_ID; without both, AWS_PROFILE or a role gives the key",
    )
    aws_session_token: SecretStr | None = Field(
        default=None,
        validation_alias="AWS_SESSION_TOKEN",
        title="The session token, if the key is temporary.",
        description="the session token of a temporary AWS_ACCESS_KEY_ID",
    )
    aws_profile: str | None = Field(
        default=None,
        validation_alias="AWS_PROFILE",
        title="The profile for key, region and endpoint if they are not set. Without it: the default "
        "profile, else the role of the container or machine.",
        description="a profile from AWS's configuration files",
    )
    lookback_days: int = Field(
        default=7,
        ge=1,
        le=366,
        validation_alias="MDS_LOOKBACK_DAYS",
        title="The lookback window of the marts in calendar days, the day itself included.",
        description="a whole number of days, 1 to 366",
    )
    start_date: date = Field(
        default=date(2025, 1, 1),
        validation_alias="MDS_START_DATE",
        title="The first daily partition.",
        description="a past date as YYYY-MM-DD",
    )
    heal_days: int = Field(
        default=0,
        ge=0,
        le=366,
        validation_alias="MDS_HEAL_DAYS",
        title="In how many past days `heal_schedule` makes what is missing or stale, once an hour. 0: none.",
        description="a whole number of days, 0 to 366",
    )
    heal_requests: int = Field(
        default=500,
        ge=0,
        validation_alias="MDS_HEAL_REQUESTS",
        title="How many requests to sources one run of that schedule may make, going by the last loads.",
        description="a whole number of requests",
    )
    sources: tuple[str, ...] = Field(
        default=(),
        validation_alias="MDS_SOURCES",
        title="The sources to load. Without it: all.",
        description="folders of `mds_assets/defs/`, comma-separated",
    )
    preview_rows: int | None = Field(
        default=None,
        ge=0,
        le=100,
        validation_alias="MDS_PREVIEW_ROWS",
        title="How many rows of a table Dagster's event log shows; above 0, reports may show all names. Without it: 5, "
        "but only public rows if a source has a secret, such as a token, that gives access to private data, or had one "
        "when it landed rows of this lake.",
        description="how many rows of a day's table the event log and the report may show, 0 to 100",
    )
    readable_by: Literal["owner", "group", "everyone"] | None = Field(
        default=None,
        validation_alias="MDS_READABLE_BY",
        title="Who may read the lake and Dagster's records on disk. Without it: owner if a source has a secret, such "
        "as a token, that gives access to private data, or had one when it landed rows of this lake, else whoever the "
        "umask lets.",
        description="owner (modes 0700 and 0600), group (0750 and 0640) or everyone (as the umask says)",
    )
    alert_webhook: SecretStr | None = Field(
        default=None,
        validation_alias="MDS_ALERT_WEBHOOK",
        title="Where to post failed runs and checks: Slack, Mattermost or similar.",
        description="the https URL of an incoming webhook; http only on this machine",
    )
    arrow_memory: ByteSize = Field(
        default="64MiB",  # pyright: ignore[reportArgumentType]  # pydantic turns it into a number
        validate_default=True,
        validation_alias="MDS_ARROW_MEMORY",
        title="Memory for tables that a run hands from one asset to the next as Arrow; what does not fit is read from "
        "Parquet. 0: none.",
        description="an amount of memory such as 64MiB",
    )
    duckdb_memory_limit: str | None = Field(
        default=None,
        validation_alias="MDS_DUCKDB_MEMORY_LIMIT",
        title="Memory that DuckDB may use in one run before it spills to disk. Without it: 80% of the machine's.",
        description="an amount of memory such as 4GB or 512MiB",
    )
    duckdb_threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        validation_alias="MDS_DUCKDB_THREADS",
        title="Threads that DuckDB may use. Without it: one per core.",
        description="a number of threads, 1 to 1024",
    )

    @property
    def region(self) -> str | None:
        """The object store's region."""
        return self.aws_region or self.aws_default_region

    @property
    def aws_key(self) -> "S3Credential | None":
        """The object store's key, if one is set."""
        if not self.aws_access_key_id or not self.aws_secret_access_key:
            return None
        return {
            "access_key_id": self.aws_access_key_id.get_secret_value(),
            "secret_access_key": self.aws_secret_access_key.get_secret_value(),
            "token": self.aws_session_token.get_secret_value() if self.aws_session_token else None,
            "expires_at": None,
        }

    @field_validator("sources", mode="before")
    @classmethod
    def _sources_are_folders(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",") if name.strip()]
        if unknown := sorted(set(names) - set(source_folders())):
            raise ValueError(f"there is no mds_assets/defs/{unknown[0]}")
        return names

    @field_validator("alert_webhook", mode="after")
    @classmethod
    def _webhook_is_encrypted(cls, value: SecretStr | None) -> SecretStr | None:
        # Anyone who has the URL can post to it, so no message may quote it; urllib's errors do.
        if value:
            secret = value.get_secret_value()
            try:
                url = http_url(secret)
            except ValueError:
                raise ValueError("it is not a plain http(s) URL") from None
            if not re.fullmatch(r"[!-~]+", secret):
                raise ValueError("it contains blanks or characters that are not allowed in a URL")
            if url.scheme == "http" and not is_loopback(url.hostname or ""):
                raise ValueError("it would travel unencrypted; use https")
        return value

    @field_validator("data_dir", mode="after")
    @classmethod
    def _data_dir_is_absolute(cls, value: str) -> str:
        return _bucket_url(value) if value.startswith("s3://") else str(_folder(value))

    @field_validator("aws_endpoint_url", mode="after")
    @classmethod
    def _endpoint_is_http(cls, value: str | None, others: ValidationInfo) -> str | None:
        if not _on_a_store(others):
            return None
        if value and (http_url(value).query or value.rstrip("/").count("/") > 2):
            raise ValueError("it has more than a scheme, a host and a port")
        return value and value.rstrip("/")

    @field_validator("aws_region", "aws_default_region", mode="after")
    @classmethod
    def _region_is_a_name(cls, value: str | None, others: ValidationInfo) -> str | None:
        if value and _on_a_store(others) and not re.fullmatch(r"[a-z0-9-]+", value):
            raise ValueError("it is not a region name")
        return value

    @field_validator("aws_secret_access_key", mode="after")
    @classmethod
    def _credentials_are_whole(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if _on_a_store(others) and bool(value) != bool(others.data.get("aws_access_key_id")):
            raise ValueError("one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set without the other")
        return value

    @field_validator("start_date", mode="before")
    @classmethod
    def _start_is_a_date(cls, value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):  # pydantic takes seconds as well
            raise ValueError("it is not a date")
        return value

    @field_validator("start_date", mode="after")
    @classmethod
    def _start_is_past(cls, value: date) -> date:
        if value >= datetime.now(UTC).date():
            raise ValueError("it is not in the past")
        return value

    @field_validator("duckdb_memory_limit", mode="after")
    @classmethod
    def _memory_is_an_amount(cls, value: str | None) -> str | None:
        if value and (not _BYTES.fullmatch(value) or not re.search("[1-9]", value)):
            raise ValueError("it is not an amount of memory")
        return value


def is_remote(root: str) -> bool:
    """Whether this lake root is in an object store."""
    return "://" in root


def _on_a_store(others: ValidationInfo) -> bool:
    """Whether the lake is in an object store; if not, nothing uses one."""
    return is_remote(str(others.data.get("data_dir")))


def _folder(value: str) -> Path:
    """Validate a folder, or the file:// URL of one, without touching it.

    Raises:
        ValueError: It is neither, or one of the engines could not work in it.
    """
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", value)  # of two letters or more: C:/ is a drive
    path = value.removeprefix("file://").removeprefix("localhost")
    if scheme and (scheme[1] != "file" or not value.startswith("file://")):
        raise ValueError(f"{value[: scheme.end()]} is not s3:// or file://")
    if scheme and not path.startswith("/"):
        raise ValueError(f"{path.partition('/')[0]!r} is another host: write file:///folder")
    if re.match(r"~[^/]", path):
        raise ValueError(f"{path.partition('/')[0]} is another user's folder: write its path")
    folder = PROJECT_ROOT / Path(re.sub("^//+", "/", path)).expanduser()
    for character, who in (("%", "dlt"), ("?", "DuckDB"), ("\\", "DuckDB")):
        if character in folder.as_posix():
            raise ValueError(f"{who} cannot work in '{folder}', whose path has a {character}")
    if not path.strip() or folder == Path(folder.anchor):
        raise ValueError("it is no folder of its own")
    if _CONTROL.search(path):
        raise ValueError("it has a line break or another control character")
    if max(len(os.fsencode(part)) for part in folder.parts) > _MAX_NAME or len(os.fsencode(folder)) > _MAX_PATH:
        raise ValueError("it is too long for a file system")
    return folder


def _bucket_url(value: str) -> str:
    """Validate the URL of a folder in an object store, without contacting the store.

    Raises:
        ValueError: It is not such a URL, or the environment's settings for the store are unusable.
    """
    if not _BUCKET_URL.fullmatch(value) or any(part in {"", ".", ".."} for part in value.rstrip("/").split("/")[3:]):
        raise ValueError("it is not s3://bucket/prefix")
    for name, instead in _NOT_AWS.items():
        if os.environ.get(name):
            raise ValueError(f"{name} is set, which only some clients honour; {instead}")
    if not find_spec("obstore"):
        raise ValueError("the extra `scale` is not installed: `.venv/bin/uv sync --extra scale`")
    return value.rstrip("/")


def loaded_sources() -> list[SourceSettings]:
    """The settings of the sources that MDS_SOURCES names, or of all."""
    return source_settings(only=settings.sources)


def redact(text: str) -> str:
    """The text with *** for every secret of the stack and its sources, and for anything that looks like one."""
    return redact_secrets(text, _secrets())


def has_secrets() -> bool:
    """Whether the stack or one of its sources has a secret."""
    return bool(_secrets())


def _secrets() -> frozenset[str]:
    return frozenset(secret for owner in (settings, *loaded_sources()) for secret in secret_values(owner))


def preview_rows(own: Settings | None = None) -> int:
    """How many rows of a day's table the event log and reports may show.

    MDS_PREVIEW_ROWS if set; else 0 if rows may be private, see `is_private`; else 5.

    Args:
        own: The stack's settings, if not those from the environment.
    """
    given = (own or settings).preview_rows
    return 0 if given is None and is_private(own) else public_preview_rows(own)


def is_private(own: Settings | None = None) -> bool:
    """Whether rows may be private: a source was given a secret, or had one when it landed rows of this lake.

    Args:
        own: The stack's settings, if not those from the environment.
    """
    if has_source_secrets():
        return True
    root = (own or settings).data_dir
    return _is_store_private(root) if is_remote(root) else os.access(Path(root, PRIVATE), os.F_OK)


def has_source_secrets() -> bool:
    """Whether a source was given a secret, which may give it access to private data."""
    return any(map(given_secrets, loaded_sources()))


@cache  # it takes a request
def _is_store_private(root: str) -> bool:
    from mds_assets.stack.lake import Lake, LakeError  # here, because the lake reads settings

    try:
        return Lake(root).is_private
    except LakeError:  # whoever needs the store says why; until then, show nothing
        return True


def public_preview_rows(own: Settings | None = None) -> int:
    """The same for rows that their table declares public: MDS_PREVIEW_ROWS if set, else 5."""
    given = (own or settings).preview_rows
    return _PREVIEW_ROWS if given is None else given


def previews_allowed() -> bool:
    """Whether rows, and names from them, may be shown outside of the tables."""
    return preview_rows() > 0


def settings_reference(sources: Sequence[SourceSettings] | None = None) -> str:
    """The reference page of the settings, in Markdown: the stack's, then each source's (by default, of all)."""
    found = loaded_sources() if sources is None else sources
    sections = [f"## {title}\n\n{settings_table(kind)}" for title, kind in _OWN.items()]
    sections += [f"## {type(source).__module__.split('.')[-2]}\n\n{settings_table(type(source))}" for source in found]
    return "\n".join([_REFERENCE, *sections])


def settings_table(kind: type[EnvironmentSettings]) -> str:
    """The settings of one class as a Markdown table, below the first line of the class's docstring."""
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    rows += [_row(variable, field) for variable, field in variables(kind).items()]
    return "\n".join([(kind.__doc__ or "").partition("\n")[0], "", *rows, ""])


def _row(variable: str, field: FieldInfo) -> str:
    has_default = field.default or isinstance(field.default, int)
    default = "required" if field.is_required() else f"`{field.default}`" if has_default else "none"
    meaning = f"{field.title} Never logged, never stored." if is_secret(field) else field.title
    return (
        " | ".join(
            [f"| `{variable}`", default, *(str(cell).replace("|", "\\|") for cell in (field.description, meaning))]
        )
        + " |"
    )


_REFERENCE = """\
# Settings

For anyone who runs the project. Set these in the environment, or in `.env` beside `pyproject.toml`: copy
`.env.example`. The environment overrides `.env`; an empty variable means the default. An invalid value, an unknown name
or a line that cannot be read ends every command with a one-line error that says what is allowed.

Save `.env` in UTF-8. From the project's folder, `dagster` and `dg` read it before our code does, and show a traceback
(`UnicodeDecodeError`) for any other encoding; `mds` says it in one line.

This page is generated: `.venv/bin/python -m mds_assets.stack.settings > docs/reference/settings.md`.
"""

_OWN: dict[str, type[EnvironmentSettings]] = {"The stack": Settings, "The UI": UISettings}

settings = load(Settings)
check_names([*_OWN.values(), *map(type, loaded_sources())])

if __name__ == "__main__":
    click.echo(settings_reference(), nl=False)
