"""Promises of deploy/ and CI about trust: who reaches what, who gets which secret, and what exactly is installed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mds_assets.stack.environment import PROJECT_ROOT, is_secret, variables
from mds_assets.stack.settings import Settings, loaded_sources

CELERY, KUBERNETES = PROJECT_ROOT / "deploy/celery", PROJECT_ROOT / "deploy/kubernetes"
VALUES: dict[str, Any] = yaml.safe_load((KUBERNETES / "values.yaml").read_text(encoding="utf-8"))
UNITS = sorted(file.stem for file in (CELERY / "systemd").glob("*.service"))
DOCKERFILE = (KUBERNETES / "Dockerfile").read_text(encoding="utf-8")


def environment_files() -> dict[str, dict[str, str]]:
    """The files that deploy/celery/README.md describes, by name."""
    readme = (CELERY / "README.md").read_text(encoding="utf-8")
    (fence,) = re.findall(r"^```ini\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^# (\S+\.env)\n", fence, flags=re.MULTILINE)[1:]
    return {
        name: dict(line.split("=", 1) for line in text.splitlines() if line)
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_each_unit_reads_the_common_file_and_one_of_its_own():
    common = (CELERY / "systemd/mds-.service.d/common.conf").read_text(encoding="utf-8")
    assert re.findall(r"^EnvironmentFile=(.*)", common, re.MULTILINE) == [
        "/etc/mds-assets/all.env",
        "/etc/mds-assets/%N.env",
    ]
    assert set(environment_files()) == {"all.env", *(f"{unit}.env" for unit in UNITS)}
    for unit in UNITS:
        text = (CELERY / "systemd" / f"{unit}.service").read_text(encoding="utf-8")
        files = environment_files()
        used = set(re.findall(r"\$\{(\w+)\}", text))
        if "workspace.yaml" in text:
            used |= set(re.findall(r"env: (\w+)", (CELERY / "workspace.yaml").read_text(encoding="utf-8")))
        assert used <= {*files["all.env"], *files[f"{unit}.env"]}


def test_only_workers_get_the_secrets_of_sources_and_of_the_lake():
    webhook = {"MDS_ALERT_WEBHOOK"}  # of the code server, which evaluates the sensors
    kinds = (Settings, *map(type, loaded_sources()))
    secrets = {name for kind in kinds for name, field in variables(kind).items() if is_secret(field)} - webhook
    assert "GITHUB_TOKEN" in secrets
    for name, file in environment_files().items():
        assert (name == "mds-worker.env") == bool(secrets & set(file)), name
        assert bool(webhook & set(file)) == (name == "mds-code-server.env")
    for server in (VALUES["dagsterWebserver"], VALUES["dagsterDaemon"]):
        assert "envSecrets" not in server
    assert [each["name"] for each in VALUES["dagsterWebserver"]["envConfigMaps"]] == ["mds-assets-webserver"]


def test_services_are_reached_by_tls_with_a_user_and_a_host_of_their_own():
    addresses = environment_files()["all.env"]
    for name in ("DAGSTER_POSTGRES_URL", "CELERY_RESULT_BACKEND"):
        assert "?sslmode=verify-full&sslrootcert=" in addresses[name]
    assert re.fullmatch(r"amqps://mds:PASSWORD@HOST/mds", addresses["CELERY_BROKER_URL"])
    config = (CELERY / "rabbitmq.conf").read_text(encoding="utf-8")
    assert "\ndefault_vhost = mds\n" in config
    assert "rabbitmqctl delete_user guest" in (CELERY / "README.md").read_text(encoding="utf-8")

    parameters = VALUES["postgresql"]["postgresqlParams"]
    assert parameters["sslmode"] == "verify-full"
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    code_server = VALUES["dagster-user-deployments"]["deployments"][0]
    for pod in (VALUES["dagsterWebserver"], VALUES["dagsterDaemon"], code_server, launcher):
        (mount,) = (each for each in pod["volumeMounts"] if each["name"] == "postgresql-ca")
        assert Path(parameters["sslrootcert"]).parent == Path(mount["mountPath"])
        (volume,) = (each for each in pod["volumes"] if each["name"] == "postgresql-ca")
        config_map = volume["configMap"]["name"]
        readme = (KUBERNETES / "README.md").read_text(encoding="utf-8")
        assert f"configmap {config_map} --from-file={Path(parameters['sslrootcert']).name}\n" in readme


def test_servers_without_a_login_only_listen_to_this_machine():
    for unit in ("mds-webserver", "mds-code-server"):
        assert " -h 127.0.0.1 " in (CELERY / "systemd" / f"{unit}.service").read_text(encoding="utf-8")


def test_on_kubernetes_only_the_proxy_and_dagsters_own_reach_them():
    text = (KUBERNETES / "network-policies.yaml").read_text(encoding="utf-8")
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in yaml.safe_load_all(text)}
    assert policies["nobody-by-default"] == {"podSelector": {}, "policyTypes": ["Ingress"]}

    (rule,) = policies["code-server"]["ingress"]
    code_server = VALUES["dagster-user-deployments"]["deployments"][0]
    assert rule["ports"] == [{"protocol": "TCP", "port": code_server["port"]}]
    (peer,) = rule["from"]
    assert peer.keys() == {"podSelector"}  # of the same namespace
    (_, component) = peer["podSelector"]["matchExpressions"]
    assert component["values"] == ["dagster-webserver", "dagster-daemon"]

    (rule,) = policies["webserver"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": VALUES["dagsterWebserver"]["service"]["port"]}]
    (peer,) = rule["from"]
    assert peer.keys() == {"namespaceSelector", "podSelector"}  # both at once, not either
    assert all("matchLabels" in selector for selector in peer.values())


def test_the_probe_names_a_host_that_the_webserver_answers():
    probe = VALUES["dagsterWebserver"]["readinessProbe"]["httpGet"]
    assert probe["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


@pytest.mark.parametrize("file", sorted((PROJECT_ROOT / ".github/workflows").iterdir()), ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_with_their_version_beside_it(file: Path):
    used = re.findall(r"uses: (.*)", file.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_the_image_and_the_environment_come_from_pinned_parts():
    assert re.findall(r"^ARG PYTHON=(.*)", DOCKERFILE, re.MULTILINE)[0].partition("@sha256:")[2].isalnum()
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${PYTHON}"}
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^UV := (\S+)$", makefile, re.MULTILINE)
    assert "pip install --quiet --disable-pip-version-check uv==$(UV)\n" in makefile
    assert f"uv=={version}\n" in DOCKERFILE
