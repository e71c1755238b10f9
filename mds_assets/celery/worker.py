"""The Celery app of a worker: `celery -A mds_assets.celery.worker worker`.

It is configured where the launcher is, in `dagster.yaml`: two sides of a queue that differ are hard to find.
"""

from typing import cast

from dagster import DagsterInstance
from dagster_celery.tasks import create_execute_job_task

from mds_assets.celery.launcher import HealingCeleryRunLauncher

with DagsterInstance.get() as instance:
    app = cast(HealingCeleryRunLauncher, instance.run_launcher).celery

execute_job = create_execute_job_task(app)
