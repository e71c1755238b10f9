"""What `dagster dev` and `dg dev` must have before they start anything: an instance to themselves, and a free port.

Dagster looks at neither. Two daemons on one instance can launch the same runs twice. A webserver whose port is taken
logs an error and hangs, and the daemon goes on without a UI.
"""

from pathlib import Path

import click
from dagster._utils import is_port_in_use
from filelock import FileLock, Timeout


def claim(home: Path) -> FileLock | None:
    """The lock that keeps other `dagster dev` from this instance as long as this process holds it.

    None in other processes, such as the webserver and the daemon that `dagster dev` starts.

    Args:
        home: The instance's folder.

    Raises:
        ClickException: Another process holds it, or the port is taken.
    """
    context = click.get_current_context(silent=True)
    if not context or context.command.name != "dev":
        return None
    lock = FileLock(home / "dev.lock", is_singleton=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise click.ClickException(
            f"the UI and the daemon already run on {home}: stop them, or set another DAGSTER_HOME."
        ) from None
    host, port = context.params.get("host") or "127.0.0.1", context.params.get("port")
    if port and is_port_in_use(host, int(port)):  # without `--port`, Dagster looks for a free one
        raise click.ClickException(
            f"port {port} of {host} is taken: choose another one, such as `make dev PORT={int(port) + 1}`, or `--port`."
        )
    if port:  # Dagster says it at INFO, a level at which its daemon logs some 20 lines a minute
        click.echo(f"Starting Dagster's UI on http://{host}:{port}; Ctrl-C stops it.")
    return lock
