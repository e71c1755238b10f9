"""The lake in an object store, S3 or one with its API: a put is the atomic step, a condition replaces the lock.

A reader sees the old object or the new one. A writer puts an object on the condition that it still is the version that
the writer saw.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from getpass import getuser
from pathlib import Path
from stat import S_ISDIR
from typing import Any
from weakref import finalize

from botocore.exceptions import BotoCoreError, ClientError
from fsspec import asyn
from s3fs import S3FileSystem
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from upath import UPath
from upath.implementations.cloud import S3Path

from mds_assets.stack.lake.backend import Backend, ConflictError, LakeError, Move, explain_unwritable
from mds_assets.stack.lake.layout import Partition, parse_path, partition_folder
from mds_assets.stack.settings import settings

# Wait out a store's restart: some 15 s, 31 at most.
_ATTEMPTS = 6

# A page of a listing has a thousand objects: for more folders than these, listing the whole table is faster.
_FEW = 4

_IN_PROGRESS = "ConditionalRequestConflict"  # of another put, which may fail
_CONDITION_FAILED = {"PreconditionFailed", _IN_PROGRESS}


class _InProgressError(ConflictError):
    """Another put of the object has not ended."""


@dataclass(frozen=True)
class StoreOptions:
    """How to reach a store.

    Attributes:
        endpoint_url: Its URL, where it is not Amazon's.
        region: Its region.
        credentials: `access_key_id`, `secret_access_key`, `session_token`, as far as they are set. Without them the
            role of the machine or container applies.
    """

    endpoint_url: str | None = None
    region: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def for_s3fs(self) -> dict[str, Any]:
        """As s3fs takes them."""
        names = {"access_key_id": "key", "secret_access_key": "secret", "session_token": "token"}
        config: dict[str, Any] = {"retries": {"mode": "standard", "max_attempts": _ATTEMPTS}}
        if self.endpoint_url:
            # Only Amazon resolves `http://bucket.host`.
            config["s3"] = {"addressing_style": "path"}
        return {
            **{names[name]: secret for name, secret in self.credentials.items()},
            "endpoint_url": self.endpoint_url,
            "client_kwargs": {"region_name": self.region} if self.region else {},
            "config_kwargs": config,
            # Other processes write too.
            "use_listings_cache": False,
        }

    def for_polars(self) -> dict[str, Any]:
        """As Polars takes them."""
        options = {
            "aws_endpoint_url": self.endpoint_url,
            "aws_region": self.region,
            **{f"aws_{name}": secret for name, secret in self.credentials.items()},
        }
        http = {"aws_allow_http": "true"} if (self.endpoint_url or "").startswith("http:") else {}
        return {name: value for name, value in options.items() if value} | http | {"max_retries": _ATTEMPTS}


def read_options() -> StoreOptions:
    """The options that the settings give."""
    return StoreOptions(settings.aws_endpoint_url, settings.region, settings.aws_credentials)


class _ListedS3(S3FileSystem):
    """s3fs that remembers what the newest listing said of each object: DuckDB would ask five times for it.

    An object that is replaced after it was listed is not read as half of each: s3fs asks for the version it knows.
    """

    protocol = ("s3",)
    cachable = False  # fsspec would keep every filesystem of the process for good

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._listed: dict[str, dict[str, Any]] = {}

    async def _find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool | None = None,
        detail: bool = False,
        prefix: str = "",
        **options: Any,
    ) -> dict[str, Any] | list[str]:
        folder = f"{self._strip_protocol(path)}/"
        for name in [name for name in list(self._listed) if f"{name}/".startswith(folder)]:
            self._listed.pop(name, None)
        # All at once: s3fs would list folder by folder.
        found: dict[str, dict[str, Any]] = await super()._find(
            path, withdirs=withdirs, detail=True, prefix=prefix, **options
        )
        self._listed |= {name: details for name, details in found.items() if details["type"] == "file"}
        if maxdepth:
            found = {name: one for name, one in found.items() if name.removeprefix(folder).count("/") < maxdepth}
        return found if detail else sorted(found)

    find = asyn.sync_wrapper(_find)

    def _ls_from_cache(self, path: str) -> list[dict[str, Any]] | None:
        return [self._listed[path]] if path in self._listed else None

    def invalidate_cache(self, path: str | None = None) -> None:
        if path is None:
            self._listed.clear()
        else:
            self._listed.pop(str(self._strip_protocol(path)), None)


class ObjectStoreBackend(Backend):
    """A lake below an `s3://` URL."""

    def __init__(self, root: str, options: StoreOptions):
        """Nothing is sent to the store yet."""
        self.filesystem = self._store = _ListedS3(**options.for_s3fs())
        self.storage_options = options.for_polars()
        self.scratch = Path(tempfile.gettempdir(), f"mds-assets-{getuser()}")
        self._url = root
        self._root = S3Path(root)
        # Every path below the root inherits it; UPath would otherwise take one from fsspec's global registry.
        self._root._fs_cached = self._store  # pyright: ignore[reportPrivateUsage]

    def path(self, *names: str) -> UPath:
        """A path below the root."""
        return self._root.joinpath(*names)

    def days(self, table: UPath) -> Iterator[tuple[date, set[str]]]:
        """Each day with the names of its files, newest first: one request per thousand objects of the table."""
        days: defaultdict[date, set[str]] = defaultdict(set)
        for path in self._list(table, [""]):
            if (parsed := parse_path(path)) and parsed[0]:
                days[parsed[0]].add(parsed[1])
        yield from sorted(days.items(), reverse=True)

    def versions(self, table: UPath, partitions: Collection[Partition]) -> dict[str, str]:
        """The files of these partitions, or of the whole table where that takes fewer requests, with their ETags."""
        return self._list(table, {partition_folder(partition) for partition in partitions})

    def adding(self, targets: Collection[UPath]) -> Move:
        """Let each put refuse an object that exists."""
        return partial(self._put, {})

    @contextmanager
    def replacing(self, name: str, folder: UPath, targets: Collection[Path]) -> Generator[Move]:
        """Let each put refuse an object that changed since the block began."""
        versions = self._list(folder, {target.parts[0] for target in targets})
        yield partial(self._put, {folder / path: version for path, version in versions.items()})

    def reach(self) -> None:
        """Ask the store for anything, so that a wrong key or endpoint shows, and make the scratch folder."""
        bucket, _, prefix = self._root.path.partition("/")
        self._store.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
        # Raw files may be private, and everybody may read the machine's temporary folder.
        self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_foreign(self.scratch)

    def explain(self, error: Exception) -> str | None:
        """One line about a store that refuses or does not answer, or about a temporary folder that is full."""
        if refusal := _refusal(error):
            return (
                f"the lake MDS_DATA_DIR={self._url!r} cannot be reached: {refusal}. Check it, "
                "AWS_ENDPOINT_URL, AWS_REGION and the credentials, and run it again."
            )
        return explain_unwritable(error, f"TMPDIR={tempfile.gettempdir()!r}", "TMPDIR")

    def _list(self, folder: UPath, below: Iterable[str]) -> dict[str, str]:
        """The ETag of each object in these folders or files of a folder, by path within the folder.

        An empty name, and more than a few names, list the whole folder.

        Raises:
            LakeError: The store does not answer.
        """
        names = set(below)
        places = [folder] if "" in names or len(names) > _FEW else [folder / name for name in sorted(names)]
        found: dict[str, dict[str, Any]] = {}
        with self.explaining():
            for place in places:
                found |= self._store.find(place.path, detail=True)
        start = len(folder.path.rstrip("/")) + 1
        # s3fs calls an object that appears during the listing a folder. The next listing, or the put, finds it.
        return {name[start:]: details["ETag"] for name, details in found.items() if details["type"] == "file"}

    @retry(
        retry=retry_if_exception_type(_InProgressError),
        wait=wait_random_exponential(max=5),
        stop=stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
    def _put(self, versions: Mapping[UPath, str], file: Path, target: UPath) -> None:
        """Write a target in one request, if it still has this version; if it is not among the versions, a new one.

        Raises:
            ConflictError: It has another version.
        """
        bucket, _, key = target.path.partition("/")
        version = versions.get(target)
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        # Bytes, not an open file: after a failed attempt s3fs would send the rest of it, which may be nothing.
        content = file.read_bytes()
        try:
            self._store.call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)
        except OSError as error:
            code = _client_error(error).get("Code")
            if code not in _CONDITION_FAILED and not (version and code == "NoSuchKey"):
                raise
            # The attempt before may have succeeded although its answer was lost.
            is_there = target.name in self._list(target.parent, [target.name])
            if not is_there or self._store.cat_file(target.path) != content:
                raise (_InProgressError if code == _IN_PROGRESS else ConflictError)(target) from None
        finally:
            self._store.invalidate_cache(target.path)


def _client_error(error: Exception) -> dict[str, str]:
    """`Code` and `Message` of the store's answer; empty for an error of another kind."""
    cause = error if isinstance(error, ClientError) else error.__cause__
    return dict(cause.response.get("Error", {})) if isinstance(cause, ClientError) else {}


def _refusal(error: Exception) -> str | None:
    """What the store answered, or why it did not; None for an error of another kind."""
    if answer := _client_error(error):
        return f"{answer.get('Code', '')}: {answer.get('Message', '')}".strip(": ")
    cause = error if isinstance(error, BotoCoreError) else error.__cause__
    return str(cause) if isinstance(cause, BotoCoreError) else None


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that another user could have made.

    Raises:
        LakeError: It is a link, somebody else's, or open to others.
    """
    stat = folder.lstat()
    if os.name == "posix" and (not S_ISDIR(stat.st_mode) or stat.st_uid != os.getuid() or stat.st_mode & 0o077):
        raise LakeError(
            f"{str(folder)!r} is not a folder of this user alone: remove it, or set TMPDIR to another folder."
        )


def _stop_fsspec_thread() -> None:
    """Stop the thread that runs fsspec's event loop.

    The thread keeps the context of the run that used it first. Through that, DuckDB's types would outlive the
    interpreter, and nanobind would complain in some forty lines.
    """
    loop, thread = asyn.loop[0], asyn.iothread[0]
    if loop and thread:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=1)


# At import, before any filesystem: finalizers run in reverse order, and the filesystems' own still need the thread.
finalize(asyn, _stop_fsspec_thread)
