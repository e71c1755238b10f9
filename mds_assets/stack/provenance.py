"""What each derived file was made from, as its own metadata says: no database, and the same on any machine.

A Parquet file has it in its footer under `mds_provenance`, a page in its last line. A version says what a file was made
from, not when: making it again from the same inputs, by the same code, gives the same version, so nothing downstream of
it becomes stale.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from mds_assets.stack.lake import Lake, LakeError
from mds_assets.stack.lake.footers import UNREADABLE
from mds_assets.stack.lake.layout import DATA_FILE, Partition, partition_key
from mds_assets.stack.names import LOAD, LOADS, PROVENANCE

# A partition's files with their versions.
Versions: TypeAlias = Mapping[str, str]

DIGITS = 12  # of a version
ABSENT = "." * DIGITS
_END_BYTES = 65_536  # of a file: has the whole footer of nearly all
_PAGE_START, _PAGE_END, _CLOSING = f"<!-- {PROVENANCE} ", " -->", "</html>"


@dataclass(frozen=True)
class Provenance:
    """What a file of a derived table was made from.

    Attributes:
        code: The version of the table's SQL or function, and of the stack's own rules that it depends on.
        declaration: The version of the table's declaration.
        settings: The settings that matter, such as the lookback window.
        inputs: The files that its partition was made from, with their versions, by table and partition. Partitions
            without files are left out.
        run: The id of the run that made it.
        version: The version of the file: a digest of everything but the run.
    """

    code: str
    declaration: str
    settings: Mapping[str, Any]
    inputs: "Inputs"
    run: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        """Compute the version, unless a file has recorded it."""
        if not self.version:
            object.__setattr__(self, "version", digest(json.dumps(self._facts(), sort_keys=True).encode()))

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps(self._facts() | {"run": self.run, "version": self.version}, separators=(",", ":"))

    def _facts(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "declaration": self.declaration,
            "settings": dict(self.settings),
            "inputs": self.inputs.recorded,
        }

    @classmethod
    def from_json(cls, text: str) -> "Provenance | None":
        """From `to_json`; None for anything else that another program may have written there."""
        try:
            facts = json.loads(text)
            return cls(
                code=str(facts["code"]),
                declaration=str(facts["declaration"]),
                settings=dict(facts["settings"]),
                inputs=Inputs(facts["inputs"]),
                run=str(facts["run"]),
                version=str(facts["version"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


class Inputs(Mapping[str, Mapping[Partition, Versions]]):
    """The inputs of a file as it records them, taken apart on use: a year of windows has a hundred thousand.

    Attributes:
        recorded: By table, see `_compact`.
    """

    def __init__(self, recorded: Mapping[str, Any]) -> None:
        """Check only that there are tables."""
        self.recorded = dict(recorded)

    @classmethod
    def of(cls, inputs: Mapping[str, Mapping[Partition, Versions]]) -> "Inputs":
        """From the versions of files, by table and partition."""
        return cls({table: _compact(days) for table, days in sorted(inputs.items()) if any(days.values())})

    def days(self, table: str) -> list[date]:
        """The first and last day of one file a day; none for anything else."""
        recorded = self.recorded.get(table)
        if not isinstance(recorded, list):
            return []
        first = date.fromisoformat(recorded[0])
        return [first, first + timedelta(days=len(recorded[1]) // DIGITS - 1)]

    def __getitem__(self, table: str) -> dict[Partition, Versions]:
        """The partitions of a table.

        Raises:
            KeyError: The file was not made from this table.
        """
        try:
            return _expanded(self.recorded[table])
        except (ValueError, TypeError, AttributeError):  # another program wrote it
            return {}

    def __iter__(self) -> Iterator[str]:
        """The tables."""
        return iter(self.recorded)

    def __len__(self) -> int:
        """How many tables."""
        return len(self.recorded)


def _compact(partitions: Mapping[Partition, Versions]) -> Any:
    """The versions of one file a day as a first day and a text of equal parts: a window of a year has 366 of them."""
    days = sorted(day for day, files in partitions.items() if day and files)
    if days and all(set(files) <= {DATA_FILE} for files in partitions.values()):
        between = (days[0] + timedelta(offset) for offset in range((days[-1] - days[0]).days + 1))
        versions = (partitions.get(day, {}).get(DATA_FILE, ABSENT) for day in between)
        return [str(days[0]), "".join(versions)]
    return {partition_key(each) or "": dict(sorted(files.items())) for each, files in partitions.items() if files}


def _expanded(recorded: Any) -> dict[Partition, Versions]:
    if isinstance(recorded, dict):
        return {date.fromisoformat(day) if day else None: dict(files) for day, files in recorded.items()}
    first, text = recorded
    versions = [text[start : start + DIGITS] for start in range(0, len(text), DIGITS)]
    return {
        date.fromisoformat(first) + timedelta(offset): {DATA_FILE: version}
        for offset, version in enumerate(versions)
        if version != ABSENT
    }


@dataclass(frozen=True)
class Footer:
    """What the end of a Parquet file says of it.

    Attributes:
        rows: How many rows it has.
        facts: Its key-value metadata.
        digest: A digest of the footer.
    """

    rows: int
    facts: Mapping[bytes, bytes]
    digest: str

    @classmethod
    def parse(cls, end: bytes) -> "Footer | int":
        """From the last bytes of a file; or how many bytes it takes, if these are too few.

        Raises:
            pyarrow.ArrowException: It is not a whole Parquet file; or one of `footers.UNREADABLE`.
        """
        size = int.from_bytes(end[-8:-4], "little") + 8
        if end[-4:] == b"PAR1" and size > len(end) >= _END_BYTES:
            return size
        metadata = pq.read_metadata(pa.BufferReader(end))
        return cls(metadata.num_rows, metadata.metadata or {}, digest(end[-size:]))

    @cached_property
    def provenance(self) -> Provenance | None:
        """What the file was made from; None for raw, and for files written before that was recorded."""
        text = self.facts.get(PROVENANCE.encode())
        return Provenance.from_json(text.decode(errors="replace")) if text else None

    @property
    def version(self) -> str:
        """What the file was made from, or a digest of the footer: it has the statistics of all rows."""
        return self.provenance.version if self.provenance else self.digest

    @classmethod
    def of(cls, lake: Lake, file: UPath) -> "Footer":
        """The footer of one file.

        Raises:
            LakeError: It has none, or the store does not respond.
        """
        footer = read_footers(lake, [file]).get(file, "it is gone")
        if isinstance(footer, str):
            raise LakeError(f"{file} cannot be read: {footer}")
        return footer

    def text(self, name: str) -> str | None:
        """One of its facts."""
        value = self.facts.get(name.encode())
        return value.decode(errors="replace") if value else None

    def load_names(self, name: str) -> list[str]:
        """The files of the loads that it holds, also of those whose facts were not recorded.

        Args:
            name: The name of the file.
        """
        names = self._fact(LOADS)
        return [str(each) for each in names] if isinstance(names, list) else [name]

    def loads(self, name: str) -> dict[str, Mapping[str, Any]]:
        """The facts of each load that the file holds, by the name of its file: several if it is compacted.

        Each has its `version` at least.

        Args:
            name: The name of the file.
        """
        recorded = self._fact(LOAD)
        facts: dict[str, Any] = recorded if isinstance(recorded, dict) else {}
        merged = facts.get("loads")
        if isinstance(merged, dict) and all(isinstance(each, dict) and "version" in each for each in merged.values()):
            return merged
        return {name: {**facts, "version": self.version}}

    def _fact(self, name: str) -> Any:
        """One of its facts from JSON; None if there is none, or another program wrote something else."""
        try:
            return json.loads(self.facts.get(name.encode(), b"null"))
        except (ValueError, RecursionError):
            return None


def file_versions(footers: Mapping[str, Footer]) -> dict[str, str]:
    """The version of each file of a partition; of a compacted one, those of the loads it holds."""
    return {
        load: str(facts["version"]) for name, footer in footers.items() for load, facts in footer.loads(name).items()
    }


def read_footers(lake: Lake, files: Collection[UPath]) -> dict[UPath, Footer | str]:
    """The footer of each Parquet file, or in one line why it has none; without files that are gone.

    Raises:
        StoreError: The store does not respond.
    """
    read: dict[UPath, Footer | str] = {}
    sizes = dict.fromkeys(files, _END_BYTES)
    while sizes:
        ends = lake.read_ends(sizes)
        sizes = {}
        for file, end in ends.items():
            try:
                if isinstance(end, OSError):
                    raise end
                footer = Footer.parse(end)
            except UNREADABLE as error:
                footer = next(iter(str(error).splitlines()), "") or type(error).__name__
            if isinstance(footer, int):
                sizes[file] = footer
            else:
                read[file] = footer
    return read


def page_with(page: str, provenance: Provenance) -> str:
    """The page, with its provenance as a comment in its last line, or just before its closing tag."""
    text = provenance.to_json().replace("--", r"\u002d-")  # which would end the comment
    comment = f"{_PAGE_START}{text}{_PAGE_END}"
    head, tag, after = page.rstrip().rpartition(_CLOSING)
    return f"{head}{comment}\n{tag}\n" if tag and not after else f"{page.rstrip()}\n{comment}\n"


def page_provenance(end: bytes) -> Provenance | None:
    """The provenance in the last bytes of a page, if it has one."""
    text = end.decode(errors="replace")
    _, found, rest = text.rpartition(_PAGE_START)
    return Provenance.from_json(rest.partition(_PAGE_END)[0]) if found else None


def digest(data: bytes) -> str:
    """The first digits of a SHA-256."""
    return sha256(data).hexdigest()[:DIGITS]


def inputs_of(
    reads: Mapping[str, Mapping[Partition, Versions]], windows: Mapping[str, Sequence[Partition] | None]
) -> dict[str, dict[Partition, Versions]]:
    """What one partition was made from, of what its step has read.

    Args:
        reads: What the step has read for all its partitions, by table.
        windows: The partitions that this one reads of each table; None for all.
    """
    return {
        table: {each: partitions[each] for each in _within(partitions, windows.get(table)) if partitions.get(each)}
        for table, partitions in reads.items()
    }


def _within(partitions: Iterable[Partition], window: Sequence[Partition] | None) -> Iterable[Partition]:
    return partitions if window is None else window
