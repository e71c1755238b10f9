"""Promises of a lake in an object store: conditional puts, few requests, clear errors, private files stay private."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace as replace_options
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from mds_assets.stack.io_managers import duckdb as duckdb_engine
from mds_assets.stack.lake import InputsChangedError, Lake, LakeError, commit
from mds_assets.stack.lake.backend import ConflictError
from mds_assets.stack.lake.object_store import StoreOptions
from mds_assets_tests.proxy import LOST, Proxy, proxied
from mds_assets_tests.stack.lake.conftest import credentials
from mds_assets_tests.stack.lake.files import (
    D1,
    D2,
    D3,
    RAW,
    TABLE,
    content,
    read_set,
    replace,
    write_and_read,
    written,
)
from mds_assets_tests.store import KEY, Store


@pytest.fixture
def lake(stored_lake: Lake) -> Lake:
    return stored_lake


def test_a_put_replaces_only_the_version_that_was_seen(lake: Lake, options: StoreOptions, tmp_path: Path):
    backend, other, target = lake.backend, Lake(lake.root, options), lake.path("file")
    one, two, three = (written(tmp_path, name) for name in "123")
    with backend.adding("orders", [target]) as move:
        move(one, target)
        with pytest.raises(ConflictError):
            move(two, target)
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
    with pytest.raises(OSError, match="replaced since it was listed"), file.open("rb") as opened:
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


@pytest.fixture
def proxy(store: Store) -> Iterator[Proxy]:
    with proxied(store.endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxied_lake(lake: Lake, options: StoreOptions, proxy: Proxy) -> Lake:
    """The lake by way of the proxy."""
    return Lake(lake.root, replace_options(options, endpoint_url=proxy.endpoint))


@pytest.mark.parametrize("there_before", [False, True])
def test_a_put_whose_answer_is_lost_is_done(proxied_lake: Lake, proxy: Proxy, there_before: bool):
    if there_before:
        replace(proxied_lake, TABLE, D1, content="0")
    proxy.answers["PUT"] = [LOST]
    replace(proxied_lake, TABLE, D1, content="1")
    assert content(proxied_lake, TABLE, D1) == ["1"]


def test_a_load_whose_answer_is_lost_is_added_once(proxied_lake: Lake, proxy: Proxy, tmp_path: Path):
    proxy.answers["PUT"] = [LOST]
    proxied_lake.add(RAW, "1", {D1: written(tmp_path, "load")})
    assert content(proxied_lake, RAW, D1) == ["load"]


def test_a_busy_store_is_retried(proxied_lake: Lake, proxy: Proxy):
    proxy.answers |= {"PUT": [(503, "SlowDown")], "GET": [(500, "InternalError"), LOST]}
    replace(proxied_lake, TABLE, D1, content="1")
    assert content(proxied_lake, TABLE, D1) == ["1"]


@pytest.mark.parametrize("there_before", [False, True])
def test_a_put_beside_another_one_that_has_not_ended_is_tried_again(
    proxied_lake: Lake, proxy: Proxy, there_before: bool
):
    if there_before:
        replace(proxied_lake, TABLE, D1, content="0")
    proxy.answers["PUT"] = [(409, "ConditionalRequestConflict")]
    replace(proxied_lake, TABLE, D1, content="1")
    assert content(proxied_lake, TABLE, D1) == ["1"]


@pytest.mark.parametrize("answer", [(412, "PreconditionFailed"), (404, "NoSuchKey")])
def test_a_target_that_was_replaced_or_removed_is_a_changed_input(
    proxied_lake: Lake, proxy: Proxy, answer: tuple[int, str]
):
    replace(proxied_lake, TABLE, D1, content="1")
    proxy.answers["PUT"] = [answer]
    with pytest.raises(InputsChangedError, match="was replaced meanwhile"):
        replace(proxied_lake, TABLE, D1, content="2")


def test_any_other_refusal_of_a_put_is_an_error_of_the_lake(proxied_lake: Lake, proxy: Proxy):
    proxy.answers["PUT"] = [(403, "AccessDenied")]
    with pytest.raises(LakeError, match=r"cannot be reached: AccessDenied: as planned\. Check it"):
        replace(proxied_lake, TABLE, D1, content="1")


def test_a_file_beside_the_tables_that_another_run_replaced_is_made_again(lake: Lake, options: StoreOptions):
    with pytest.raises(InputsChangedError), lake.replacing_file("warehouse") as mine:
        with Lake(lake.root, options).replacing_file("warehouse") as theirs:
            theirs.write_text("theirs")
        mine.write_text("mine")
    assert lake.path("warehouse").read_text() == "theirs"


def test_the_days_of_a_table_are_listed_a_thousand_at_a_time(proxied_lake: Lake, proxy: Proxy, store: Store):
    lake, days = proxied_lake, [date(2020, 1, 1) + timedelta(days=number) for number in range(40)]
    for name in [*(f"day={day}/data.parquet" for day in days), f"day={days[0]}/other.txt", "latest.html"]:
        store.files.pipe_file(f"{lake.root}/staging/orders/{name}", b"x")
    assert lake.days(TABLE) == days
    assert lake.newest_day(TABLE) == days[-1]
    read = lake.read_set(TABLE, [*days, date(2030, 1, 1)])
    assert [len(files) for files in read.values()] == [1] * 40 + [0]
    assert len(proxy.requests) == 3
    files = lake.files(TABLE, days[0])
    assert [str(file) for file in files] == [f"{lake.root}/staging/orders/day={days[0]}/data.parquet"]
    assert lake.landed(TABLE, [days[1]]) == {days[1]}
    assert len(proxy.requests) == 5
    assert lake.size(files) == 1  # the listing knows it
    assert len(proxy.requests) == 5


def test_a_bucket_may_be_the_lake(lake: Lake, store: Store, options: StoreOptions):
    store.make_bucket("whole-bucket")
    bucket = Lake("s3://whole-bucket", options)
    for text in ("1", "2"):
        with bucket.replacing_file("warehouse.duckdb") as file:
            file.write_text(text)
        replace(bucket, TABLE, D1, content=text)
    assert bucket.path("warehouse.duckdb").read_text() == "2"
    assert bucket.days(TABLE) == [D1]
    assert content(bucket, TABLE, D1) == ["2"]


def test_duckdb_and_polars_read_its_files(lake: Lake, tmp_path: Path):
    write_and_read(lake, tmp_path)


def add_days(lake: Lake, days: list[date], rows: int, folder: Path) -> str:
    """Add these days of a table to the lake; returns the pattern of its files."""
    numbers = pl.int_range(rows, eager=True)
    pl.DataFrame({"id": numbers, "hash": numbers.hash(), "other": numbers.hash(1)}).write_parquet(folder / "file")
    lake.add(RAW, "1", dict.fromkeys(days, folder / "file"))
    return f"{lake.folder(RAW)}/day=????-??-??/*.parquet"


def test_duckdb_lists_a_pattern_once_and_reads_only_the_days_it_needs(proxied_lake: Lake, proxy: Proxy, tmp_path: Path):
    files = add_days(proxied_lake, [D1, D2, D3], 1000, tmp_path)
    with duckdb.connect() as con:
        con.execute(duckdb_engine.SETTINGS)
        proxied_lake.register(con)
        proxy.requests.clear()
        query = "SELECT count(*) FROM read_parquet('{}') WHERE day >= DATE '{}' AND id < 10"
        assert con.execute(query.format(files, D2)).fetchall() == [(20,)]
    listed = [request for request in proxy.requests if "list-type" in request]
    assert len(listed) <= 2
    read = Counter(request.partition("/day%3D")[2][:10] for request in proxy.requests if request not in listed)
    assert read[str(D1)] <= 1  # it may give the columns
    assert max(read.values()) <= 2


def test_an_empty_file_reads_as_one(lake: Lake):
    with lake.replacing_file("file") as file:
        file.touch()
    assert lake.path("file").read_bytes() == b""


def test_many_threads_read_one_large_file_right(lake: Lake, tmp_path: Path):
    """DuckDB seeks and reads in one open file from all of them."""
    files = add_days(lake, [D1, D2], 1_000_000, tmp_path)
    query = "SELECT sum(hash % 1000), sum(other % 1000), sum(id) FROM read_parquet('{}')"
    expected = [tuple(2 * value for value in duckdb.execute(query.format(tmp_path / "file")).fetchall()[0])]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(3):
            with duckdb.connect(config={"threads": 4}) as con:
                lake.register(con)
                assert con.execute(query.format(files)).fetchall() == expected
    finally:
        sys.setswitchinterval(interval)


def test_a_file_that_is_replaced_while_duckdb_reads_it_is_an_error(lake: Lake, store: Store, tmp_path: Path):
    add_days(lake, [D1], 1000, tmp_path)
    (file,) = lake.files(RAW, D1)
    store.files.pipe_file(str(file), (tmp_path / "file").read_bytes() + b"newer")
    with duckdb.connect() as con, pytest.raises(duckdb.Error, match="replaced since it was listed"):
        lake.register(con)
        con.read_parquet(str(file)).to_arrow_table()


@pytest.mark.parametrize(
    ("root", "changed", "message"),
    [
        ("s3://lake/x", {"secret": "wrong-secret"}, "SignatureDoesNotMatch"),
        ("s3://lake/x", {"key": "nobody"}, "InvalidAccessKeyId"),
        ("s3://no-such-bucket/lake", {}, "NoSuchBucket"),
    ],
)
def test_a_store_that_refuses_is_one_line(store: Store, root: str, changed: dict[str, str], message: str):
    key = {"key": KEY, "secret": store.secret} | changed
    options = StoreOptions(credentials(**key), store.endpoint, "us-east-1")
    lake = Lake(root, options)
    with pytest.raises(LakeError) as refused, lake.workspace():
        pass
    assert f"the lake MDS_DATA_DIR={root!r} cannot be reached: {message}" in str(refused.value)
    assert "AWS_ENDPOINT_URL" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not [part for part in key.values() if part in str(refused.value) + repr(options)]


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
