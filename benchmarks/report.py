"""What was measured, as markdown and JSON, with the machine and the versions it was measured with."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.process import Took, median

_PACKAGES = ("dagster", "dlt", "duckdb", "polars", "pyarrow")


@dataclass(frozen=True)
class Ratio:
    """A figure against its target.

    Attributes:
        name: What is divided by what.
        value: The quotient, or seconds or MB where the target is an amount.
        target: The most that it may be; None where there is no target.
    """

    name: str
    value: float
    target: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        return "" if self.target is None else "yes" if self.value <= self.target else "no"


@dataclass
class Section:
    """One comparison: what ran side by side."""

    title: str
    took: dict[str, list[Took]] = field(default_factory=dict[str, list[Took]])
    ratios: list[Ratio] = field(default_factory=list[Ratio])
    remarks: list[str] = field(default_factory=list[str])


def machine() -> dict[str, Any]:
    """Where and with what this ran."""
    cpu = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 1024**3),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def markdown(sections: Sequence[Section], facts: dict[str, Any]) -> str:
    """The report for readers."""
    lines = ["# Benchmarks", "", ", ".join(f"{name} {value}" for name, value in facts.items()), ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.took:
            lines += ["| | wall, s | CPU, s | peak, MiB | inside steps, s | rounds |", "|---|---|---|---|---|---|"]
        for name, took in section.took.items():
            middle = median(took)
            spread = f"{min(one.wall for one in took):.2f} to {max(one.wall for one in took):.2f}"
            inside = f"{middle.inside:.2f}" if middle.steps else ""
            lines.append(
                f"| {name} | {middle.wall:.2f} ({spread}) | {middle.cpu:.2f} | {middle.peak_mb:.0f} | {inside} "
                f"| {len(took)} |"
            )
        if section.ratios:
            lines += ["", "| | measured | at most | met |", "|---|---|---|---|"]
            lines += [
                f"| {ratio.name} | {ratio.value:.2f} | {ratio.target or ''} | {ratio.verdict} |"
                for ratio in section.ratios
            ]
        lines += ["", *(f"{remark}\n" for remark in section.remarks)]
    return "\n".join(lines).rstrip() + "\n"


def write(sections: Sequence[Section], file: Path, command: str, load_before: float) -> None:
    """Write the markdown file, and a JSON file beside it with every round.

    Args:
        sections: What was measured so far.
        file: Where to.
        command: What was run.
        load_before: The machine's load average before.
    """
    facts = machine() | {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": round(load_before, 2),
        "command": f"`{command}`",
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(markdown(sections, facts), encoding="utf-8")
    file.with_suffix(".json").write_text(
        json.dumps(
            {
                "machine": facts,
                "sections": [
                    {
                        "title": section.title,
                        "rounds": {name: [asdict(one) for one in took] for name, took in section.took.items()},
                        "medians": {name: asdict(median(took)) for name, took in section.took.items()},
                        "ratios": [asdict(ratio) | {"met": ratio.verdict} for ratio in section.ratios],
                        "remarks": section.remarks,
                    }
                    for section in sections
                ],
            },
            indent=1,
        ),
        encoding="utf-8",
    )
