"""Promises of a source with secrets: nothing shows or stores one, and only the owner reads what it fetched.

By real commands on a copy of the project. The toy quotes its secrets wherever a source's code can.
"""

import stat
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from mds_assets.stack.environment import redact_secrets
from mds_assets_tests.stack.clone import Clone
from mds_assets_tests.webhook import Webhook

TOKEN, PASSWORD = "t0ken-of-the-toy", "p@ss/w ö'rd"
YESTERDAY = str(datetime.now(UTC).date() - timedelta(days=1))

_SETTINGS = """
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict
from mds_assets.stack.environment import SourceSettings, load

class ToySettings(SourceSettings):
    '''A toy with secrets.'''
    model_config = SettingsConfigDict(env_prefix="TOY_")
    token: SecretStr | None = Field(default=None, title="Its token.", description="a token")
    password: SecretStr | None = Field(default=None, title="Its password.", description="a password")

settings = load(ToySettings)
"""
_RESOURCES = """
import base64, logging, os
from urllib.parse import quote
from dagster import AssetMaterialization, Definitions, ResourceDefinition, definitions, sensor
from mds_assets.defs.toy.settings import settings
from mds_assets.defs.toy.tables import sales

PLACE = os.environ.get("PLACE")

def quoted():
    token, password = settings.token.get_secret_value(), settings.password.get_secret_value()
    basic = base64.b64encode(f"me:{password}".encode()).decode()
    url = f"https://shop.example/?key={quote(password)}&token={token}"
    return f"{token} {password} {password!r} {url} Authorization: Basic {basic}"

class Refusing:
    def __init__(self, error):
        self.error = error
    def __iter__(self):
        raise self.error(quoted())

def shop(context):
    if PLACE == "resource":
        raise ValueError(quoted())
    if PLACE == "raw":
        return Refusing(ValueError)
    if PLACE == "disk":
        return Refusing(PermissionError)
    if PLACE == "log":
        context.log.warning("asked %s", quoted())
        logging.getLogger("any.library").error("asked " + quoted().replace("%", "%%"))
    if PLACE == "staging":
        return [row | {"country": quoted()} for row in sales()]
    return sales()

@definitions
def resources():
    @sensor(job_name="daily_refresh")
    def quoting(context):
        context.log.info(quoted())
        raise ValueError(quoted())
    return Definitions(resources={"shop": ResourceDefinition(shop)}, sensors=[quoting])
"""

_FAILS_ON_QUOTED = "CASE WHEN length(country) > 1 THEN country::INTEGER::VARCHAR ELSE coalesce(country, '?') END"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("clone"))
    toy = clone.root / "mds_assets" / "defs" / "toy"
    (toy / "settings.py").write_text(_SETTINGS)
    (toy / "resources.py").write_text(_RESOURCES)
    sql = (toy / "staging" / "orders.sql").read_text()
    (toy / "staging" / "orders.sql").write_text(sql.replace("coalesce(country, '?')", _FAILS_ON_QUOTED))
    clone.environment |= {"TOY_TOKEN": TOKEN, "TOY_PASSWORD": PASSWORD}
    return clone


def leaks(data: bytes) -> list[str]:
    spellings = {TOKEN, PASSWORD, repr(PASSWORD)[1:-1], quote(PASSWORD), quote(PASSWORD, safe="")}
    spellings |= {b64encode(f"me:{PASSWORD}".encode()).decode(), PASSWORD.replace("ö", "\\u00f6")}
    return sorted(spelling for spelling in spellings if spelling.encode() in data)


def stored(clone: Clone) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(clone.home.rglob("*")) if file.is_file())


@pytest.mark.slow(2)
@pytest.mark.parametrize("place", ["resource", "raw", "disk", "log", "staging"])
def test_no_secret_is_printed_or_stored_wherever_code_quotes_it(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, place: str
):
    monkeypatch.setenv("PLACE", place)
    monkeypatch.setenv("MDS_PREVIEW_ROWS", "1")  # otherwise errors of tables quote no values at all
    ended = clone.dagster("--partition", YESTERDAY)
    assert (ended.returncode == 0) == (place == "log"), ended.stderr
    printed = (ended.stdout + ended.stderr).encode()
    assert leaks(printed + stored(clone)) == []
    assert b"***" in printed
    assert b"***" in stored(clone)


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError(secret)",
        "threading.Thread(target=int, args=(secret,), name=secret).start()",
        "warnings.warn(secret)",
        "warnings.catch_warnings().__enter__(); warnings.simplefilter('always'); warnings.warn(secret)",
        "Owner()",
    ],
)
def test_no_hook_of_python_prints_a_secret(clone: Clone, code: str):
    prepared = """
import os, threading, warnings
import mds_assets.definitions
secret = os.environ["TOY_TOKEN"] + chr(27)
class Owner:
    def __del__(self):
        raise ValueError(secret)
    def __repr__(self):
        return f"<owner of {secret}>"
"""
    ended = clone.command("python", "-c", prepared + code)
    assert "***" in ended.stderr
    assert leaks((ended.stdout + ended.stderr).encode()) == []
    assert "\x1b" not in ended.stderr


def test_the_terminal_of_mds_shows_no_secret_either(clone: Clone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLACE", "raw")
    ended = clone.command("mds", "run", "--days", "1")
    assert ended.returncode == 1
    assert leaks((ended.stdout + ended.stderr).encode() + stored(clone)) == []
    assert ended.stderr.startswith("Error: raw/orders: ValueError: *** ***")
    assert len(ended.stderr.splitlines()) == 1


def test_a_sensor_s_error_and_log_show_no_secret(clone: Clone):
    ended = clone.command("dagster", "sensor", "preview", "quoting", "-m", "mds_assets.definitions")
    assert leaks((ended.stdout + ended.stderr).encode() + stored(clone)) == []
    assert "ValueError: *** ***" in ended.stdout + ended.stderr


def test_an_alert_shows_no_secret(clone: Clone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLACE", "resource")
    run_and_tick = f"""
from dagster import DagsterInstance, build_sensor_context
from mds_assets.definitions import defs
with DagsterInstance.get() as instance:
    sensor = defs.resolve_sensor_def("failed_runs")
    def tick(cursor):
        context = build_sensor_context(instance, cursor=cursor, repository_def=defs.get_repository_def())
        return sensor.evaluate_tick(context).cursor
    cursor = tick(None)
    job = defs.resolve_job_def("daily_refresh")
    job.execute_in_process(instance=instance, partition_key="{YESTERDAY}", raise_on_error=False)
    tick(cursor)
"""
    with Webhook() as webhook:
        monkeypatch.setenv("MDS_ALERT_WEBHOOK", webhook.url)
        ended = clone.command("python", "-c", run_and_tick)
        assert ended.returncode == 0, ended.stderr
        assert "***" in "".join(webhook.texts)
        assert leaks("".join(webhook.texts).encode()) == []


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("p/w d", "?key=p%2Fw%20d ?key=p%2fw%20d ?key=p/w%20d ?key=p%2Fw+d"),
        ('a"b<c', r"{'x': 'a\"b<c'} a\"b<c a&quot;b&lt;c"),
        ("plain-one", "cGxhaW4tb25l"),
        ("postgresql://me:h%40nter2@db/shop", 'password "h@nter2" for h%40nter2'),
    ],
)
def test_a_secret_is_known_in_every_spelling(secret: str, text: str):
    redacted = redact_secrets(text, [secret])
    assert redacted.count("***") >= min(2, len(text.split()))
    for part in (secret, "p%2F", "a&quot;b", 'a\\"b', "cGxh", "nter2"):
        assert part not in redacted


def test_credentials_of_http_are_none_of_our_secrets_and_redacted_too():
    text = "{'Authorization': 'Basic dXNlcjpwYXNzd29yZA=='} Bearer abc.def-123, but basic authentication stays"
    assert redact_secrets(text, []) == "{'Authorization': 'Basic ***'} Bearer ***, but basic authentication stays"


def modes(folder: Path) -> set[str]:
    found = [folder, *folder.rglob("*")]
    return {f"{'d' if path.is_dir() else 'f'}{stat.S_IMODE(path.stat().st_mode):o}" for path in found}


@pytest.mark.slow(6)
@pytest.mark.parametrize(
    ("readers", "expected"), [("", {"d700", "f600"}), ("group", {"d750", "f640"}), ("everyone", {"d755", "f644"})]
)
def test_files_of_a_lake_fetched_with_a_secret_are_their_owners_unless_a_setting_says_otherwise(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readers: str, expected: set[str]
):
    monkeypatch.setenv("PLACE", "")
    monkeypatch.setenv("MDS_READABLE_BY", readers)
    clone.lake = tmp_path / "lake"
    monkeypatch.setitem(clone.environment, "MDS_DATA_DIR", str(clone.lake))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setitem(clone.environment, "DAGSTER_HOME", str(home))
    ended = clone.command("mds", "run", "--days", "2")
    assert ended.returncode == 0, ended.stderr
    assert modes(clone.lake) == expected
    assert f"d{stat.S_IMODE(home.stat().st_mode):o}" in expected


@pytest.mark.slow(5)
def test_an_older_lake_and_older_records_are_closed_at_their_root(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lake, home = tmp_path / "lake", tmp_path / "home"
    for folder in (lake, home):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    monkeypatch.setitem(clone.environment, "MDS_DATA_DIR", str(lake))
    monkeypatch.setitem(clone.environment, "DAGSTER_HOME", str(home))
    monkeypatch.setenv("PLACE", "")
    assert clone.dagster("--partition", YESTERDAY).returncode == 0
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (lake, home)} == {0o700}


@pytest.mark.slow(8)
@pytest.mark.parametrize("secret", ["", TOKEN])
def test_a_lake_landed_with_a_secret_stays_private_for_runs_without(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
):
    lake = tmp_path / "lake"
    monkeypatch.setenv("PLACE", "")
    monkeypatch.setitem(clone.environment, "MDS_DATA_DIR", str(lake))
    for token, options in ((secret, []), ("", ["--skip-ingest"])):
        monkeypatch.setitem(clone.environment, "TOY_TOKEN", token)
        monkeypatch.setitem(clone.environment, "TOY_PASSWORD", token)
        home = tmp_path / f"home of {token or 'none'}{options}"
        home.mkdir()
        monkeypatch.setitem(clone.environment, "DAGSTER_HOME", str(home))
        ended = clone.command("mds", "run", "--days", "2", *options)
        assert ended.returncode == 0, ended.stderr
    assert modes(lake) == ({"d700", "f600"} if secret else {"d755", "f644"})
    records = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert (b'"preview"' in records) == (not secret)
    assert (lake / ".private").exists() == bool(secret)
