"""Promises of who the lake is: a profile and a role are as good as a key, for every client alike."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mds_assets.stack.environment import load
from mds_assets.stack.lake import Lake, LakeError, object_store
from mds_assets.stack.settings import Settings
from mds_assets_tests.stack.lake.files import write_and_read
from mds_assets_tests.store import KEY, Store

METADATA, CONTAINER = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without AWS's files, on a machine without a role."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path


@pytest.fixture
def metadata(store: Store) -> Iterator[str]:
    """The URL of a metadata service whose one role has the store's key for an hour."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.answer("session")

        def do_GET(self) -> None:
            ends = datetime.now(UTC) + timedelta(hours=1)
            # SeaweedFS refuses a session that it did not give itself.
            key = {"AccessKeyId": KEY, "SecretAccessKey": store.secret, "Token": "", "Code": "Success"}
            named = json.dumps(key | {"Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}"})
            self.answer("role" if self.path.endswith("/security-credentials/") else named)

        def answer(self, text: str) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def open_lake(root: str, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Lake:
    """The lake as the settings of this environment give it."""
    for name, value in ({"MDS_DATA_DIR": root} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(object_store, "settings", load(Settings))
    return Lake(root)


@pytest.mark.parametrize("profile", ["work", "default"])
def test_a_profile_gives_key_region_and_endpoint(
    stored_lake: Lake, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch, profile: str
):
    (home / ".aws/credentials").write_text(
        f"[{profile}]\naws_access_key_id = {KEY}\naws_secret_access_key = {store.secret}\n"
    )
    section = "default" if profile == "default" else f"profile {profile}"
    (home / ".aws/config").write_text(f"[{section}]\nregion = eu-central-1\nendpoint_url = {store.endpoint}\n")
    lake = open_lake(stored_lake.root, monkeypatch, **({} if profile == "default" else {"AWS_PROFILE": profile}))
    write_and_read(lake, home)
    options = object_store.read_options()
    assert (options.endpoint_url, options.region) == (store.endpoint, "eu-central-1")
    assert store.secret not in repr(options)
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    monkeypatch.setattr(object_store, "settings", load(Settings))
    assert object_store.read_options().region == "us-east-2"


def test_a_profile_may_run_a_command_for_its_key(
    stored_lake: Lake, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
):
    (home / "key.json").write_text(json.dumps({"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": store.secret}))
    (home / ".aws/config").write_text(f"[profile work]\ncredential_process = cat {home}/key.json\n")
    write_and_read(open_lake(stored_lake.root, monkeypatch, AWS_PROFILE="work", AWS_ENDPOINT_URL=store.endpoint), home)


@pytest.mark.parametrize("role", [{CONTAINER: "/role"}, {METADATA: "", "AWS_EC2_METADATA_DISABLED": "false"}])
def test_the_role_of_a_container_or_machine_gives_the_key(
    stored_lake: Lake, store: Store, metadata: str, home: Path, monkeypatch: pytest.MonkeyPatch, role: dict[str, str]
):
    role = {name: metadata + value if name in (CONTAINER, METADATA) else value for name, value in role.items()}
    write_and_read(open_lake(stored_lake.root, monkeypatch, AWS_ENDPOINT_URL=store.endpoint, **role), home)


def test_a_key_in_the_settings_wins_over_a_profile(
    stored_lake: Lake, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
):
    (home / ".aws/credentials").write_text("[work]\naws_access_key_id = a\naws_secret_access_key = b\n")
    write_and_read(open_lake(stored_lake.root, monkeypatch, AWS_PROFILE="work", **store.environment), home)


def test_the_key_is_the_settings_not_the_environments(
    stored_lake: Lake, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
):
    """As `.env` sets it: the clients themselves read the environment, which may hold another."""
    lake = open_lake(stored_lake.root, monkeypatch, **store.environment)
    lake.path()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setitem(os.environ, name, "another")
    write_and_read(lake, home)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AWS_PROFILE": "work"}, r"The config profile \(work\) could not be found"),
        ({}, "there are no credentials"),
    ],
)
def test_no_such_profile_and_no_key_are_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
):
    lake = open_lake("s3://lake/x", monkeypatch, **variables)
    with pytest.raises(LakeError, match=rf"MDS_DATA_DIR='s3://lake/x' cannot be reached: {reason}\. Check it.*"):
        lake.path()


def test_a_key_that_cannot_be_had_any_more_is_one_line(store: Store, home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / ".aws/config").write_text("[profile work]\ncredential_process = false\n")
    lake = open_lake("s3://lake/x", monkeypatch, AWS_PROFILE="work", AWS_ENDPOINT_URL=store.endpoint)
    with pytest.raises(LakeError, match=r"cannot be reached: .*custom-process") as refused, lake.workspace():
        pass
    assert "\n" not in str(refused.value)
