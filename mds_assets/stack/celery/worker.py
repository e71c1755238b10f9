"""The Celery app of a worker: `celery -A mds_assets.stack.celery.worker worker`.

It is configured where the launcher is, in `dagster.yaml`: two sides of a queue that differ are hard to find.
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
    """Let a child end when its worker wants it to, as after the loss of RabbitMQ.

    Dagster gives SIGTERM the handler of SIGINT whenever a run ends, and Celery's children ignore SIGINT.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
