"""The run launcher of `deploy/celery/dagster.yaml`.

https://docs.dagster.io/deployment/execution/run-launchers
"""

from typing import Any

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG


class HealingCeleryRunLauncher(CeleryRunLauncher):
    """Reports runs whose worker was killed to Dagster, so that they fail and are retried.

    RabbitMQ hands the task of a killed worker to another one, which sees that the run has already started, leaves it
    alone and succeeds. Dagster's own launcher takes that for the end of the run, which then stays `STARTED` forever.
    """

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Called by Dagster for each run that is `STARTED`.

        A run writes its last event before its task ends, and Dagster re-reads the run before it acts on a failed health
        check, so a run that succeeded in between is not taken for dead.
        """
        health = super().check_run_worker_health(run)
        if health.status == WorkerStatus.SUCCESS:
            return CheckRunHealthResult(WorkerStatus.FAILED, "The Celery task ended, and the run did not.")
        return health

    def _launch_celery_task_run(self, run: DagsterRun, task_signature: Any, routing_key: str) -> None:
        # Store the task id before the task is sent. Dagster's own launcher stores it afterwards: if that fails, for
        # example because PostgreSQL restarts, the run's health can no longer be checked.
        self._instance.add_run_tags(run.run_id, {DAGSTER_CELERY_TASK_ID_TAG: run.run_id})
        super()._launch_celery_task_run(run, task_signature.set(task_id=run.run_id), routing_key)
