"""Promises of a process that lives on, such as a Celery worker's child: what it holds does not grow with its runs."""

import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import duckdb
import pytest
from dagster import DagsterInstance
from fsspec.implementations.local import LocalFileSystem

from mds_assets.stack.lake.footers import _footer_of  # pyright: ignore[reportPrivateUsage]
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy

CACHE = type(cache(len))
WARM, RUNS = 5, 30
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
# Who may hold what a run has left; Dagster's SQLite storage itself remembers the name of every run's file.
PACKAGES = ("mds_assets", "dlt", "fsspec", "duckdb", "polars", "pyarrow", "obstore")


def containers() -> Iterator[tuple[str, int]]:
    """The sizes of all containers and caches that modules and classes of these packages hold."""
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] not in PACKAGES:
            continue
        for name, value in list(vars(module).items()):
            owners = [(name, value)]
            if isinstance(value, type) and value.__module__ == module_name:
                owners += [(f"{name}.{each}", held) for each, held in list(vars(value).items())]
            for owner, held in owners:
                if isinstance(held, dict | list | set) and not owner.endswith("__"):
                    yield f"{module_name}.{owner}", len(held)
                elif isinstance(held, CACHE) and held.cache_info().maxsize is None:
                    yield f"{module_name}.{owner}()", held.cache_info().currsize


def objects() -> Counter[str]:
    """How many objects of our types, and of those that hold files, connections or settings, are alive."""
    _footer_of.cache_clear()  # it has a bound, which it reaches sooner or later, depending on what ran before
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in kinds
        if str(kind.__module__).partition(".")[0] in PACKAGES or issubclass(kind, threading.Thread)
    )


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow(40)
def test_nothing_grows_with_the_number_of_runs(tmp_path: Path):
    runs = Runs.of(tmp_path, toy.orders, toy.staged, toy.current, toy.revenue, shop=toy.sales(3))
    held: list[tuple[Counter[str], Counter[str], int, int]] = []
    with DagsterInstance.from_config(str(runs.home)) as instance:
        for number in range(RUNS):
            assert runs.materialise(YESTERDAY, instance=instance).success
            if number in (WARM, RUNS - 1):
                held.append((objects(), Counter(dict(containers())), files(), threading.active_count()))
    (objects_before, containers_before, *others_before), (objects_after, containers_after, *others_after) = held
    # Caches may still fill by a few; what a run leaves behind is there once for each of 24.
    few = (RUNS - WARM) // 4
    assert {name: more for name, more in (objects_after - objects_before).items() if more > few} == {}
    assert {name: more for name, more in (containers_after - containers_before).items() if more > few} == {}
    # Fewer, where what earlier tests left has been collected meanwhile.
    assert all(after <= before for after, before in zip(others_after, others_before, strict=True))


def test_no_run_leaves_dlts_file_systems_in_the_cache_of_fsspec(tmp_path: Path):
    """There is one for each thread that has ever loaded: how fast they add up depends on how threads are numbered."""
    LocalFileSystem.clear_instance_cache()
    runs = Runs.of(tmp_path, toy.orders, shop=toy.sales(3))
    assert runs.materialise(YESTERDAY, layers=["raw"]).success
    cached = LocalFileSystem._cache.values()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    assert not [each for each in cached if "use_listings_cache" in each.storage_options]  # dlt's


def test_the_measure_sees_what_a_run_would_leave_behind():
    before = objects(), Counter(dict(containers()))
    left = [LocalFileSystem(auto_mkdir=bool(number % 2), number=number) for number in range(10)]
    connections = [duckdb.connect() for _ in range(10)]
    after = objects(), Counter(dict(containers()))
    # At once: what earlier tests left open may be closed as objects are collected.
    files_before = files()
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]
    files_after = files()
    assert (after[0] - before[0])["fsspec.implementations.local.LocalFileSystem"] == len(left)
    assert sum((after[1] - before[1]).values()) >= len(left)
    assert files_after - files_before >= len(opened)
    for connection, descriptor in zip(connections, opened, strict=True):
        connection.close()
        os.close(descriptor)
    LocalFileSystem.clear_instance_cache()
