"""Promises of `deploy/kubernetes`, as far as they need no cluster: instance, settings, secrets, image."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterRun
from dagster._core.instance.config import dagster_instance_config

from mds_assets.stack.environment import PROJECT_ROOT, variables
from mds_assets.stack.settings import Settings, loaded_sources
from mds_assets.stack.ui_settings import UISettings

FOLDER = PROJECT_ROOT / "deploy" / "kubernetes"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
README = (FOLDER / "README.md").read_text(encoding="utf-8")
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
CODE_SERVER = VALUES["dagster-user-deployments"]["deployments"][0]

# What differs from the instance of one machine; values.yaml says why.
DIFFERS = {
    "concurrency.runs.max_concurrent_runs": 4,
    "run_monitoring.start_timeout_seconds": 600,
    "run_monitoring.max_resume_run_attempts": 0,
    "run_retries.max_retries": 3,
    "run_retries.retry_on_asset_or_op_failure": True,
}


def instance() -> dict[str, Any]:
    """The dagster.yaml that the chart makes of the values, without what PostgreSQL and the launcher add."""
    daemon, switches = VALUES["dagsterDaemon"], ("concurrency", "retention")
    parts = {name: {key: value for key, value in VALUES[name].items() if key != "enabled"} for name in switches}
    parts |= {"run_monitoring": daemon["runMonitoring"], "run_retries": daemon["runRetries"]}
    return snake_case(parts | {"telemetry": VALUES["telemetry"]} | VALUES["additionalInstanceConfig"])


def launcher() -> dict[str, Any]:
    """The launcher's part of it, of a release `mds-assets`."""
    given = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    config = {snake(name): value for name, value in given.items()}
    return config | {
        "run_k8s_config": {snake(name): value for name, value in given["runK8sConfig"].items()},
        "env_config_maps": [source["name"] for source in given["envConfigMaps"]],
        "env_secrets": [source["name"] for source in given["envSecrets"]],
        "service_account_name": VALUES["serviceAccount"]["name"],
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "mds-assets-dagster-instance",
    }


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def snake_case(config: Any) -> Any:
    return {snake(key): snake_case(value) for key, value in config.items()} if isinstance(config, dict) else config


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that has no parts, with its path."""
    parts = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else None
    if parts is None:
        yield path, config
        return
    for key, value in parts:
        yield from leaves(value, f"{path}.{key}" if path else str(key))


def test_instance_is_that_of_one_machine_but_for_what_is_said(tmp_path: Path) -> None:
    one_machine = dict(leaves(yaml.safe_load((PROJECT_ROOT / ".dagster" / "dagster.yaml").read_text(encoding="utf-8"))))
    assert dict(leaves(instance())) == one_machine | DIFFERS

    coordinator = {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}
    run_launcher = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher()}
    whole = instance() | {"run_coordinator": coordinator, "run_launcher": run_launcher}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    dagster_instance_config(str(tmp_path))  # or it raises


def test_pod_of_a_run_is_locked_and_has_the_account_of_the_code_server(monkeypatch: pytest.MonkeyPatch) -> None:
    k8s = pytest.importorskip("dagster_k8s.launcher", reason="the extra `kubernetes` is not installed")
    context, job = pytest.importorskip("dagster_k8s.container_context"), pytest.importorskip("dagster_k8s.job")
    monkeypatch.setattr(k8s, "load_kubernetes_config", lambda **_: None)
    run_launcher = k8s.K8sRunLauncher.from_config_value(None, launcher())
    of_run = context.K8sContainerContext.create_for_run(DagsterRun("daily_refresh"), run_launcher, True)
    config = of_run.get_k8s_job_config("image", run_launcher)
    pod = job.construct_dagster_k8s_job(config, [], "run", of_run.run_k8s_config).spec.template.spec

    container = pod.containers[0]
    assert pod.service_account_name == VALUES["dagster-user-deployments"]["serviceAccount"]["name"]
    assert pod.security_context.run_as_user == 10001
    assert container.security_context.read_only_root_filesystem
    assert not container.security_context.allow_privilege_escalation
    assert container.resources.limits == {"cpu": "2", "memory": "4Gi"}
    assert [mount.mount_path for mount in container.volume_mounts] == ["/tmp", "/etc/postgresql-ca"]  # noqa: S108
    assert {source.secret_ref.name for source in container.env_from if source.secret_ref} == {"mds-assets"}


def test_every_server_is_locked_and_none_is_exposed() -> None:
    for pod in (CODE_SERVER, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"]):
        assert pod["image"] == CODE_SERVER["image"]
        assert pod["podSecurityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["readOnlyRootFilesystem"]
        assert "/tmp" in {mount["mountPath"] for mount in pod["volumeMounts"]}  # noqa: S108
    web = VALUES["dagsterWebserver"]
    assert (web["service"]["type"], VALUES["ingress"]["enabled"]) == ("ClusterIP", False)
    assert web["service"]["port"] == web["readinessProbe"]["httpGet"]["port"]
    # The code server's resources would win over those of runs.
    assert not CODE_SERVER["includeConfigInLaunchedRuns"]["enabled"]


def test_environment_has_only_settings() -> None:
    settings = {name for each in (Settings, UISettings, *map(type, loaded_sources())) for name in variables(each)}
    given = [pair.partition("=")[0] for pair in VALUES["runLauncher"]["config"]["k8sRunLauncher"]["envVars"]]
    texts = re.findall(r"^```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    files = re.findall(r"^(\w+)=", "".join(texts), re.MULTILINE)
    assert {"GITHUB_ORG", "MDS_DATA_DIR", "AWS_REGION", "GITHUB_TOKEN"} <= set(files)
    assert {*given, *files} <= settings


def test_secrets_are_references() -> None:
    for path, value in leaves(VALUES):
        name = path.rpartition(".")[2]
        assert not re.search("password|token|access_?key", name, re.IGNORECASE) or value is False, path
        assert not re.search(r"gh[a-z]_\w+|AKIA\w+|://[^/]*:[^/]*@", str(value)), path
    for secret in (VALUES["global"]["postgresqlSecretName"], *(source["name"] for source in CODE_SERVER["envSecrets"])):
        assert f"secret generic {secret} " in README


def test_image_is_of_files_that_exist_and_reach_docker() -> None:
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)).split()
    assert copied
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert set(copied) == let_in
    assert all((PROJECT_ROOT / name).exists() for name in copied)
    assert "*" in ignored  # .env among all others


def test_package_loads_without_the_project_around_it_as_in_the_image(tmp_path: Path) -> None:
    shutil.copytree(PROJECT_ROOT / "mds_assets", tmp_path / "site" / "mds_assets")
    script = "from mds_assets import definitions as d; print(d.__file__, *d.defs.resolve_all_asset_keys())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "MDS_DATA_DIR": str(tmp_path / "lake")}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not ended.returncode, ended.stderr
    assert not ended.stderr
    assert str(tmp_path) in ended.stdout
    assert "github_repos" in ended.stdout


def test_image_has_the_user_and_the_home_of_the_values() -> None:
    user = CODE_SERVER["podSecurityContext"]["runAsUser"]
    assert f"useradd --uid {user} " in DOCKERFILE
    assert f"USER {user}:{user}" in DOCKERFILE
    assert f"DAGSTER_HOME={VALUES['global']['dagsterHome']} " in DOCKERFILE


def test_chart_is_of_the_version_of_dagster_in_the_lock_file() -> None:
    lock = tomllib.loads((PROJECT_ROOT / "uv.lock").read_text(encoding="utf-8"))
    version = next(package["version"] for package in lock["package"] if package["name"] == "dagster")
    assert set(re.findall(r"--version (\S+)", README)) == {version}
