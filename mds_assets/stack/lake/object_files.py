"""The objects of a bucket as files: DuckDB, whose wheel has no httpfs, and UPath read them through fsspec.

Polars has its own client. What does not belong here: which object is replaced when (`object_store.py`).
"""

import errno
import re
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from threading import local
from typing import TYPE_CHECKING, Any

import obstore
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import S3Store

# As much as DuckDB reads at once. A file up to this size is one request, a larger one the ranges that are asked for.
_SMALL = 2 * 1024 * 1024


class StoreError(OSError):
    """The store refuses, or does not answer. One line."""


class ReplacedError(OSError):
    """The object is not the version that was listed."""


class ObjectFiles(AbstractFileSystem):
    """A bucket's objects by path: `bucket/key`, or its URL.

    What the newest listing said of an object is remembered: DuckDB would ask five times for it. And an object that is
    replaced after it was listed is never read as half of each, because each read asks for the listed version.
    """

    protocol = "s3"
    cachable = False  # fsspec would keep every filesystem of the process for good

    def __init__(self, bucket: str, store: "S3Store") -> None:
        """Nothing is sent to the store yet."""
        super().__init__()
        self.bucket = bucket
        self.store = store
        self._listed: dict[str, dict[str, Any]] = {}

    def find(self, path: str, *_: Any, detail: bool = False, **__: Any) -> Any:
        """All objects below a folder, however deep, in one request per thousand; or the object of this path."""
        folder = self._name(path)
        for name in [name for name in list(self._listed) if f"{name}/".startswith(f"{folder}/")]:
            self.invalidate_cache(name)
        with one_line(folder):
            listed = [meta for metas in obstore.list(self.store, object_key(folder)) for meta in metas]
        found = {details["name"]: details for details in map(self._details, listed)}
        self._listed |= found
        if not found and self.exists(folder):
            found = {folder: self.info(folder)}
        return found if detail else sorted(found)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size, ETag and time of an object; a folder is none."""
        name = self._name(path)
        if name not in self._listed:
            with one_line(name):
                self._listed[name] = self._details(obstore.head(self.store, object_key(name)))
        return self._listed[name]

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such an object. fsspec's own takes a store that does not answer for a no."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def modified(self, path: str) -> Any:
        """The time of the last change, which DuckDB asks for."""
        return self.info(path)["last_modified"]

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget what the newest listing said of an object."""
        self._listed.pop(self._name(path or ""), None)

    def _rm(self, path: str) -> None:
        with one_line(path):
            obstore.delete(self.store, object_key(path))
        self.invalidate_cache(path)

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> "_ObjectFile":
        return _ObjectFile(self, path, mode, cache_type="none")

    def _name(self, path: str) -> str:
        return str(self._strip_protocol(path))

    def _details(self, meta: "ObjectMeta") -> dict[str, Any]:
        return {**meta, "name": f"{self.bucket}/{meta['path']}", "type": "file"}


class _ObjectFile(AbstractBufferedFile):
    """One version of an object, to be read. Each thread has a position of its own.

    DuckDB reads a file from many threads at once, each with a seek and then a read. With one position for all, scans
    of files of 25 MB failed now and then. For the same reason fsspec's caches, which change, are not used.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._position = local()
        super().__init__(*args, **options)

    @property
    def loc(self) -> int:
        return getattr(self._position, "value", 0)

    @loc.setter
    def loc(self, value: int) -> None:
        self._position.value = value

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._content[start:end] if self.size <= _SMALL else self._get(start, end)

    @cached_property
    def _content(self) -> bytes:
        return self._get(0, self.size)

    def _get(self, start: int, end: int) -> bytes:
        version: GetOptions = {"range": (start, end), "if_match": self.details["e_tag"]}
        with one_line(self.path):
            return obstore.get(self.fs.store, object_key(self.path), options=version).bytes().to_bytes()


def object_key(path: str) -> str:
    """The key within the bucket."""
    return path.partition("/")[2]


@contextmanager
def one_line(path: str) -> Generator[None]:
    """Turn the client's errors, of some thirty lines with the store's answer, into ones that can be shown."""
    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise ReplacedError(errno.EBUSY, "replaced since it was listed", path) from None
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object", path) from None
    except BaseError as error:
        raise StoreError(_reason(error)) from None


def _reason(error: BaseError) -> str:
    """What the store answered, or why it did not; no more of it, as an answer may repeat the key."""
    text, _, _ = str(error).partition("\n\nDebug source")
    if answer := re.search(r"<Code>([^<]*)</Code>(?:\s*<Message>([^<]*)</Message>)?", text):
        return ": ".join(part for part in answer.groups() if part)
    return " ".join(text.rpartition("Error performing ")[2].split())
