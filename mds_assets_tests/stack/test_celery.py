"""Promises of `mds_assets/celery` that need neither RabbitMQ nor PostgreSQL; `make scale-test` has the others."""

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from mds_assets.stack.celery.launcher import HealingCeleryRunLauncher
from mds_assets.stack.settings import PROJECT_ROOT

DEPLOYED = yaml.safe_load((PROJECT_ROOT / "deploy/celery/dagster.yaml").read_text())


@pytest.fixture
def instance(tmp_path: Path) -> Generator[DagsterInstance]:
    """The deployment's instance, but for PostgreSQL and RabbitMQ."""
    config = DEPLOYED["run_launcher"]["config"] | {
        "broker": "memory://",
        "backend": f"db+sqlite:///{tmp_path}/results.db",
    }
    here = {name: part for name, part in DEPLOYED.items() if name != "storage"}
    here["run_launcher"] = DEPLOYED["run_launcher"] | {"config": config}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(here))
    with DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def started(instance: DagsterInstance) -> DagsterRun:
    """A run under way, with a task of its id."""
    tags = {DAGSTER_CELERY_TASK_ID_TAG: "the task"}
    return create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags)


@pytest.mark.parametrize(
    ("task", "worker"),
    [
        ("STARTED", WorkerStatus.RUNNING),
        ("SUCCESS", WorkerStatus.FAILED),  # of a duplicate, after the worker of the run was killed
        ("FAILURE", WorkerStatus.FAILED),
        ("RETRY", WorkerStatus.UNKNOWN),  # cancelled, as the worker has lost RabbitMQ; Dagster takes it for dead
    ],
)
def test_a_run_whose_task_has_ended_is_dead(instance: DagsterInstance, task: str, worker: WorkerStatus) -> None:
    launcher = instance.run_launcher
    assert isinstance(launcher, HealingCeleryRunLauncher)
    launcher.celery.backend.store_result("the task", None, task)
    assert launcher.check_run_worker_health(started(instance)).status == worker


def test_a_run_knows_its_task_before_rabbitmq_does(instance: DagsterInstance) -> None:
    launcher = instance.run_launcher
    assert isinstance(launcher, HealingCeleryRunLauncher)
    run = create_run_for_test(instance)

    class Task:
        def set(self, task_id: str) -> "Task":
            assert task_id == run.run_id
            return self

        def apply_async(self, **_: object) -> None:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        launcher._launch_celery_task_run(run, Task(), "execute_job")  # pyright: ignore[reportPrivateUsage]
    known = instance.get_run_by_id(run.run_id)
    assert known
    assert known.tags[DAGSTER_CELERY_TASK_ID_TAG] == run.run_id


def test_rabbitmq_waits_longer_than_any_run_may_take() -> None:
    config = (PROJECT_ROOT / "deploy/celery/rabbitmq.conf").read_text()
    (timeout,) = (line.split("=")[1] for line in config.splitlines() if line.startswith("consumer_timeout"))
    assert int(timeout) / 1000 > DEPLOYED["run_monitoring"]["max_runtime_seconds"]


def test_without_the_deployment_nothing_of_it_is_imported() -> None:
    code = (
        "import sys, mds_assets.definitions; "
        "assert not {'celery', 'dagster_celery', 'psycopg2', 'mds_assets.stack.celery'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=True)
