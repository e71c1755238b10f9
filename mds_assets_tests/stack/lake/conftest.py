"""A lake of each test's own: in a folder, in a real object store, or in each of them in turn."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import pytest

from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.object_store import StoreOptions
from mds_assets_tests.store import BUCKET, KEY, Store, running

if TYPE_CHECKING:
    from obstore.store import S3Credential

OpenLake: TypeAlias = Callable[[], Lake]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running(tmp_path_factory.mktemp("store")) as store:
        yield store


def credentials(key: str, secret: str) -> "Callable[[], S3Credential]":
    """One key that is always valid."""
    return lambda: {"access_key_id": key, "secret_access_key": secret, "token": None, "expires_at": None}


@pytest.fixture
def options(store: Store) -> StoreOptions:
    return StoreOptions(credentials(KEY, store.secret), store.endpoint, "us-east-1")


@pytest.fixture
def stored_lake(options: StoreOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake in the store."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return Lake(f"s3://{BUCKET}/{uuid4().hex}/lake", options)


@pytest.fixture(params=["local", "store"])
def open_lake(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLake:
    """One lake, opened by as many runs as a test needs: they share nothing but the files."""
    if request.param == "local":
        return lambda: Lake(str(tmp_path / "lake"))
    root, options = request.getfixturevalue("stored_lake").root, request.getfixturevalue("options")
    return lambda: Lake(root, options)


@pytest.fixture
def lake(open_lake: OpenLake) -> Lake:
    return open_lake()
