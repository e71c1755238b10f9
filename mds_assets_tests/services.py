"""RabbitMQ, PostgreSQL and an S3 store, which the deployment stands on: on 127.0.0.1, with a password of their own."""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from tenacity import RetryError, stop_after_attempt

from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets_tests.process import Process, listens
from mds_assets_tests.store import free_ports, server, wait_for

# Debian's `rabbitmq-server` on the PATH only switches to the system's user.
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_USER = "mds"


@dataclass(frozen=True)
class Services:
    """What runs, and how it is reached."""

    rabbitmq: Process
    postgres: Process
    store: Process | None
    environment: dict[str, str]


@contextmanager
def services(folder: Path, lake: str) -> Generator[Services]:
    """All of them ready, until the block ends; the store only for a lake on S3 that names no other endpoint."""
    install()
    password = secrets.token_hex(16)
    with ExitStack() as ending:
        epmd, rabbitmq, broker_url = _rabbitmq(folder, password)
        postgres, database_url = postgres_server(folder, password)
        own_store = lake.startswith("s3://") and "AWS_ENDPOINT_URL" not in os.environ
        store, store_environment = _store(folder, password) if own_store else (None, {})
        started = [one for one in (epmd, rabbitmq, postgres, store) if one]
        for one in started:
            one.start()
            ending.callback(one.end)
        for one in started:
            one.wait_until_ready()
        yield Services(
            rabbitmq,
            postgres,
            store,
            {
                "CELERY_BROKER_URL": broker_url,
                "DAGSTER_POSTGRES_URL": database_url,
                "CELERY_RESULT_BACKEND": f"db+{database_url}",
                **store_environment,
            },
        )


def install() -> None:
    """Get RabbitMQ and PostgreSQL from Debian where they are missing.

    Raises:
        SystemExit: They are missing, and only root may install them.
    """
    needed = {"rabbitmq-server": _RABBITMQ.exists(), "postgresql": bool(postgres_bins())}
    missing = [package for package, there in needed.items() if not there]
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise SystemExit(f"{' and '.join(missing)} must be installed first")
    # Neither is to run as a service of the machine: Debian asks this file whether it may start them.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "--quiet"], env=environment, check=True)
        subprocess.run(["apt-get", "install", "--yes", "--quiet", *missing], env=environment, check=True)
    finally:
        if ours:
            policy.unlink()


def _rabbitmq(folder: Path, password: str) -> tuple[Process, Process, str]:
    home = folder / "rabbitmq"
    home.mkdir()
    port, names_port, nodes_port = free_ports(3)
    config = home / "rabbitmq.conf"
    config.touch(mode=0o600)
    config.write_text(
        (PROJECT_ROOT / "deploy/celery/rabbitmq.conf").read_text()
        + f"listeners.tcp.1 = 127.0.0.1:{port}\ndefault_user = {_USER}\ndefault_pass = {password}\n"
    )
    environment = {
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names_port),
        "RABBITMQ_NODENAME": f"mds-{port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(home / "features"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
        "RABBITMQ_DIST_PORT": str(nodes_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RUNNING_UNDER_SYSTEMD": "true",  # one process, without a shell around it
    }
    # Erlang would start its name service itself, and leave it behind.
    epmd = Process("epmd", ["epmd"], folder, environment, lambda: listens(names_port))
    rabbitmq = Process("rabbitmq", [_RABBITMQ], folder, environment, lambda: listens(port))
    return epmd, rabbitmq, f"amqp://{_USER}:{password}@127.0.0.1:{port}/mds"


def postgres_server(folder: Path, password: str) -> tuple[Process, str]:
    home, (port,) = folder / "postgres", free_ports(1)
    home.mkdir()
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    password_file = home / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if user:
        shutil.chown(home, user, user)
        shutil.chown(password_file, user, user)
    subprocess.run(
        [
            *[
                postgres_bins()[-1] / "initdb",
                "--pgdata",
                home / "data",
                "--username",
                _USER,
                "--pwfile",
                password_file,
            ],
            *["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"],
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=home,
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
    password_file.unlink()
    url = f"postgresql+psycopg2://{_USER}:{password}@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        try:
            psycopg2.connect(url.replace("+psycopg2", ""), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    command = [postgres_bins()[-1] / "postgres", "-D", home / "data", "-h", "127.0.0.1", "-p", str(port), "-k", home]
    # SIGINT is PostgreSQL's fast shutdown: it waits for nobody.
    return Process("postgres", command, folder, {}, answers, quit_signal=signal.SIGINT, user=user), url


def postgres_bins() -> list[Path]:
    """Each version's programs, the newest last; Debian does not have them on the PATH."""
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def _store(folder: Path, password: str) -> tuple[Process, dict[str, str]]:
    """SeaweedFS with the bucket `lake`."""
    home = folder / "store"
    home.mkdir()
    store, command = server(home, password)

    def answers() -> bool:
        try:
            wait_for.retry_with(stop=stop_after_attempt(1))(store)
        except RetryError:
            return False
        return True

    # Asked to end, it waits for idle connections.
    return Process("store", command, folder, {}, answers, quit_signal=signal.SIGKILL), store.environment
