"""A fork server: runs Python commands in processes that have already imported Dagster, dlt and the engines.

Those imports take two seconds, most of a short command's time. The server has imported libraries and done nothing else,
so that no pool and no connection is forked. It hasn't imported the project: a command reads `PYTHONPATH`, settings,
`.env` and `defs/` itself.

A command whose start or end is the promise (other `PYTHON*` variables, what it imports, telemetry) belongs in a new
process.
Only the standard library is imported here: `write_launcher`'s scripts import this file.
"""

import atexit
import gc
import io
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, NoReturn

# What commands of the project import, also late. A name that is gone is passed over.
LIBRARIES = (
    "boto3",
    "dagster",
    "dagster._cli",
    "dagster._core.execution.execute_in_process",
    "dagster._core.executor.in_process",
    "dagster._core.secrets.env_file",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.sqlite_storage",
    "dagster._daemon.controller",
    "dlt",
    "dlt._workspace._plugins",
    "dlt.common.libs.pyarrow",
    "dlt.destinations",
    "dlt.sources.helpers.requests",
    "dlt.sources.rest_api",
    "duckdb",
    "jinja2",
    "obstore",
    "pendulum.locales.en.locale",
    "polars",
    "polars._utils.parquet",
    "pyarrow.compute",
    "pyarrow.parquet",
    "pydantic_settings",
    "rich.progress",
    "rich.table",
    "sqlalchemy.dialects.sqlite",
    "typer",
    "upath.implementations.local",
    "watchdog.observers",
)

_LENGTH = 8  # bytes that say how long a request is


def run(
    command: Sequence[str | Path], env: Mapping[str, str] = os.environ, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of a Python program, with its output as text and nothing to read.

    Args:
        command: A script, such as those of `.venv/bin`, or `python` with `-c`, `-m` or a file; then its arguments.
        env: Its whole environment.
        cwd: Its folder.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr, Path(os.devnull).open("rb") as nothing:
        code = launch(_server(), words, env, cwd or Path.cwd(), (nothing, stdout, stderr))
        return subprocess.CompletedProcess(words, code, _text(stdout), _text(stderr))


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return io.TextIOWrapper(file, encoding="utf-8").read()


def launch(
    server: Path, command: Sequence[str], env: Mapping[str, str], cwd: Path, files: Sequence[BinaryIO | io.TextIOBase]
) -> int:
    """Have the server run a command on these standard files, and wait for its end.

    Returns:
        Its exit code; negative for the signal that ended it.
    """
    request = json.dumps({"command": list(command), "env": dict(env), "cwd": str(cwd)}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server))
        socket.send_fds(connection, [len(request).to_bytes(_LENGTH, "big")], [file.fileno() for file in files])
        connection.sendall(request)
        answer = connection.makefile("r").read()
    assert answer, f"{server} ended"
    return int(answer)


def write_launcher(program: Path, target: Path) -> None:
    """Make `target` a script that has the server run `program` with the script's own arguments.

    A shell's `<(...)` is an open file, which the server doesn't have: with one, `program` runs itself.
    """
    target.write_text(
        f"#!{sys.executable} -IS\n"
        f"import os, pathlib, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import forkserver\n"
        f"command, files = [{str(program)!r}, *sys.argv[1:]], (sys.stdin, sys.stdout, sys.stderr)\n"
        f"if any(word.startswith('/dev/fd/') for word in command):\n"
        f"    os.execv(command[0], command)\n"
        f"code = forkserver.launch(pathlib.Path({str(_server())!r}), command, os.environ, pathlib.Path.cwd(), files)\n"
        f"sys.exit(code if code >= 0 else 128 - code)\n"  # as a shell says it
    )
    target.chmod(0o755)


@cache
def _server() -> Path:
    """The socket of this process's server, which ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="mds-fork-"))
    # Nobody writes to it: the server sees its end when this process has ended, however it did.
    stdin, _owner = os.pipe()
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, folder],
        stdin=stdin,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        start_new_session=True,
    )
    os.close(stdin)
    while not (folder / "ready").exists():
        assert server.poll() is None, "the fork server ended"
        time.sleep(0.02)
    return folder / "socket"


def _serve(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Import everything, and fork for each request; returns in the child that is to become the command."""
    for name in LIBRARIES:
        with suppress(ImportError):
            import_module(name)
    gc.freeze()  # a child would copy whatever the collector touches
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen(64)
        (folder / "ready").touch()
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if listener not in ready:
                shutil.rmtree(folder, ignore_errors=True)
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return _answer(connection, folder)


def _answer(connection: socket.socket, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Fork the command of a request, wait for it and send its exit code; returns in the fork."""
    first, files, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    request = connection.makefile("rb").read(int.from_bytes(first, "big"))
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    requested = json.loads(request)
    os.chdir(requested["cwd"])
    # What is imported now is compiled once per server, whether or not the project's own folders may be written.
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(folder / "pycache")
    return requested["command"], requested["env"]


def _become(command: list[str], env: dict[str, str]) -> None:
    """Run the command as Python itself does."""
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, 1 if number == 2 or os.isatty(number) else -1, encoding="utf-8", errors=errors)
        for number, mode, errors in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
    )
    program, *words = command
    found = [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]
    is_python = Path(program).name.startswith("python")
    if is_python and words[0] in ("-c", "-m"):
        found = [str(Path.cwd()) if words[0] == "-m" else "", *found]
    else:
        words = words if is_python else command
        found = [str(Path(words[0]).parent), *found]
    sys.path[:0] = found
    if words[0] == "-c":
        main = sys.modules["__main__"] = ModuleType("__main__")
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), main.__dict__)  # noqa: S102
    elif words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def _end(code: int) -> NoReturn:
    """End as Python does, but without tearing down a thousand modules, which takes as long as a short command."""
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for file in (sys.stdout, sys.stderr):
        file.flush()
    os._exit(code)


def _main() -> NoReturn:
    command, env = _serve(Path(sys.argv[1]))
    try:
        _become(command, env)
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)  # noqa: T201
        _end(end.code if isinstance(end.code, int) else int(end.code is not None))
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        _end(1)
    _end(0)


if __name__ == "__main__":
    _main()
