"""An object store, S3 or one that speaks its language, as the place of the lake.

A put is the atomic step: a reader sees the old object or the new one. Instead of a lock a put has a condition, that the
object still is the version that the writer has seen. What does not belong here: what is replaced when (`lake.py`).

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

import errno
from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import finalize

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from upath import UPath

from mds_assets.stack.settings import is_remote, settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from s3fs import S3FileSystem

# s3fs and botocore are imported by whoever has such a lake.

# A store's restart is waited out: some 15 s, 31 at most.
_ATTEMPTS = 6

# A page of a listing has a thousand objects: more folders than these are looked up faster by listing all of them.
_FEW = 4

# What s3fs says of a file that was replaced, or removed, after it was listed.
REPLACED = {errno.EBUSY, errno.ENOENT}

_IN_PROGRESS = "ConditionalRequestConflict"  # of another put: it may fail
_CONDITION_FAILED = {"PreconditionFailed", _IN_PROGRESS}


class ObjectChangedError(Exception):
    """The object is another version than the one that was to be replaced."""


class _InProgressError(ObjectChangedError):
    """Another put of the object has not ended."""


def path(root: str) -> UPath:
    """The root of a lake, on a store with the endpoint, region and credentials of the settings."""
    if not is_remote(root):
        return UPath(root)
    _s3()  # as the filesystem that UPath finds
    return UPath(root, **_s3fs_options())


def filesystem() -> "S3FileSystem":
    """The store as a filesystem."""
    return _s3()(**_s3fs_options())


def let_read(con: "DuckDBPyConnection", root: str) -> None:
    """Let DuckDB read what lies below this root of a lake."""
    if is_remote(root):
        con.register_filesystem(filesystem())


@cache
def _s3() -> "type[S3FileSystem]":
    """s3fs with a memory for what the newest listing told of each object, which would be asked five times by DuckDB.

    A file that is replaced after it was listed is not read as half of each: s3fs asks for the version that it knows.
    """
    from fsspec import register_implementation
    from fsspec.asyn import sync_wrapper
    from s3fs import S3FileSystem

    class Store(S3FileSystem):
        protocol = ("s3",)

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._told: dict[str, dict[str, Any]] = {}

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
            for name in [name for name in list(self._told) if f"{name}/".startswith(folder)]:
                self._told.pop(name, None)
            # All at once: s3fs would list folder by folder.
            found: dict[str, dict[str, Any]] = await super()._find(
                path, withdirs=withdirs, detail=True, prefix=prefix, **options
            )
            self._told |= {name: details for name, details in found.items() if details["type"] == "file"}
            if maxdepth:
                found = {name: one for name, one in found.items() if name.removeprefix(folder).count("/") < maxdepth}
            return found if detail else sorted(found)

        find = sync_wrapper(_find)

        def _ls_from_cache(self, path: str) -> list[dict[str, Any]] | None:
            return [self._told[path]] if path in self._told else None

        def invalidate_cache(self, path: str | None = None) -> None:
            if path is None:
                self._told.clear()
            else:
                self._told.pop(str(self._strip_protocol(path)), None)

    register_implementation("s3", Store, clobber=True)
    _end_with_the_process()
    return Store


def polars_options() -> dict[str, Any]:
    """The store, as Polars takes it."""
    given = {
        "aws_endpoint_url": settings.aws_endpoint_url,
        "aws_region": settings.region,
        **{f"aws_{name}": secret for name, secret in settings.aws_credentials.items()},
    }
    http = {"aws_allow_http": "true"} if (settings.aws_endpoint_url or "").startswith("http:") else {}
    return {name: value for name, value in given.items() if value} | http | {"max_retries": _ATTEMPTS}


def _end_with_the_process() -> None:
    """Let fsspec's thread end after its filesystems, which are finalized before what was made first.

    It keeps the context of the run that used it first. With it DuckDB's types outlive the interpreter, of which its
    library complains in some forty lines.
    """
    from fsspec import asyn

    def end() -> None:
        loop, thread = asyn.loop[0], asyn.iothread[0]
        if loop and thread:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=1)

    finalize(asyn, end)


def _s3fs_options() -> dict[str, Any]:
    names = {"access_key_id": "key", "secret_access_key": "secret", "session_token": "token"}
    config: dict[str, Any] = {"retries": {"mode": "standard", "max_attempts": _ATTEMPTS}}
    if settings.aws_endpoint_url:
        # `http://bucket.host` has no address where a host is not Amazon's.
        config["s3"] = {"addressing_style": "path"}
    return {
        **{names[name]: secret for name, secret in settings.aws_credentials.items()},
        "endpoint_url": settings.aws_endpoint_url,
        "client_kwargs": {"region_name": settings.region} if settings.region else {},
        "config_kwargs": config,
        # Other processes write too.
        "use_listings_cache": False,
    }


def reach(root: UPath) -> None:
    """Ask the store for anything, so that a wrong key or endpoint is known."""
    bucket, _, prefix = root.path.partition("/")
    filesystem().call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)


def versions(folder: UPath, below: Collection[str] | None = None) -> dict[str, str]:
    """The version of each object in a folder, or in some of its folders, by its path from the folder.

    Args:
        folder: A folder of a store.
        below: The names of those folders; objects of others may be told too.
    """
    listed = [folder] if below is None or len(below) > _FEW else [folder / name for name in below]
    found: dict[str, dict[str, Any]] = {}
    for place in listed:
        found |= dict(filesystem().find(place.path, detail=True))
    start = len(folder.path.rstrip("/")) + 1
    # What comes into being while it is listed is told as a folder: the next look, or the put, finds it.
    return {name[start:]: details["ETag"] for name, details in found.items() if details["type"] == "file"}


def version(target: UPath) -> str | None:
    """The object's version; None where there is none."""
    return versions(target.parent, [target.name]).get(target.name)


@retry(
    retry=retry_if_exception_type(_InProgressError),
    wait=wait_random_exponential(max=5),
    stop=stop_after_attempt(_ATTEMPTS),
    reraise=True,
)
def put(target: UPath, content: bytes, seen: str | None) -> None:
    """Write an object in one request, if it still is the version that was seen; None if there was none.

    Raises:
        ObjectChangedError: It is another one. Nothing is written then.
    """
    bucket, _, key = target.path.partition("/")
    condition = {"IfMatch": seen} if seen else {"IfNoneMatch": "*"}
    store = filesystem()
    try:
        # Bytes, not an open file: s3fs would send an attempt's rest of it, which may be nothing, after a failed one.
        store.call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)
    except OSError as error:
        code = _code(error)
        if code not in _CONDITION_FAILED and not (seen and code == "NoSuchKey"):
            raise
        # The attempt before may have come through, though its answer did not.
        if version(target) is None or store.cat_file(target.path) != content:
            failed = _InProgressError if code == _IN_PROGRESS else ObjectChangedError
            raise failed(f"{target} was replaced meanwhile") from None
    finally:
        store.invalidate_cache(target.path)


def refusal(error: Exception) -> str | None:
    """What the store, or whoever does not reach it, says in this error; None of an error of another kind."""
    from botocore.exceptions import BotoCoreError, ClientError

    cause = error if isinstance(error, BotoCoreError | ClientError) else error.__cause__
    if isinstance(cause, ClientError):
        said: dict[str, str] = cause.response.get("Error", {})
        return f"{said.get('Code', '')}: {said.get('Message', '')}".strip(": ")
    return str(cause) if isinstance(cause, BotoCoreError) else None


def _code(error: Exception) -> str:
    from botocore.exceptions import ClientError

    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""
