"""Records what a command does to a folder: every system call that changes a file or its name, or flushes it.

strace sees the calls of all engines alike; DuckDB, Polars, pyarrow and SQLite write from native code.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,lseek,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,"
    "sendfile,copy_file_range,splice,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,"
    "mkdir,mkdirat,fsync,fdatasync,sync_file_range,syncfs,sync,io_uring_setup"
)
# A line of strace: the thread, then a call, or its beginning, or its end. With -xx, all text is in hexadecimal.
_LINE = re.compile(rb"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)", re.DOTALL)
_RESULT = re.compile(rb"\) += (-?\d+)(?:<([^>]*)>)?")
_TEXT = re.compile(rb'(?:(-?\w+)<([^>]*)>|AT_FDCWD)?(?:, )?"([^"]*)"')
_DESCRIPTOR = re.compile(rb"(-?\d+)<([^>]*)>")
_FLUSHES, _WRITES = {"fsync", "fdatasync"}, {"write", "pwrite64"}


@dataclass(frozen=True)
class Call:
    """A call that changed something.

    Attributes:
        name: `create`, `write`, `truncate`, `rename`, `link`, `unlink`, `mkdir`, `flush` or `copy`.
        path: What it changed.
        other: The new name of a rename or link; the source of a copy.
        data: What it wrote.
        offset: Where it wrote, or the length after a truncation.
    """

    name: str
    path: str
    other: str = ""
    data: bytes = b""
    offset: int = 0


def can_record() -> bool:
    """Whether strace is here, and may trace."""
    strace = shutil.which("strace")
    return bool(strace) and subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True).returncode == 0


def record(command: Sequence[str | Path], trace: Path, environment: Mapping[str, str]) -> None:
    """Run a command, and write its system calls to a file.

    Raises:
        CalledProcessError: It failed.
    """
    options = ["-f", "--seccomp-bpf", "-y", "-xx", "-s", str(1 << 24), "-e", f"trace={CALLS}", "-o", trace]
    subprocess.run(["strace", *options, *command], env=environment, check=True, capture_output=True)


def calls(trace: Path, root: Path) -> Iterator[Call]:
    """The calls that changed something below the root, in the order in which they returned.

    Raises:
        NotImplementedError: A call whose effect is not modelled.
    """
    position: dict[str, int] = {}  # where a file's next write goes; by path, as Polars duplicates descriptors
    for name, arguments, result, opened in _lines(trace):
        for call in _meaning(name, arguments, result, opened, position):
            if call.path.startswith(f"{root}/") or call.path == str(root) or call.other.startswith(f"{root}/"):
                yield call


def _lines(trace: Path) -> Iterator[tuple[str, bytes, int, str]]:
    """The successful calls: name, arguments, result, and the path of a descriptor that was returned."""
    begun: dict[bytes, bytes] = {}
    with trace.open("rb") as lines:
        for line in lines:
            matched = _LINE.match(line)
            if not matched:
                continue
            thread, resumed, name, rest = matched.groups()
            if rest.rstrip().endswith(b"<unfinished ...>"):
                begun[thread] = rest.rstrip().removesuffix(b"<unfinished ...>")
                continue
            if resumed:
                rest = begun.pop(thread, b"") + rest
            ended = _RESULT.search(rest, rest.rfind(b") ="))
            if ended and int(ended[1]) >= 0:
                yield (resumed or name).decode(), rest[: ended.start()], int(ended[1]), _text(ended[2] or b"")


def _meaning(name: str, arguments: bytes, result: int, opened: str, position: dict[str, int]) -> Iterator[Call]:
    if name in _WRITES:
        path, start = _descriptor(arguments), arguments.find(b'"') + 1
        data = bytes.fromhex(arguments[start : arguments.find(b'"', start)].replace(b"\\x", b"").decode())[:result]
        if name == "pwrite64":
            yield Call("write", path, data=data, offset=int(arguments.rpartition(b", ")[2]))
        else:
            yield Call("write", path, data=data, offset=position.get(path, 0))
            position[path] = position.get(path, 0) + result
    elif name in _FLUSHES:
        yield Call("flush", _descriptor(arguments))
    elif name == "lseek":
        position[_descriptor(arguments)] = result
    elif name in {"open", "openat", "creat"}:
        position[opened] = 0
        if b"O_CREAT" in arguments or name == "creat":
            yield Call("create", opened)
        if b"O_TRUNC" in arguments:
            yield Call("truncate", opened)
    elif name == "ftruncate":
        yield Call("truncate", _descriptor(arguments), offset=int(arguments.rpartition(b", ")[2]))
    elif name == "sendfile":
        path, source = (_text(path) for _, path in _DESCRIPTOR.findall(arguments))
        yield Call("copy", path, other=source)
    elif name in {"unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"}:
        (path,) = _paths(arguments)
        yield Call("mkdir" if name.startswith("mkdir") else "unlink", path)
    elif name in {"rename", "renameat", "renameat2", "link", "linkat"}:
        path, other = _paths(arguments)
        if b"RENAME_" in arguments:
            raise NotImplementedError(f"{name} of {path} with flags")
        yield Call("link" if name.startswith("link") else "rename", path, other=other)
    elif name in {"close", "dup", "dup2", "dup3", "sync_file_range", "fallocate"}:  # these promise nothing
        return
    else:
        for _, path in _DESCRIPTOR.findall(arguments):
            yield Call(name, _text(path))


def _descriptor(arguments: bytes) -> str:
    """The path of the first argument, an open file."""
    matched = _DESCRIPTOR.match(arguments)
    return _text(matched[2]) if matched else ""


def _paths(arguments: bytes) -> list[str]:
    """The paths among the arguments; one that follows a descriptor is relative to its folder."""
    return [
        os.path.normpath(os.path.join(_text(folder), _text(path)))  # noqa: PTH118
        for _, folder, path in _TEXT.findall(arguments)
    ]


def _text(escaped: bytes) -> str:
    if b"\\x" not in escaped:
        return escaped.decode()
    return bytes.fromhex(escaped.replace(b"\\x", b"").decode()).decode()
