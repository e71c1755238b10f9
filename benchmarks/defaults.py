"""The project with Dagster's default executor, a process for each step, instead of its own choice."""

from dagster import multiprocess_executor
from dagster_shared.record import copy

from mds_assets.definitions import build_definitions

defs = copy(build_definitions(), executor=multiprocess_executor)
