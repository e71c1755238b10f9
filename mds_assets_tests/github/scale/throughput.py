"""How many days a minute: with Celery workers, in one process, and in a process a day."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from dagster import DagsterInstance

from mds_assets_tests.github.project import Project
from mds_assets_tests.github.scale.backfill import LANDING, REST, Step
from mds_assets_tests.github.scale.cluster import LOCATION, Cluster
from mds_assets_tests.process import eventually

_STEPS = (LANDING, REST)


@dataclass
class Way:
    """One way to run days, a run a day.

    Attributes:
        name: What it is.
        step: What is run of each day.
        days: How many.
        seconds: From the launch of the first run to the end of the last.
        each: Seconds from the start of a run to its end, the median.
        begins: Seconds from its launch to its start, the median.
        task: Seconds of a worker's child for a run, the first of each worker left out: that one imports.
        first: Seconds of the slowest of the first ones.
    """

    name: str
    step: str
    days: int
    seconds: float
    each: float
    begins: float | None = None
    task: float | None = None
    first: float | None = None


def in_one_process(project: Project, days: Sequence[date]) -> list[Way]:
    """One run after the other in this process, which has imported everything."""

    def run(step: Step, day: date) -> None:
        project.materialise(day, layers=step.layers, instance=instance)

    with DagsterInstance.from_config(str(project.home)) as instance:
        return [_one_by_one("one warm process", step, days, run) for step in _STEPS]


def in_processes(project: Project, days: Sequence[date]) -> list[Way]:
    """A `dagster asset materialize` a day."""

    def run(step: Step, day: date) -> None:
        tables = ",".join(table.to_user_string() for table in step.tables)
        command = ("dagster", "asset", "materialize", "-m", LOCATION, "--select", tables, "--partition", str(day))
        project.command(*command).check_returncode()

    return [_one_by_one("a process a day", step, days, run) for step in _STEPS]


def on_workers(cluster: Cluster, days: Sequence[date]) -> list[Way]:
    """All days of a step queued at once, for the daemon to launch."""
    return [_queued(cluster, step, days) for step in _STEPS]


def _one_by_one(name: str, step: Step, days: Sequence[date], run: Callable[[Step, date], None]) -> Way:
    took: list[float] = []
    for day in days:
        began = time.perf_counter()
        run(step, day)
        took.append(time.perf_counter() - began)
    return Way(name, step.name, len(days), sum(took), median(took))


def _queued(cluster: Cluster, step: Step, days: Sequence[date]) -> Way:
    logged = [len(worker.log.read_text()) for worker in cluster.workers]
    cluster.daemon.end()  # until all are queued: that takes the UI a second a run, which is not what is asked here
    cluster.launch(step.name, step.tables, days)
    cluster.daemon.start()
    eventually(lambda: all(run.dagster_run.is_finished for run in cluster.runs(step.name)), seconds=3600, every=1)
    records = cluster.runs(step.name)
    assert all(run.dagster_run.is_success for run in records)
    stats = [cluster.instance.get_run_stats(run.dagster_run.run_id) for run in records]
    logs = [worker.log.read_text()[at:] for worker, at in zip(cluster.workers, logged, strict=True)]
    tasks = [[float(took) for took in re.findall(r"succeeded in ([\d.]+)s", log)] for log in logs]
    return Way(
        f"{len(cluster.workers)} on Celery",
        step.name,
        len(days),
        max(one.end_time or 0 for one in stats) - min(one.launch_time or 0 for one in stats),
        median((one.end_time or 0) - (one.start_time or 0) for one in stats),
        median((one.start_time or 0) - (one.launch_time or 0) for one in stats),
        median(took for each in tasks for took in (each[1:] or each)),
        max(each[0] for each in tasks if each),
    )
