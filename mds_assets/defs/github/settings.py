"""GitHub's settings. Settings that every source shares are in `stack/settings.py`."""

import re
from collections.abc import Sequence

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from mds_assets.stack.environment import SourceSettings, http_url, load
from mds_assets.stack.loopback import is_loopback

# GitHub's own rule for logins: letters, digits and single hyphens, at most 39 characters. Enterprise managed users also
# have an underscore and a short code.
_LOGIN = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9_])*")
# The page of an organisation or user, as copied from a browser. No @, so that a suggestion never repeats a password.
_PAGE = re.compile(r"(?:https?://)?[^\s/@]+\.[^\s/@]+/(?:orgs/)?([\w-]+)(?:[/?#][^@]*)?")


class GitHubSettings(SourceSettings):
    """What to read from GitHub, and how."""

    model_config = SettingsConfigDict(env_prefix="GITHUB_")

    organisations: tuple[str, ...] = Field(
        default=(),
        validation_alias="GITHUB_ORG",
        title="Whose repositories to read. Without it: a built-in, synthetic sample.",
        description="an organisation or user, or several, comma-separated: letters, digits and single hyphens",
    )
    token: SecretStr | None = Field(
        default=None,
        title="Raises GitHub's limit from 60 to 5,000 requests an hour.",
        description="a GitHub token, without blanks",
    )
    api_url: str = Field(
        default="https://api.github.com",
        title="GitHub's REST API.",
        description="the http(s) URL of GitHub's REST API; of a GitHub Enterprise Server: https://HOST/api/v3",
    )
    api_version: str = Field(
        default="2026-03-10",
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        title="The version of that API.",
        description="a version of GitHub's REST API, a date as YYYY-MM-DD",
    )
    max_wait_seconds: int = Field(
        default=900,
        ge=0,
        le=86_400,
        title="How long one request may wait in all, for rate limits and between attempts. A run that would have to "
        "wait longer fails and says when to retry.",
        description="a whole number of seconds, 0 to 86400",
    )
    orgs_per_run: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        validation_alias="MDS_ORGS_PER_RUN",
        title="Splits the daily run if there are many organisations. Without it: all in one run.",
        description="how many organisations a run crawls, 1 to 10000",
    )

    def summary(self) -> str:
        """The organisations that a run reads."""
        return ", ".join(self.organisations) or "the built-in sample"

    def requests_per_hour(self) -> int | None:
        """GitHub's limit with a token or without; none for the sample."""
        if not self.organisations:
            return None
        return 5_000 if self.token else 60

    def hints(self) -> Sequence[tuple[str, str]]:
        """How to switch from the sample to real data, apart from it: a command, and what it does."""
        if self.organisations:
            return ()
        return (("GITHUB_ORG=acme MDS_DATA_DIR=data/acme make run", "your own organisation"),)

    @field_validator("organisations", mode="before")
    @classmethod
    def _split_organisations(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",")]
        for name in names:
            if not _is_login(name):
                page = _PAGE.fullmatch(name)
                if page and _is_login(page[1]):
                    raise ValueError(f"{name!r} is a URL; write {page[1]!r}")
                raise ValueError(f"{name!r} is not an organisation name")
        # GitHub logins are case-insensitive. Two spellings in one lake would count a repository twice.
        return tuple(dict.fromkeys(name.lower() for name in names))

    @field_validator("token", mode="after")
    @classmethod
    def _token_is_a_header_value(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("it contains blanks or characters that are not allowed in a token")
        return value

    @field_validator("api_url", mode="after")
    @classmethod
    def _api_url_is_http(cls, value: str, others: ValidationInfo) -> str:
        url = http_url(value)
        if url.query:
            raise ValueError("it is not a plain http(s) URL")
        if url.scheme == "http" and others.data.get("token") and not is_loopback(url.hostname or ""):
            raise ValueError("GITHUB_TOKEN would travel unencrypted; use https")
        return value.rstrip("/")


def _is_login(name: str) -> bool:
    return len(name) <= 39 and bool(_LOGIN.fullmatch(name))


settings = load(GitHubSettings)
