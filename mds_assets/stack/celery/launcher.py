"""The run launcher of `deploy/celery/dagster.yaml`.

https://docs.dagster.io/deployment/execution/run-launchers
"""

from typing import Any

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG


class HealingCeleryRunLauncher(CeleryRunLauncher):
    """Tells Dagster of runs whose worker was killed, so that they fail, and are tried again.

    RabbitMQ hands the task of a killed worker to another one, which sees that the run has begun already, leaves it
    alone and ends well. Dagster's own launcher takes that for the end of the run, which then stays `STARTED` for good.
    """

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """What Dagster asks of each run that is `STARTED`.

        A run writes its last event before its task ends, and Dagster reads the run once more before it believes a bad
        answer: a run that ended well in between is not taken for a dead one.
        """
        health = super().check_run_worker_health(run)
        if health.status == WorkerStatus.SUCCESS:
            return CheckRunHealthResult(WorkerStatus.FAILED, "The Celery task ended, and the run did not.")
        return health

    def _launch_celery_task_run(self, run: DagsterRun, task_signature: Any, routing_key: str) -> None:
        # The run knows its task before there is one. Dagster's own launcher notes the task once it is sent: if it
        # cannot, as PostgreSQL restarts, nobody could ask for the health of that run any more.
        self._instance.add_run_tags(run.run_id, {DAGSTER_CELERY_TASK_ID_TAG: run.run_id})
        super()._launch_celery_task_run(run, task_signature.set(task_id=run.run_id), routing_key)
