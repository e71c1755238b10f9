"""The objects of a bucket as files: DuckDB, whose wheel has no httpfs, and UPath read them through fsspec.

Polars has its own client. Writing and replacing objects is in `object_store.py`.
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

from mds_assets.stack.lake.backend import StoreError

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import S3Store

# As much as DuckDB reads at once. Smaller files are read in one request, larger ones in the requested ranges.
_SMALL = 2 * 1024 * 1024


class ReplacedError(OSError):
    """The object is not the version that was listed."""


class ObjectFiles(AbstractFileSystem):
    """A bucket's objects by path: `bucket/key`, or its URL.

    Listings are cached, because DuckDB would ask for each object five times. Each read requests the listed version, so
    an object that is replaced after it was listed is never read as a mix of both.
    """

    protocol = "s3"
    cachable = False  # otherwise fsspec keeps every filesystem until the process ends

    def __init__(self, bucket: str, store: "S3Store") -> None:
        """Nothing is sent to the store yet."""
        super().__init__()
        self.bucket = bucket
        self.store = store
        self._listed: dict[str, dict[str, Any]] = {}

    def find(self, path: str, *_: Any, detail: bool = False, **__: Any) -> Any:
        """All objects below a folder, at any depth, in one request per thousand; or the object at this path."""
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
        """Size, ETag and time of an object; a folder is not an object."""
        name = self._name(path)
        if name not in self._listed:
            with one_line(name):
                self._listed[name] = self._details(obstore.head(self.store, object_key(name)))
        return self._listed[name]

    def exists(self, path: str, **_: Any) -> bool:
        """Whether the object exists. fsspec's own version returns False if the store does not respond."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def modified(self, path: str) -> Any:
        """The time of the last change; called by DuckDB."""
        return self.info(path)["last_modified"]

    def invalidate_cache(self, path: str | None = None) -> None:
        """Drop an object from the cached listing."""
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
    """One version of an object, open for reading. Each thread has its own position.

    DuckDB reads a file from many threads at once, each with a seek followed by a read. With a shared position, scans of
    25 MB files failed occasionally. For the same reason, fsspec's mutable caches are not used.
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
    """Turn the client's errors, about thirty lines with the store's response, into one-line errors."""
    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise ReplacedError(errno.EBUSY, "replaced since it was listed", path) from None
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object", path) from None
    except BaseError as error:
        raise StoreError(_reason(error)) from None


def _reason(error: BaseError) -> str:
    """The store's error code and message, or why it did not respond. No more: a response may repeat the key."""
    text, _, _ = str(error).partition("\n\nDebug source")
    if answer := re.search(r"<Code>([^<]*)</Code>(?:\s*<Message>([^<]*)</Message>)?", text):
        return ": ".join(part for part in answer.groups() if part)
    return " ".join(text.rpartition("Error performing ")[2].split())
