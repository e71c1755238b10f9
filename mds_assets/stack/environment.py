"""Reading settings: their base classes, one-line errors, unknown names, and the discovery of sources' settings.

A source keeps its settings in `mds_assets/defs/<source>/settings.py`, which is discovered automatically:

    class ShopSettings(SourceSettings):
        model_config = SettingsConfigDict(env_prefix="SHOP_")
        token: SecretStr | None = Field(default=None, title="The shop's token.", description="a token")  # SHOP_TOKEN

    settings = load(ShopSettings)

Sources import this module only: importing `settings` reads every source's settings. It defines no setting itself, and
imports nothing heavy, because every command reads settings first.
"""

import json
import os
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache, lru_cache
from html import escape
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import SplitResult, quote, quote_plus, unquote, urlsplit

import click
from dotenv.parser import parse_stream
from pydantic import Secret, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from mds_assets.stack.text import printable

# For an environment that `make` didn't set up: `telemetry.pth` sets them before anything runs.
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

PROJECT_ROOT = Path(__file__).resolve().parents[2]
ENV_FILE = PROJECT_ROOT / ".env"

# Tokens in the formats that secret scanners recognise, in any variable or text.
_TOKEN = r"gh[a-z]_\w+|github_pat_\w+|\b[0-9a-f]{40}\b"  # noqa: S105
# An invalid value may contain anything: redact all that could be the password of a URL.
_SECRET_IN_VALUE = re.compile(rf"{_TOKEN}|(?<=://).*(?=@)")
# Also what HTTP calls credentials, whoever made them: base64 of a user and a password shows neither.
_SECRET_IN_TEXT = rf"{_TOKEN}|(?<=://)[^\s/@]+(?=@)|(?i:(?<=\bbasic )|(?<=\bbearer ))(?=\S*[\d=])[\w+/.~-]{{8,}}=*"
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:]+")

# In `.env`: the name that a line sets.
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?([A-Z][A-Z0-9_]+)[ \t]*(?:[=:]|$)", re.MULTILINE)
# What python-dotenv replaces with a variable's value: for us, for Dagster and for dg alike.
_EXPANDED = re.compile(r"\$\{[^}]*\}")

# MDS_* names that are not settings: the port of a deployment's code server (deploy/celery), and the folder where the UI
# tests put their screenshots.
_NOT_SETTINGS = frozenset({"MDS_CODE_PORT", "MDS_SCREENSHOTS"})
# Kubernetes sets variables in every pod for each service of its namespace, such as mds-assets-dagster-webserver.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_KUBERNETES = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")


class SettingsError(click.ClickException):
    """A setting has an invalid value or an unknown name. The message is one line that lists what is allowed.

    It is a click exception, so that `dagster` and `mds` both print just that line and exit with code 1; Dagster's code
    server shows it like any other exception.
    """

    def __init__(self, message: str) -> None:
        """Keep the message on one line: it quotes values and names."""
        super().__init__(printable(message))


class EnvironmentSettings(BaseSettings):
    """Settings from environment variables, else from `.env` beside pyproject.toml, else their defaults.

    Each field has a `title` (its meaning) and a `description` (the allowed values), which error messages and the
    reference show. Its variable is its `validation_alias`, or `env_prefix` plus its name. An empty environment variable
    means the default, even if `.env` sets it.
    """

    # Lists are not parsed as JSON, because the error for an invalid value would not name the variable. Fields are not
    # populated by name, because an unrelated variable such as TOKEN or DATA_DIR would set them.
    model_config = SettingsConfigDict(extra="ignore", frozen=True, enable_decoding=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Reject a field that error messages and the reference could not explain."""
        for name, field in cls.model_fields.items():
            if not (field.title and field.description and isinstance(field.validation_alias, str | None)):
                raise TypeError(f"{cls.__name__}.{name} needs a title, a description, and at most one validation_alias")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        # Instead of pydantic's `env_ignore_empty`, so that an empty variable also overrides `.env`.
        return {name: value for name, value in values.items() if value != ""}


class SourceSettings(EnvironmentSettings):
    """The settings of one source.

    In `.env`, an unknown name with the source's `env_prefix` is an error. In the environment, only a near miss of a
    known name is, because other programs may use the prefix too.
    """

    def summary(self) -> str:
        """What a run reads, for the first line of `mds run`; empty by default."""
        return ""

    def hints(self) -> Sequence[tuple[str, str]]:
        """What to do next, for the last lines of `mds run`: commands, and what they do; empty by default."""
        return ()

    def requests_per_hour(self) -> int | None:
        """The source's rate limit, for the duration that `mds plan` estimates; None, the default, if it has none."""
        return None


_Settings = TypeVar("_Settings", bound=EnvironmentSettings)


def load(kind: type[_Settings]) -> _Settings:
    """Read and validate settings of this class.

    Raises:
        SettingsError: A value is invalid, or `.env` is. The message names only the first one, and never shows a secret.
    """
    options: dict[str, Any] = {"_env_file": ENV_FILE}  # the type checker only knows the fields
    _check_dotenv()
    try:
        return kind(**options)
    except ValidationError as error:
        raise SettingsError(_explain(kind, error)) from None


def _check_dotenv() -> None:
    """Reject what python-dotenv would skip with a warning, or take for another value than its author meant.

    Raises:
        SettingsError: Names the line and the variable; never the value, which may be a secret.
    """
    try:
        text = ENV_FILE.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsError(f"{ENV_FILE} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE} is not in UTF-8: save it in that encoding.") from None
    if "\0" in text:
        raise SettingsError(f"{ENV_FILE} has a NUL character: save it in UTF-8.")
    for binding in parse_stream(StringIO(text)):
        written = binding.original.string
        named = _ASSIGNED.match(written)
        line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        swallowed = _ASSIGNED.search(written.strip(), 1)  # an assignment within a value of several lines
        if (binding.key or binding.error) and (binding.error or binding.value is None or swallowed):
            raise SettingsError(
                f"{ENV_FILE}, line {line}: {named[1] if named else 'this'} cannot be read: write NAME=value, and close "
                "each quote in its line."
            )
        if _EXPANDED.search(binding.value or ""):
            raise SettingsError(
                f"{ENV_FILE}, line {line}: {binding.key} has ${{...}}, which is read as the value of another variable, "
                f"even in quotes: write that value, or set {binding.key} in the environment."
            )


def _explain(kind: type[EnvironmentSettings], error: ValidationError) -> str:
    first = error.errors()[0]
    value = first["input"]
    reason = " ".join(first["msg"].removeprefix("Value error, ").split())
    if not first["loc"]:  # a check of several fields, whose input is all of them
        return f"The settings of {kind.__name__} are wrong: {_SECRET_IN_VALUE.sub('***', reason)}."
    location = str(first["loc"][0])  # the alias, but the field's name where the default is wrong
    variable, field = next(
        (variable, field)
        for (variable, field), name in zip(variables(kind).items(), kind.model_fields, strict=True)
        if location in (field.validation_alias, name)
    )
    if first["type"] == "missing":
        return f"{variable} is not set. Allowed: {field.description}."
    if is_secret(field):
        shown = ""
        reason = reason.replace(str(value), "***")
    else:
        shown = f"={_SECRET_IN_VALUE.sub('***', repr(value))}"
    return f"{variable}{shown} is wrong: {_SECRET_IN_VALUE.sub('***', reason)}. Allowed: {field.description}."


def variables(kind: type[EnvironmentSettings]) -> dict[str, FieldInfo]:
    """The fields of the class by their environment variable, in the order of their declaration."""
    prefix = kind.model_config.get("env_prefix", "")
    return {str(field.validation_alias or prefix + name).upper(): field for name, field in kind.model_fields.items()}


@cache  # every log record asks for the sources' secrets
def source_folders(package: str = "mds_assets.defs") -> Mapping[str, Path]:
    """The folders of the sources by name, in order."""
    spec = find_spec(package)
    places = (spec and spec.submodule_search_locations) or []
    folders = sorted(folder for place in places for folder in Path(place).iterdir() if folder.is_dir())
    return {folder.name: folder for folder in folders if folder.name.isidentifier() and folder.name != "__pycache__"}


def source_settings(package: str = "mds_assets.defs", only: Collection[str] = ()) -> list[SourceSettings]:
    """The settings of all sources, or only of these: `settings` of each `<package>/<source>/settings.py`.

    Raises:
        SettingsError: A file has no such object, or a value is invalid. Any other error on import propagates.
    """
    sources = [name for name, folder in source_folders(package).items() if (folder / "settings.py").exists()]
    return [_settings_of(f"{package}.{source}.settings") for source in sources if not only or source in only]


def _settings_of(module: str) -> SourceSettings:
    settings = getattr(import_module(module), "settings", None)
    if not isinstance(settings, SourceSettings):
        raise SettingsError(
            f"{module} has no `settings = load(...)` of a class derived from SourceSettings. "
            "It may import mds_assets.stack.environment, but not mds_assets.stack.settings."
        )
    return settings


def check_names(kinds: Iterable[type[EnvironmentSettings]]) -> None:
    """Reject names that look like settings but are not, given the classes of all settings.

    Raises:
        SettingsError: The environment or `.env` has such a name.
    """
    kinds = list(kinds)
    known = {name for kind in kinds for name in variables(kind)}
    prefixes = {kind.model_config.get("env_prefix", "") for kind in kinds if issubclass(kind, SourceSettings)} - {""}
    dotenv = DotEnvSettingsSource(EnvironmentSettings, env_file=ENV_FILE).env_vars
    # `.env` first: Dagster copies it into the environment.
    for where, names in ((".env", dotenv), ("the environment", os.environ)):
        for name in sorted(set(map(str.upper, names)) - known - _NOT_SETTINGS):
            if name.startswith("MDS_") and not _KUBERNETES.fullmatch(name):
                raise SettingsError(_unknown(name, where, "MDS_", known))
            for prefix in sorted(prefixes):
                if name.startswith(prefix) and (where == ".env" or _nearest(name, prefix, known, 0.8)):
                    raise SettingsError(_unknown(name, where, prefix, known))


def _unknown(name: str, where: str, prefix: str, known: Iterable[str]) -> str:
    nearest = _nearest(name, prefix, known, 0.5)
    hint = f"; did you mean {nearest}?" if nearest else "."
    allowed = ", ".join(sorted(other for other in known if other.startswith(prefix)))
    return f"{name} in {where} is not a setting{hint} Allowed: {allowed}."


def _nearest(name: str, prefix: str, known: Iterable[str], cutoff: float) -> str | None:
    """The known name that this one probably misspells. Only the part after the prefix is compared."""
    endings = [other.removeprefix(prefix) for other in known if other.startswith(prefix)]
    matches = get_close_matches(name.removeprefix(prefix), sorted(endings), n=1, cutoff=cutoff)
    return prefix + matches[0] if matches else None


def is_secret(field: FieldInfo) -> bool:
    """Whether the field holds a secret, on its own or in a collection."""
    return _names_a_secret(field.annotation)


def _names_a_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, Secret | SecretStr):
        return True
    return any(map(_names_a_secret, get_args(annotation)))


def secret_values(settings: EnvironmentSettings) -> set[str]:
    """The values of all secrets that are set."""
    return {secret for name in _secret_fields(type(settings)) for secret in _secrets(getattr(settings, name)) if secret}


@cache  # every log record asks
def _secret_fields(kind: type[EnvironmentSettings]) -> list[str]:
    return [name for name, field in kind.model_fields.items() if is_secret(field)]


def given_secrets(settings: EnvironmentSettings) -> set[str]:
    """The values of all secrets that are set and not a default: that is no secret."""
    defaults = {secret for field in type(settings).model_fields.values() for secret in _secrets(field.default)}
    return secret_values(settings) - defaults


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, Secret | SecretStr):
        yield str(value.get_secret_value())
    elif isinstance(value, Mapping):
        yield from _secrets(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item)


def redact_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text with *** for these secrets in any spelling, and for anything that looks like a token or a password."""
    return _pattern(frozenset(secrets)).sub("***", text)


@lru_cache(maxsize=4)  # the settings' secrets: every log record and event asks for them
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
    # The longest first: another may be a part of it.
    ordered = sorted(filter(None, spellings), key=lambda spelling: (-len(spelling), spelling))
    return re.compile("|".join([*map(re.escape, ordered), _SECRET_IN_TEXT]))


def _spellings(secret: str) -> set[str]:
    """A secret as itself, and as URLs, JSON, Python and HTML write it; of a URL, its password too."""
    whole = {secret}
    with suppress(ValueError):  # not a URL
        whole |= {unquote(urlsplit(secret).password or ""), urlsplit(secret).password or ""}
    plain = {
        spelling
        for one in whole
        for spelling in (one, quote(one), quote(one, safe=""), quote_plus(one), json.dumps(one)[1:-1], repr(one)[1:-1],
                         escape(one), b64encode(one.encode(errors="surrogatepass")).decode())
    }  # fmt: skip
    return plain | {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), spelling) for spelling in plain}


def http_url(value: str) -> SplitResult:
    """The parts of an http(s) URL without user, password or fragment.

    Not pydantic's HttpUrl, which silently repairs typos (`https:example.com`, `https:///host`, a line break inside) and
    allows passwords.

    Raises:
        ValueError: It is none.
    """
    url = urlsplit(value)
    if not _HOST.fullmatch(url.hostname or "") or (url.port or 0) < 0:  # `port` raises if it is not a number
        raise ValueError("its host or port is wrong")
    if url.scheme not in {"http", "https"} or url.fragment or "@" in url.netloc:
        raise ValueError("it is not a plain http(s) URL")
    return url
