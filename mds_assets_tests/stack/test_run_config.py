"""Promises of run config: it chooses among what a job declares, and changes neither resources nor where things lie."""

from collections.abc import Iterator

import pytest
from dagster import (
    AssetKey,
    ConfigurableIOManager,
    ConfigurableResource,
    DagsterInstance,
    DagsterInvalidConfigError,
    Definitions,
    asset,
    validate_run_config,
)
from dagster._config import ConfigType, ConfigTypeKind

from mds_assets.definitions import defs
from mds_assets.stack import build
from mds_assets.stack.settings import settings
from mds_assets_tests.stack import toy

# All other config that a run of the project accepts: none of it names a place or a secret.
HARMLESS = {
    "execution.config.marker_to_close",  # a label in the event log
    "execution.config.step_dependency_config.require_upstream_step_success",
    "loggers.console.config.log_level",
    "loggers.console.config.name",
}
JOBS = [job.name for job in defs.get_repository_def().get_all_jobs()]


class Client(ConfigurableResource[object]):
    """A source's client as Dagster's docs show it: what run config could change is where the token goes."""

    url: str
    token: str = "none"


class Pickles(ConfigurableIOManager):
    """An I/O manager of a user's own."""

    folder: str

    def handle_output(self, context: object, obj: object) -> None:
        """It goes nowhere."""

    def load_input(self, context: object) -> None:
        """It comes from nowhere."""


def leaves(kind: ConfigType, path: str = "") -> Iterator[tuple[str, ConfigTypeKind]]:
    """Each value that run config may hold, with its path."""
    fields = getattr(kind, "fields", None)
    if fields is None:
        yield path, kind.kind
    else:
        # The job behind the UI's selections lets names of other jobs' parts pass, unread.
        if kind.kind == ConfigTypeKind.PERMISSIVE_SHAPE and path not in {"ops", "resources"}:
            yield f"{path}.*", ConfigTypeKind.ANY
        for name, field in fields.items():
            yield from leaves(field.config_type, f"{path}.{name}" if path else name)


@pytest.mark.parametrize("name", JOBS)
def test_run_config_holds_nothing_but_what_ops_declare(name: str):
    job = defs.resolve_job_def(name)
    found = dict(leaves(job.run_config_schema.config_type))
    assert ConfigTypeKind.ANY not in found.values()
    assert {path for path in found if not path.startswith("ops.")} == HARMLESS
    # GitHub's raw may name some of the organisations; `prune` and `compact` have their numbers.
    options = {path.rpartition(".config.")[2] for path in found if path.startswith("ops.")}
    assert options <= {"organisations", "older_than_days", "keep_newest", "more_than_loads", "dry_run"}


@pytest.mark.parametrize("resource", [*(defs.resources or {})])
@pytest.mark.parametrize("given", [{"root": "/elsewhere"}, {"base_dir": "/elsewhere"}, "/elsewhere"])
def test_no_resource_takes_run_config(resource: str, given: object):
    for name in JOBS:
        with pytest.raises(DagsterInvalidConfigError):
            validate_run_config(defs.resolve_job_def(name), {"resources": {resource: {"config": given}}})


@pytest.mark.parametrize("table", sorted(key.to_python_identifier() for key in defs.resolve_all_asset_keys()))
def test_no_asset_takes_run_config_that_it_does_not_declare(table: str):
    with pytest.raises(DagsterInvalidConfigError):
        validate_run_config(defs.resolve_job_def("daily_refresh"), {"ops": {table: {"config": {"root": "/"}}}})


def test_resources_of_a_source_are_fixed_too_and_work():
    used: list[tuple[str, str]] = []

    @asset
    def listed(client: Client) -> None:
        used.append((client.url, client.token))

    sources = Definitions(
        assets=[toy.orders, listed],
        resources={"shop": [], "client": Client(url="https://shop.example"), "pickles": Pickles(folder="/here")},
    )
    built = build.build_definitions(sources, settings=settings)
    job = built.resolve_implicit_global_asset_job_def()
    for name in ("shop", "client", "pickles", "io_manager"):
        for given in ({"url": "https://evil.example"}, {"folder": "/elsewhere"}, {"base_dir": "/elsewhere"}):
            with pytest.raises(DagsterInvalidConfigError):
                validate_run_config(job, {"resources": {name: {"config": given}}})
    with DagsterInstance.local_temp() as instance:
        assert job.execute_in_process(instance=instance, asset_selection=[AssetKey("listed")]).success
        with pytest.raises(DagsterInvalidConfigError):
            job.execute_in_process(
                instance=instance,
                asset_selection=[AssetKey("listed")],
                run_config={"resources": {"client": {"config": {"url": "https://evil.example"}}}},
            )
    assert used == [("https://shop.example", "none")]
