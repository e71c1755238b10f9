"""What lands of an event: all that GitHub sent, and the few facts that it did not."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json, kept

# Lone surrogates, which no file can hold, and the noncharacters that dlt gives a meaning at the start of a text.
_UNSTORABLE = re.compile("[\ud800-\udfff\ufdd0-\ufdef]")

Model = TypeVar("Model", bound=BaseModel)


def event_row(sent: Json, facts: Json) -> Json:
    """All that GitHub sent but derivable URLs and credentials, and the facts.

    A field of GitHub's that has a fact's name becomes `github_<name>`. Anyone may open an issue, so a character that
    cannot be stored becomes U+FFFD: one title must not stop the table.
    """
    landed = _storable(kept(sent))
    return {**{f"github_{name}" if name in facts else name: value for name, value in landed.items()}, **facts}


def repository_facts(repository: Json) -> Json:
    """Which repository an event belongs to; no field of GitHub's begins with `repo_`."""
    return {
        "org": repository["org"],
        "repo_id": repository["id"],
        "repo_name": repository.get("name"),
        "repo_full_name": repository["full_name"],
        "repo_visibility": repository.get("visibility"),
        "repo_default_branch": repository.get("default_branch"),
    }


def parsed(model: type[Model], sent: Any, organisation: str, what: str) -> Model:
    """The fields of an object that its day and its meaning depend on.

    Raises:
        GitHubError: One is absent or has another type than GitHub documents. The message names the field, and not its
            value, which may tell of a private repository.
    """
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or what
        number = sent.get("id") if isinstance(sent, dict) else None
        reason = first["msg"].removeprefix("Value error, ")
        raise GitHubError(
            f"GITHUB_ORG {organisation!r}: GitHub sent {what} of id {ascii(number)[:100]} with {field} of type "
            f"{type(first['input']).__name__}: {reason}. Nothing was landed. If GitHub changed the field for good, "
            f"change {model.__name__} in {model.__module__}."
        ) from None


def objects_of(body: Any, organisation: str, url: str, what: str) -> list[Json]:
    """The objects of a list.

    Raises:
        GitHubError: It is no list of objects.
    """
    if isinstance(body, list) and all(isinstance(item, dict) for item in body):
        return body
    raise GitHubError(
        f"GITHUB_ORG {organisation!r}: GET {url} answered 200 with {type(body).__name__} that is no list of {what}. "
        "Check GITHUB_API_URL and any proxy."
    )


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value
