"""The Celery app of a worker: `celery -A mds_assets.stack.celery.worker worker`.

It takes its configuration from the launcher's, in `dagster.yaml`, so that both sides of the queue always agree.
"""

import signal
from typing import cast

from celery.signals import worker_process_init
from dagster import DagsterInstance
from dagster_celery.tasks import create_execute_job_task

from mds_assets.stack.celery.launcher import HealingCeleryRunLauncher

with DagsterInstance.get() as instance:
    app = cast(HealingCeleryRunLauncher, instance.run_launcher).celery

execute_job = create_execute_job_task(app)


@worker_process_init.connect
def obey(**_: object) -> None:
    """Let a worker stop its child, for example after losing RabbitMQ.

    Whenever a run ends, Dagster sets SIGTERM's handler to that of SIGINT, which Celery's children ignore.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
