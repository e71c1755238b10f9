"""Runs commands in processes of their own and says what each took."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dagster import DagsterEventType, DagsterInstance

ROOT = Path(__file__).resolve().parents[1]
_WRAPPER = Path(__file__).with_name("wrapper.py")
_SETTINGS = re.compile("GITHUB_|MDS_|DAGSTER_")
# What is used with nothing configured, and what the project's users have.
STOCK_INSTANCE = "telemetry:\n  enabled: false\n"
OUR_INSTANCE = (ROOT / ".dagster/dagster.yaml").read_text(encoding="utf-8")
# Empty: the default, whatever `.env` says.
_DEFAULTS = {
    "PYTHONDONTWRITEBYTECODE": "",  # else each run compiles its modules again, which is more than all of its work
    "GITHUB_ORG": "",
    "GITHUB_TOKEN": "",
    "GITHUB_API_URL": "",
    "MDS_LOOKBACK_DAYS": "",
    "MDS_PREVIEW_ROWS": "",
    "MDS_DUCKDB_MEMORY_LIMIT": "",
    "MDS_DUCKDB_THREADS": "",
}


@dataclass(frozen=True)
class Took:
    """What one run of a command took.

    Attributes:
        wall: Seconds from its start to its end.
        cpu: Seconds of all its threads and processes.
        peak_mb: The largest resident memory, in MiB; of several processes, that of the largest.
        steps: Seconds inside each step, as Dagster's event log or the script itself says.
    """

    wall: float
    cpu: float
    peak_mb: float
    steps: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def inside(self) -> float:
        """Seconds inside steps."""
        return sum(self.steps.values())


@dataclass(frozen=True)
class Command:
    """A command, and where its steps' times are to be found.

    Attributes:
        words: The program and its arguments.
        variables: Its environment beside that of the runner, of which the project's and Dagster's variables are left
            out.
        home: Dagster's home, if the command is one of Dagster's.
        instance: Its `dagster.yaml`.
        prints_steps: Whether it prints the seconds of its steps as JSON.
        memory_limit: Of a control group that it runs in, in bytes; 0 for none.
    """

    words: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    home: Path | None = None
    instance: str = STOCK_INSTANCE
    prints_steps: bool = False
    memory_limit: int = 0

    def run(self) -> Took:
        """Run it.

        Raises:
            RuntimeError: It failed; the message ends with what it said last.
        """
        variables = {name: value for name, value in os.environ.items() if not _SETTINGS.match(name)} | _DEFAULTS
        variables |= {"PYTHONPATH": str(ROOT), **self.variables}
        if self.home:
            self.home.mkdir(parents=True, exist_ok=True)
            (self.home / "dagster.yaml").write_text(self.instance, encoding="utf-8")
            variables["DAGSTER_HOME"] = str(self.home)
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "took.json"
            wrapped = [sys.executable, "-IS", str(_WRAPPER), str(result), str(self.memory_limit), *self.words]
            ended = subprocess.run(wrapped, env=variables, cwd=folder, capture_output=True, text=True, check=False)
            if ended.returncode:
                said = f"{ended.stdout}\n{ended.stderr}".strip()[-4000:]
                raise RuntimeError(f"{' '.join(self.words)} ended with {ended.returncode}:\n{said}")
            took: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
        steps = _steps(self.home) if self.home else json.loads(ended.stdout) if self.prints_steps else {}
        return Took(**took, steps=steps)


def python(*words: str) -> list[str]:
    """Words of a command that runs this Python."""
    return [sys.executable, *words]


def dagster(*words: str) -> list[str]:
    """Words of a command that runs `dagster`."""
    return [str(Path(sys.executable).with_name("dagster")), *words]


def rounds(
    commands: Mapping[str, Command], count: int, log: Callable[[str], None], *, warm_up: bool = True
) -> dict[str, list[Took]]:
    """Run the commands one after the other, `count` times over, so that what disturbs the machine meets them all.

    Args:
        commands: By name.
        count: How many rounds.
        log: Gets a line per run.
        warm_up: Whether a command without a home of Dagster's runs once before: the first run makes the databases.
    """
    for command in commands.values():
        if warm_up and command.home and not command.home.exists():
            command.run()
    took: dict[str, list[Took]] = {name: [] for name in commands}
    for number in range(count):
        for name, command in commands.items():
            took[name].append(one := command.run())
            log(f"round {number + 1} of {count}, {name}: {one.wall:.2f} s, {one.peak_mb:.0f} MiB")
    return took


def median(took: Sequence[Took]) -> Took:
    """The median of each figure by itself."""
    steps = {name: statistics.median(one.steps[name] for one in took) for name in took[0].steps}
    figures = {name: statistics.median(asdict(one)[name] for one in took) for name in ("wall", "cpu", "peak_mb")}
    return Took(**figures, steps=steps)


def _steps(home: Path) -> dict[str, float]:
    """Seconds inside each step of the last run, from Dagster's event log."""
    with DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs(limit=1)
        ended = [log.dagster_event for log in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_SUCCESS)]
        return {str(event.step_key): event.step_success_data.duration_ms / 1000 for event in ended if event is not None}
