"""A model of a disk that promises no more than POSIX does.

- The content of a file survives as far as it was flushed. What was written later may survive in full, in part, as
  zeros, or not at all.
- A name in a folder survives once the folder was flushed. Any change since then may have happened or not, in any order.
- A flush of a file says nothing about its name, and one of a folder nothing about the name of the folder itself.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from random import Random

from mds_assets_tests.stack.power.recorder import Call


@dataclass(eq=False)
class Node:
    """A file or a folder.

    Attributes:
        data: A file's content, as programs see it.
        flushed: Its content as far as it was flushed.
        names: A folder's entries, as programs see them.
        history: For each name, what it was at the last flush, then what it became.
    """

    data: bytearray = field(default_factory=bytearray)
    flushed: bytes = b""
    names: "dict[str, Node] | None" = None
    history: "dict[str, list[Node | None]]" = field(default_factory=dict[str, "list[Node | None]"])

    def set(self, name: str, node: "Node | None") -> None:
        """Give a name in this folder, or take it."""
        assert self.names is not None
        self.history.setdefault(name, [None]).append(node)
        if node:
            self.names[name] = node
        else:
            self.names.pop(name, None)

    def flush(self) -> None:
        """What is here survives."""
        self.flushed = bytes(self.data)
        self.history = {name: [node] for name, node in (self.names or {}).items()}


class Disk:
    """A folder, and what a power cut leaves of it.

    Attributes:
        root: The folder, which survives.
    """

    def __init__(self, root: Path):
        """It is empty."""
        self.root = root
        self._root = Node(names={})

    def apply(self, call: Call) -> None:
        """Do what a recorded call did.

        Raises:
            NotImplementedError: It is not modelled.
        """
        parent, name = self._find(PurePath(call.path).parent), PurePath(call.path).name
        node = self._find(PurePath(call.path))
        if call.name == "flush":
            if node:
                node.flush()
        elif call.name == "create":
            if parent and not node:
                parent.set(name, Node())
        elif call.name == "mkdir":
            assert parent
            parent.set(name, Node(names={}))
        elif call.name == "unlink":
            if parent and node:
                parent.set(name, None)
        elif call.name in {"rename", "link"}:
            target = self._find(PurePath(call.other).parent)
            assert target
            assert node
            assert parent
            target.set(PurePath(call.other).name, node)
            if call.name == "rename":
                parent.set(name, None)
        elif call.name in {"write", "truncate", "copy"}:
            if node:  # otherwise it was unlinked while open
                self._change(node, call)
        else:
            raise NotImplementedError(call)

    def _change(self, node: Node, call: Call) -> None:
        if call.name == "copy":
            source = self._find(PurePath(call.other))
            assert source
            node.data[:] = source.data
            return
        end = call.offset + len(call.data)
        if call.name == "truncate":
            del node.data[call.offset :]
        if len(node.data) < end:
            node.data.extend(bytes(end - len(node.data)))
        node.data[call.offset : end] = call.data

    def _find(self, path: PurePath) -> Node | None:
        if not path.is_relative_to(self.root):
            return None
        node: Node | None = self._root
        for name in path.relative_to(self.root).parts:
            node = node.names.get(name) if node and node.names is not None else None
        return node

    def write_to(self, folder: Path, random: Random | None, untouched: str, *, everything_lost: bool = False) -> None:
        """Write what a power cut leaves now to an empty folder.

        Args:
            folder: Where to write.
            random: Decides what survives.
            untouched: A name in the root of which everything survives.
            everything_lost: Whether nothing survives but what was flushed.
        """
        for name, node in self._left(self._root, None if everything_lost else random, whole=False):
            self._write(node, folder / name, None if everything_lost else random, whole=False)
        kept = (self._root.names or {}).get(untouched)
        if kept:
            self._write(kept, folder / untouched, random, whole=True)

    def _left(self, folder: Node, random: Random | None, *, whole: bool) -> "list[tuple[str, Node]]":
        if whole:
            return list((folder.names or {}).items())
        left = {name: random.choice(nodes) if random else nodes[0] for name, nodes in folder.history.items()}
        return [(name, node) for name, node in left.items() if node]

    def _write(self, node: Node, target: Path, random: Random | None, *, whole: bool) -> None:
        if node.names is None:
            target.write_bytes(node.data if whole else _left_of(node, random))
            return
        target.mkdir(exist_ok=True)
        for name, child in self._left(node, random, whole=whole):
            self._write(child, target / name, random, whole=whole)


def _left_of(file: Node, random: Random | None) -> bytes:
    if not random or file.flushed == bytes(file.data):
        return file.flushed
    whole = bytes(file.data)
    return random.choice([file.flushed, whole, bytes(len(whole)), whole[: random.randint(0, len(whole))]])
