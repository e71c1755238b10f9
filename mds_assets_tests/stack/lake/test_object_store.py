"""Promises of a lake in an object store: conditional puts, few requests, clear errors, private files stay private."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from botocore.exceptions import ClientError

from mds_assets.stack.lake import InputsChangedError, Lake, LakeError, commit
from mds_assets.stack.lake.backend import ConflictError
from mds_assets.stack.lake.object_store import StoreOptions
from mds_assets_tests.stack.lake.files import D1, RAW, TABLE, content, read_set, replace, written
from mds_assets_tests.store import KEY, Store


@pytest.fixture
def lake(stored_lake: Lake) -> Lake:
    return stored_lake


def test_a_put_replaces_only_the_version_that_was_seen(lake: Lake, options: StoreOptions, tmp_path: Path):
    backend, other, target = lake.backend, Lake(lake.root, options), lake.path("file")
    one, two, three = (written(tmp_path, name) for name in "123")
    backend.adding([target])(one, target)
    with pytest.raises(ConflictError):
        backend.adding([target])(two, target)
    with backend.replacing("file", lake.path(), [Path("file")]) as move:
        with other.replacing_file("file") as file:
            file.write_text("theirs")
        with pytest.raises(ConflictError):
            move(two, target)
    assert target.read_text() == "theirs"
    with backend.replacing("file", lake.path(), [Path("file")]) as move:
        move(three, target)
        move(three, target)  # the answer to the put before was lost, and it is sent again
        target.unlink()
        with pytest.raises(ConflictError):  # removed, so the version that was seen is gone
            move(three, target)


def test_a_file_that_is_replaced_after_it_was_listed_is_never_read_as_half_of_each(lake: Lake, store: Store):
    replace(lake, TABLE, D1, content="old" * 1000)
    (file,) = lake.files(TABLE, D1)
    store.files.pipe_file(file.path, b"new" * 900)
    with pytest.raises(OSError, match="no longer exists"), file.open("rb") as opened:
        opened.read()
    assert content(lake, TABLE, D1) == ["new" * 900]


@pytest.mark.parametrize("there_before", [False, True])
def test_of_two_runs_the_one_with_older_inputs_does_not_win(
    lake: Lake, options: StoreOptions, monkeypatch: pytest.MonkeyPatch, there_before: bool
):
    """The other one publishes between this one's check of its inputs and its put."""
    other = Lake(lake.root, options)
    replace(lake, RAW, D1, content="input")
    if there_before:
        replace(lake, TABLE, D1, content="an older table")
    inputs = read_set(lake, RAW, D1)
    check = commit.refuse_changed

    def check_and_be_overtaken(*args: Any) -> None:
        check(*args)
        patch.undo()
        replace(other, RAW, D1, content="newer input")
        replace(other, TABLE, D1, content="by the other")

    with pytest.raises(InputsChangedError, match="was replaced meanwhile"), monkeypatch.context() as patch:
        patch.setattr(commit, "refuse_changed", check_and_be_overtaken)
        replace(lake, TABLE, D1, content="by this one", inputs=inputs)
    assert content(lake, TABLE, D1) == ["by the other"]


def answer_once(lake: Lake, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the store refuse the next put with this error code, as Amazon's does."""
    filesystem: Any = lake.backend.filesystem
    call, codes = filesystem.call_s3, [code]

    def answer(method: str, **options: object) -> object:
        if method == "put_object" and codes:
            raise OSError(code) from ClientError({"Error": {"Code": codes.pop()}}, method)
        return call(method, **options)

    monkeypatch.setattr(filesystem, "call_s3", answer)


def test_a_put_beside_another_one_that_has_not_ended_is_tried_again(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    with lake.replacing_file("file") as file:
        file.write_text("1")
        answer_once(lake, monkeypatch, "ConditionalRequestConflict")
    assert lake.path("file").read_text() == "1"


@pytest.mark.parametrize("code", ["PreconditionFailed", "NoSuchKey"])
def test_a_target_that_was_replaced_or_removed_is_a_changed_input(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, code: str
):
    replace(lake, TABLE, D1, content="1")
    answer_once(lake, monkeypatch, code)
    with pytest.raises(InputsChangedError, match="was replaced meanwhile"):
        replace(lake, TABLE, D1, content="2")


def test_any_other_refusal_of_a_put_is_an_error_of_the_lake(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    answer_once(lake, monkeypatch, "AccessDenied")
    with pytest.raises(LakeError, match="cannot be reached: AccessDenied"):
        replace(lake, TABLE, D1, content="1")


def test_a_file_beside_the_tables_that_another_run_replaced_is_made_again(lake: Lake, options: StoreOptions):
    with pytest.raises(InputsChangedError), lake.replacing_file("warehouse") as mine:
        with Lake(lake.root, options).replacing_file("warehouse") as theirs:
            theirs.write_text("theirs")
        mine.write_text("mine")
    assert lake.path("warehouse").read_text() == "theirs"


def test_the_days_of_a_table_are_listed_a_thousand_at_a_time(lake: Lake, store: Store, monkeypatch: pytest.MonkeyPatch):
    days = [date(2020, 1, 1) + timedelta(days=number) for number in range(40)]
    for name in [*(f"day={day}/data.parquet" for day in days), f"day={days[0]}/other.txt", "latest.html"]:
        store.files.pipe_file(f"{lake.root}/staging/orders/{name}", b"x")
    filesystem = lake.backend.filesystem
    requests: list[str] = []
    call: Any = filesystem._call_s3  # pyright: ignore

    async def noted(method: str, *args: object, **options: object) -> object:
        requests.append(method)
        return await call(method, *args, **options)

    monkeypatch.setattr(filesystem, "_call_s3", noted)
    assert lake.days(TABLE) == days
    assert lake.newest_day(TABLE) == days[-1]
    read = lake.read_set(TABLE, [*days, date(2030, 1, 1)])
    assert [len(files) for files in read.values()] == [1] * 40 + [0]
    assert len(requests) == 3
    files = lake.files(TABLE, days[0])
    assert [str(file) for file in files] == [f"{lake.root}/staging/orders/day={days[0]}/data.parquet"]
    assert lake.landed(TABLE, [days[1]]) == {days[1]}
    assert len(requests) == 5
    assert lake.size(files) == 1  # the listing knows it
    assert len(requests) == 5


def test_a_bucket_may_be_the_lake(lake: Lake, store: Store, options: StoreOptions):
    store.files.mkdir("whole-bucket")
    bucket = Lake("s3://whole-bucket", options)
    for text in ("1", "2"):
        with bucket.replacing_file("warehouse.duckdb") as file:
            file.write_text(text)
        replace(bucket, TABLE, D1, content=text)
    assert bucket.path("warehouse.duckdb").read_text() == "2"
    assert bucket.days(TABLE) == [D1]
    assert content(bucket, TABLE, D1) == ["2"]


def test_duckdb_and_polars_read_its_files(lake: Lake, tmp_path: Path):
    pl.DataFrame({"id": [1, 2]}).write_parquet(tmp_path / "file")
    lake.add(RAW, "1", {D1: tmp_path / "file"})
    (file,) = lake.files(RAW, D1)
    with duckdb.connect() as con:
        lake.register(con)
        assert con.read_parquet(str(file)).aggregate("sum(id)::INT").fetchall() == [(3,)]
    assert pl.scan_parquet(str(file), storage_options=lake.storage_options).collect()["id"].sum() == 3


@pytest.mark.parametrize(
    ("root", "changed", "message"),
    [
        ("s3://lake/x", {"secret_access_key": "wrong-secret"}, "SignatureDoesNotMatch"),
        ("s3://lake/x", {"access_key_id": "nobody"}, "InvalidAccessKeyId"),
        ("s3://no-such-bucket/lake", {}, "NoSuchBucket"),
    ],
)
def test_a_store_that_refuses_is_one_line(store: Store, root: str, changed: dict[str, str], message: str):
    credentials = {"access_key_id": KEY, "secret_access_key": store.secret} | changed
    options = StoreOptions(store.endpoint, "us-east-1", credentials)
    lake = Lake(root, options)
    with pytest.raises(LakeError) as refused, lake.workspace():
        pass
    assert f"the lake MDS_DATA_DIR={root!r} cannot be reached: {message}" in str(refused.value)
    assert "AWS_ENDPOINT_URL" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert credentials["secret_access_key"] not in str(refused.value) + repr(options)


def test_a_scratch_folder_that_somebody_else_could_have_made_is_refused(lake: Lake):
    with lake.workspace():
        pass
    lake.scratch.chmod(0o777)
    with pytest.raises(LakeError, match="not a folder of this user alone"), lake.workspace():
        pass


def test_lakes_share_no_connection_and_no_listing(lake: Lake, options: StoreOptions):
    assert lake.backend.filesystem is not Lake(lake.root, options).backend.filesystem
    assert lake.path("a").fs is lake.backend.filesystem
    assert lake.path("a").parent.fs is lake.backend.filesystem
