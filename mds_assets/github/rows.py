"""From GitHub's JSON to a row to land: everything GitHub sent, plus a few facts from the request's context."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json, kept

# Lone surrogates, which no file can store, and noncharacters, which mean something to dlt at the start of a string.
_UNSTORABLE = re.compile("[\ud800-\udfff\ufdd0-\ufdef]")

Model = TypeVar("Model", bound=BaseModel)


def event_row(item: Json, facts: Json) -> Json:
    """Everything GitHub sent except derivable URLs and credentials, plus the facts.

    A field that shares its name with a fact is renamed `github_<name>`. Characters that cannot be stored are replaced
    with U+FFFD: anyone may open an issue, and one title must not stop the table.
    """
    landed = _storable(kept(item))
    return {**{f"github_{name}" if name in facts else name: value for name, value in landed.items()}, **facts}


def repository_facts(repository: Json) -> Json:
    """The columns that identify an event's repository. None of GitHub's own fields starts with `repo_`."""
    return {
        "org": repository["org"],
        "repo_id": repository["id"],
        "repo_name": repository.get("name"),
        "repo_full_name": repository["full_name"],
        "repo_visibility": repository.get("visibility"),
        "repo_default_branch": repository.get("default_branch"),
    }


def parse_object(model: type[Model], item: Any, organisation: str, noun: str) -> Model:
    """Validate the fields of an object that its row depends on; `noun` names it in the error.

    Raises:
        GitHubError: A field is missing, or its type differs from GitHub's documentation. The message names the field,
            never its value, which may reveal something about a private repository.
    """
    try:
        return model.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "body"
        is_missing = first["type"] == "missing"  # its input is the object without the field
        actual = "" if is_missing else f" of type {type(first['input']).__name__}"
        number = f" with id {ascii(item['id'])[:100]}" if isinstance(item, dict) and "id" in item else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise GitHubError(
            f"GITHUB_ORG {organisation!r}: GitHub sent an invalid {noun}{number}: {field}{actual}: {reason}. Nothing "
            f"was landed. If GitHub changed the field for good, change {model.__name__} in {model.__module__}."
        ) from None


def require_list(body: Any, organisation: str, url: str, nouns: str) -> list[Json]:
    """The body as a list of objects; `nouns` names them in the error.

    Raises:
        GitHubError: It is anything else.
    """
    if isinstance(body, list) and all(isinstance(item, dict) for item in body):
        return body
    actual = "a list with non-object items" if isinstance(body, list) else type(body).__name__
    raise GitHubError(
        f"GITHUB_ORG {organisation!r}: GET {url} answered 200 with {actual} instead of a list of {nouns}. Check "
        "GITHUB_API_URL and any proxy."
    )


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value
