"""A process that the harness starts, disturbs, starts again as systemd would, and ends."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tenacity import retry, retry_if_not_result, stop_after_delay, wait_fixed

PATIENCE = 90  # seconds that a slow machine may take for one thing


class Process:
    """A command with all that it starts: they share a process group, and end together.

    Attributes:
        name: What it is called in messages; also the name of its log.
        log: What it prints.
        began: How often it was started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str],
        ready: Callable[[], object],
        *,
        quit_signal: signal.Signals = signal.SIGTERM,
        user: str | None = None,
    ):
        """Nothing starts yet.

        Args:
            name: See the attribute.
            command: What to run.
            folder: For the log.
            environment: On top of the harness's own.
            ready: True once it can be used.
            quit_signal: What ends it in good order.
            user: Whose process it is, where the harness is root.
        """
        self.name, self.command, self.environment, self.ready = name, command, environment, ready
        self.quit_signal = quit_signal
        self.user = user if os.geteuid() == 0 else None
        self.log = folder / f"{name}.log"
        self.began = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that the command became, and of its group."""
        assert self._process
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; it need not be ready yet."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
            )
        self.began += 1

    def wait_until_ready(self) -> None:
        """Wait until it can be used.

        Raises:
            AssertionError: It ended instead; shows the end of the log.
        """

        def ready() -> bool:
            assert self.runs, f"{self.name} ended:\n{self.log.read_text(errors='replace')[-4000:]}"
            return bool(self.ready())

        eventually(ready)

    def end(self, how: signal.Signals | None = None, patience: float = 20) -> None:
        """Ask it to end, by default in good order, and kill what is left of the group."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(how or self.quit_signal)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to it and all that it has started, as when its machine goes down."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def eventually(look: Callable[[], object], seconds: float = PATIENCE, every: float = 0.25) -> None:
    """Wait until `look` says something true.

    Raises:
        RetryError: It did not in time.
    """
    waiting = retry(retry=retry_if_not_result(bool), stop=stop_after_delay(seconds), wait=wait_fixed(every))
    waiting(look)()
