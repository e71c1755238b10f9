"""A back-fill that is disturbed while it goes on, and what has become of it."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from os import kill
from random import choice

from dagster import AssetKey, RunRecord
from tenacity import RetryError

from mds_assets_tests.github.project import OF_REPOS
from mds_assets_tests.github.scale.cluster import Cluster
from mds_assets_tests.github.scale.tables import RAW, REPORT, TABLES, differences
from mds_assets_tests.process import Process, eventually
from mds_assets_tests.services import Services

_STALLED = 600  # seconds without a run that ends: longer than any of the deployment's own timeouts
_SETTLED = 420  # seconds that the automation may take after the last day
_FOR_EVER = 24 * 3600


class StalledError(Exception):
    """Runs that ought to end do not."""


@dataclass
class Phase:
    """What happened between a disturbance and the next one.

    Attributes:
        name: The disturbance.
        kills: Processes that were killed.
        seconds: How long it lasted.
        ended: Runs that ended meanwhile.
        failed: Those of them that failed.
        recovered: Those of them that succeeded in a later attempt.
    """

    name: str
    kills: int = 0
    seconds: float = 0
    ended: int = 0
    failed: int = 0
    recovered: int = 0
    began: float = field(default_factory=time.time)


@dataclass
class Outcome:
    """What has become of a back-fill."""

    phases: list[Phase]
    violations: list[str]


Disturbance = Callable[[Cluster, Services], int]


@dataclass(frozen=True)
class Step:
    """Some layers of all days, a run a day.

    Attributes:
        name: What it is called, in tags too.
        layers: The first parts of the tables' keys.
        disturbances: What happens meanwhile, each after its share of the days.
    """

    name: str
    layers: frozenset[str]
    disturbances: Sequence[Disturbance] = ()

    @property
    def tables(self) -> list[AssetKey]:
        """All of these layers that the local run makes, too."""
        return sorted(AssetKey(table.split("/")) for table in OF_REPOS if table.partition("/")[0] in self.layers)


LANDING = Step("landing", frozenset({"raw", "staging"}))
REST = Step("the rest", frozenset({"marts", "reports", "warehouse"}))


def kill_child(cluster: Cluster, _services: Services) -> int:
    """The process that is at work on a run, as the kernel does where memory is short."""
    _, pid = _busy(cluster)
    kill(pid, signal.SIGKILL)
    return 1


def kill_worker(cluster: Cluster, _services: Services) -> int:
    """A worker that is at work on a run, with all its processes, as when its machine goes down."""
    worker, _ = _busy(cluster)
    worker.kill()
    time.sleep(5)
    worker.start()
    return 1


def restart_rabbitmq(cluster: Cluster, services: Services) -> int:
    """RabbitMQ, killed while a run is under way, and away for longer than Celery tries to connect by default."""
    _busy(cluster)
    return _restart(services.rabbitmq, signal.SIGKILL, 20)


def restart_postgres(cluster: Cluster, services: Services) -> int:
    """PostgreSQL, shut down at once, and away for longer than Dagster tries to connect."""
    _busy(cluster)
    return _restart(services.postgres, signal.SIGQUIT, 15)


def restart_store(cluster: Cluster, services: Services) -> int:
    """The store of the lake, killed while a run is under way."""
    _busy(cluster)
    assert services.store
    return _restart(services.store, signal.SIGKILL, 5)


def steps(services: Services, *, short: bool) -> list[Step]:
    """What is run, and what happens meanwhile.

    One after the other, as marts look back on staging: in one step, the automation would make most of them twice.
    Crawls go one at a time; what they land is worth the most. The rest keeps all workers busy at once.
    """
    if short:
        return [LANDING, replace(REST, disturbances=[kill_worker])]
    store: list[Disturbance] = [restart_store] if services.store else []
    return [
        replace(LANDING, disturbances=[kill_worker, restart_postgres, restart_rabbitmq, *store]),
        replace(REST, disturbances=[kill_child, restart_rabbitmq, restart_postgres, *store, kill_worker]),
    ]


def backfill(
    cluster: Cluster,
    services: Services,
    days: Sequence[date],
    lakes: tuple[str, str],
    steps: Sequence[Step],
    told: Callable[[str], None],
) -> Outcome:
    """Run all days, disturb that, and compare the lake with the one that was not disturbed.

    Args:
        cluster: Who runs it.
        services: What the cluster stands on.
        days: The days.
        lakes: The roots of the cluster's lake and of the undisturbed one.
        steps: One after the other.
        told: Is told what goes on.
    """
    phases: list[Phase] = []
    violations: list[str] = []
    try:
        for step in steps:
            phases.append(Phase(f"{step.name}, undisturbed"))
            cluster.launch(step.name, step.tables, days)
            first = _done(cluster, step)  # it takes a while to launch them all
            for number, disturb in enumerate(step.disturbances, start=1):
                _until_done(cluster, step, first + (len(days) - first) * number // (len(step.disturbances) + 1))
                phases.append(Phase(f"{step.name}: {disturb.__name__.replace('_', ' ')}"))
                phases[-1].kills = disturb(cluster, services)
                told(f"{phases[-1].name}: {_done(cluster, step)} of {len(days)} days are done")
            _until_done(cluster, step, len(days))
        phases.append(Phase("until all is equal"))
        violations += _settled(cluster, steps[0], days, lakes)
    except StalledError as stalled:
        violations.append(str(stalled))
    _count(phases, cluster)
    return Outcome(phases, [*violations, *_unfinished(cluster), *_unknown(cluster, days)])


def _busy(cluster: Cluster) -> tuple[Process, int]:
    """Any worker that is at work on a run, once there is one."""
    found: list[tuple[Process, int]] = []

    def look() -> bool:
        found[:] = cluster.busy()
        return bool(found)

    eventually(look)
    return choice(found)


def _restart(service: Process, how: signal.Signals, seconds: float) -> int:
    service.end(how)
    time.sleep(seconds)
    service.start()
    service.wait_until_ready()
    return 1


def _done(cluster: Cluster, step: Step) -> int:
    return sum(any(run.dagster_run.is_success for run in runs) for runs in cluster.runs_by_day(step.name).values())


def _until_done(cluster: Cluster, step: Step, days: int) -> None:
    """Wait until so many days are done, as long as runs end.

    Raises:
        StalledError: None did for long.
    """
    ended, since = 0, time.monotonic()

    def look() -> bool:
        nonlocal ended, since
        cluster.revive()
        before, ended = ended, sum(run.dagster_run.is_finished for run in cluster.runs())
        if ended != before:
            since = time.monotonic()
        if time.monotonic() - since > _STALLED:
            raise StalledError(
                f"{step.name}: {_done(cluster, step)} days are done, not {days}, and no run has ended for {_STALLED} s"
            )
        return _done(cluster, step) >= days

    eventually(look, seconds=_FOR_EVER, every=1)


def _settled(cluster: Cluster, landing: Step, days: Sequence[date], lakes: tuple[str, str]) -> list[str]:
    """What differs from the undisturbed lake: nothing, or what the automation has not repaired in its time."""
    differ: list[str] = []

    def look() -> bool:
        cluster.revive()
        if _unfinished(cluster):
            return False
        attempts = {day: len(runs) for day, runs in cluster.runs_by_day(landing.name).items()}
        differ[:] = differences(*lakes, days, attempts)
        return not differ

    with suppress(RetryError):
        eventually(look, seconds=_SETTLED, every=5)
    return differ


def _count(phases: Sequence[Phase], cluster: Cluster) -> None:
    """Fill in what each phase has seen."""
    runs = cluster.runs()
    well = {_root(run) for run in runs if run.dagster_run.is_success}
    for phase, until in zip(phases, [*(phase.began for phase in phases[1:]), time.time()], strict=True):
        ended = [run for run in runs if phase.began <= (run.end_time or 0) < until]
        failed = [run for run in ended if not run.dagster_run.is_success]
        phase.seconds = until - phase.began
        phase.ended, phase.failed = len(ended), len(failed)
        phase.recovered = sum(_root(run) in well for run in failed)


def _root(run: RunRecord) -> str:
    """The run that was launched, where Dagster launched this one to try that again."""
    return run.dagster_run.root_run_id or run.dagster_run.run_id


def _unfinished(cluster: Cluster) -> list[str]:
    return [
        f"run {run.dagster_run.run_id} is still {run.dagster_run.status.value}"
        for run in cluster.runs()
        if not run.dagster_run.is_finished
    ]


def _unknown(cluster: Cluster, days: Sequence[date]) -> list[str]:
    """Days of a table that Dagster's catalog lacks, whatever the lake has."""
    wanted = set(map(str, days))
    tables = [AssetKey(table.split("/")) for table in (RAW, *TABLES, REPORT)]
    lacking = {table: wanted - cluster.instance.get_materialized_partitions(table) for table in tables}
    return [
        f"{table.to_user_string()} lacks {len(days)} days in the catalog" for table, days in lacking.items() if days
    ]
