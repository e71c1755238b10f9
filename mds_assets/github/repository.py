"""A repository: the fields that staging reads, with their types, and the day it belongs to.

Everything else that GitHub sends lands unchanged.

https://docs.github.com/en/rest/repos/repos#list-organization-repositories
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mds_assets.github.errors import GitHubError

Json = dict[str, Any]  # as GitHub sends it: about 100 fields, and new ones appear at any time


def _moment(value: object) -> datetime | None:
    """GitHub's timestamps are ISO 8601 text with a zone. Reject anything that would need guessing or rounding."""
    if value is None:
        return None
    if not isinstance(value, str) or re.search(r"\.\d{7}", value):
        raise ValueError("it is not ISO 8601 text with a zone and at most microseconds")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("it has no time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("it is outside the years 1 to 9999") from None


Number = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


class License(BaseModel):
    """A licence: the field that staging reads."""

    model_config = ConfigDict(strict=True)

    spdx_id: str | None = None


class Repository(BaseModel):
    """The fields that staging reads. Null and absent are equivalent; any other type is rejected."""

    model_config = ConfigDict(strict=True)

    id: Number | None = None
    name: str | None = None
    full_name: str | None = None
    description: str | None = None
    stargazers_count: Number | None = None
    forks_count: Number | None = None
    open_issues_count: Number | None = None
    size: Number | None = None
    language: str | None = None
    license: License | None = None
    topics: list[str] | None = None
    fork: bool | None = None
    archived: bool | None = None
    visibility: str | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None
    pushed_at: Moment | None = None

    @property
    def active_at(self) -> datetime:
        """The later of `updated_at` and `pushed_at` (null when never pushed), UTC."""
        return max(moment for moment in (self.updated_at, self.pushed_at) if moment)


def parse(sent: Json, organisation: str) -> Repository:
    """The fields that staging reads.

    Raises:
        GitHubError: A field's type differs from GitHub's documentation, or its text is not Unicode. The message gives
            the organisation, the repository, the field and the value; for a private repository, its id and the value's
            type.
    """
    try:
        repository = Repository.model_validate(sent)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise _invalid(sent, organisation, f"{field}={_quotable(sent, first['input'])}: {reason}") from None
    if not (repository.updated_at or repository.pushed_at):
        raise _invalid(sent, organisation, "neither updated_at nor pushed_at: it belongs to no day")
    return repository


def row(sent: Json, repository: Repository, organisation: str, observed_at: datetime) -> Json:
    """The row to land: everything GitHub sent except derivable URLs and credentials, plus `org` and `observed_at`.

    Raises:
        GitHubError: It contains text that is not Unicode, which no file can store.
    """
    landed = {f"github_{name}" if name in _ADDED_FIELDS else name: value for name, value in kept(sent).items()}
    for name, value in landed.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            field = f"{ascii(name)[1:-1]}={_quotable(sent, value)}"
            raise _invalid(sent, organisation, f"{field}: it is not Unicode text") from None
        if isinstance(value, str) and re.match("[\ufdd0-\ufdef]", value):
            raise _invalid(sent, organisation, f"{name}={_quotable(sent, value)}: it begins with a noncharacter")
    moments = {name: getattr(repository, name) for name in ("created_at", "updated_at", "pushed_at")}
    return {**landed, **moments, "org": organisation, "observed_at": observed_at}


_ADDED_FIELDS = {"org", "observed_at"}


def kept(value: Any) -> Any:
    """The value without derivable URLs and credentials, in nested objects and lists too.

    An object's `*_url` fields that extend its own `url`, such as `keys_url`, make up three quarters of a repository's
    bytes and add no information. Anyone with a `temp_clone_token` can clone a private repository.
    """
    if isinstance(value, list):
        return [kept(item) for item in value]
    if not isinstance(value, dict):
        return value
    own = value.get("url")
    prefix = own + "/" if isinstance(own, str) else None
    return {
        key: kept(item)
        for key, item in value.items()
        if key != "temp_clone_token"
        and not (prefix and key.endswith("_url") and isinstance(item, str) and item.startswith((prefix, f"{own}{{")))
    }


def _invalid(sent: Json, organisation: str, reason: str) -> GitHubError:
    known = sent.get("full_name") or sent.get("name") or sent.get("id")
    name = f"of id {_short(sent.get('id'))}, which is private," if is_private(sent) else _short(known)
    return GitHubError(
        f"GITHUB_ORG {organisation!r}: GitHub sent repository {name} with {reason}. Nothing was landed. "
        "If GitHub changed the field for good, change its type in mds_assets/github/repository.py."
    )


def is_private(sent: Json) -> bool:
    """Whether its name is confidential: it is private or internal."""
    return bool(sent.get("private")) or sent.get("visibility", "public") != "public"


def _quotable(sent: Json, value: object) -> str:
    """The value for an error message, which logs and alerts repeat; for a private repository, only its type."""
    return f"<{type(value).__name__}>" if is_private(sent) else _short(value)


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
