"""The lake in S3 or an S3-compatible store: a put is the atomic step, and a condition replaces the lock.

A reader sees the old object or the new one. A writer's put is conditional on the object still being the version that
the writer saw.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

import logging
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from getpass import getuser
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import obstore
from obstore.store import S3Store
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from upath import UPath
from upath.implementations.cloud import S3Path

from mds_assets.stack.lake.backend import Backend, ConflictError, LakeError, Move, StoreError, explain_unwritable
from mds_assets.stack.lake.layout import Partition, parse_path, partition_folder
from mds_assets.stack.lake.object_files import ObjectFiles, ReplacedError, object_key, one_line
from mds_assets.stack.settings import settings

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import RetryConfig, S3Config, S3Credential

_LOG = logging.getLogger(__name__)

# Where side lakes are. Engines that list a bucket themselves (Spark, Trino, crawlers) take names with a dot as hidden.
SIDE_LAKES = ".side_lakes"
# A store has no locks that end with a process. A run writes something more often than once in this time.
_ABANDONED_SECONDS = 86_400
_COPIES = 16  # at once: a copy within the store takes some 20 to 100 ms, and nearly all of it is waiting

# Wait out a store's restart: about 15 s, 30 at most.
_RETRIES: "RetryConfig" = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(seconds=0.5), "max_backoff": timedelta(seconds=4), "base": 2},
}
_ATTEMPTS = 6  # for a put that conflicts with one in progress

# A listing page has a thousand objects: for more folders than this, listing the whole table is faster.
_FEW = 4

_READS = 32  # at once

# botocore renews a temporary key at least 10 minutes before it expires, so every key it returns is valid that long.
_VALID = timedelta(minutes=10)


class _InProgressError(ConflictError):
    """Another put of the object is in progress, and may still fail."""


@dataclass(frozen=True)
class StoreOptions:
    """How to reach a store; DuckDB's and Polars' clients both get these.

    Attributes:
        credentials: Returns the currently valid key.
        endpoint_url: The store's URL, if it is not Amazon's.
        region: The store's region.
    """

    credentials: "Callable[[], S3Credential]" = field(repr=False)
    endpoint_url: str | None = None
    region: str | None = None

    def open(self, bucket: str) -> S3Store:
        """A client for this bucket. Nothing is sent yet."""
        # Objects are deleted one at a time, and not all stores support bulk deletes.
        config: S3Config = {"disable_bulk_delete": True}
        if self.endpoint_url:
            config["endpoint"] = self.endpoint_url
        if self.region:
            config["region"] = self.region
        return S3Store(
            bucket,
            config=config,
            # The default for a whole request is 30 s, but a put can have up to 5 GB.
            client_options={"allow_http": self._is_http, "timeout": "1 hour", "read_timeout": "1 minute"},
            retry_config=_RETRIES,
            credential_provider=self.credentials,
        )

    def for_polars(self) -> dict[str, Any]:
        """Arguments of `polars.scan_parquet`."""
        options = {"aws_endpoint_url": self.endpoint_url, "aws_region": self.region}
        http = {"aws_allow_http": "true"} if self._is_http else {}
        return {
            "storage_options": {name: value for name, value in options.items() if value} | http,
            "credential_provider": self._polars_credentials,
        }

    def _polars_credentials(self) -> tuple[dict[str, str], int | None]:
        key = self.credentials()
        given = {"aws_access_key_id": key["access_key_id"], "aws_secret_access_key": key["secret_access_key"]}
        if token := key.get("token"):
            given["aws_session_token"] = token
        return given, int(key["expires_at"].timestamp()) if key["expires_at"] else None

    @property
    def _is_http(self) -> bool:
        return (self.endpoint_url or "").startswith("http:")


def read_options() -> StoreOptions:
    """The options from the settings, completed from AWS's configuration files and roles, as AWS's own tools do.

    Raises:
        LakeError: The profile does not exist, or there is no key.
    """
    if key := settings.aws_key:
        return StoreOptions(lambda: key, settings.aws_endpoint_url, settings.region)
    import boto3  # costs half a second
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = boto3.Session(profile_name=settings.aws_profile)
        credentials = Boto3CredentialProvider(session, ttl=_VALID)
    except BotoCoreError as error:
        raise LakeError(_unreachable(settings.data_dir, str(error))) from None
    except ValueError:
        raise LakeError(_unreachable(settings.data_dir, "there are no credentials")) from None
    profile: dict[str, str] = session._session.get_scoped_config()  # pyright: ignore
    return StoreOptions(
        credentials,
        settings.aws_endpoint_url or profile.get("endpoint_url"),
        settings.region or session.region_name,
    )


class ObjectStoreBackend(Backend):
    """A lake below an `s3://` URL."""

    def __init__(self, root: str, options: StoreOptions):
        """Nothing is sent to the store yet."""
        self._url = root
        self._root = S3Path(root)
        bucket = self._root.path.partition("/")[0]
        self._store = options.open(bucket)
        self.filesystem = self._files = ObjectFiles(bucket, self._store)
        self.polars_options = options.for_polars()
        self.scratch = Path(tempfile.gettempdir(), f"mds-assets-{getuser()}")
        # Every path below the root inherits this; otherwise UPath would take a filesystem from fsspec's global
        # registry.
        self._root._fs_cached = self._files  # pyright: ignore[reportPrivateUsage]

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
        """The files of these partitions, or of the whole table if that takes fewer requests, with their ETags."""
        return self._list(table, {partition_folder(partition) for partition in partitions})

    def version_of(self, file: Path) -> None:
        """Unknown: the store chooses an ETag."""

    def find(self, folder: UPath) -> dict[str, float]:
        """All objects below a folder: one request per thousand."""
        with self.explaining():
            found = self._files.find(folder.path, detail=True).values()
        start = len(folder.path.rstrip("/")) + 1
        return {details["name"][start:]: details["last_modified"].timestamp() for details in found}

    def read_ends(self, sizes: Mapping[UPath, int]) -> dict[UPath, bytes | OSError]:
        """One request a file, many at once."""

        def read_end(file: UPath) -> bytes | None:
            options: GetOptions = {"range": {"suffix": sizes[file]}}
            try:
                with one_line(file.path):
                    return obstore.get(self._store, object_key(file.path), options=options).bytes().to_bytes()
            except FileNotFoundError:
                return None

        with self.explaining(), ThreadPoolExecutor(_READS) as threads:
            read = zip(sizes, threads.map(read_end, sizes), strict=True)
            return {file: end for file, end in read if end is not None}

    def move(self, file: UPath, target: UPath) -> None:
        """Copy the object within the store, then delete it: a process that dies in between leaves both."""
        with self.explaining():
            self._copy(file, target)
            file.unlink()

    def link(self, files: Mapping[UPath, UPath]) -> None:
        """Copy objects within the bucket: the store does it, and nothing is downloaded."""
        with self.explaining(), ThreadPoolExecutor(_COPIES) as threads:
            list(threads.map(self._copy, files, files.values()))  # an error cancels those that have not begun

    @contextmanager
    def side_root(self) -> Generator[str]:
        """A prefix below the root. A killed process leaves it: a day later, the next side lake removes it."""
        with self.explaining():
            self.reach()
            for folder in self._abandoned():
                self._delete(folder)
        root = self.path(SIDE_LAKES, uuid4().hex)
        try:
            yield str(root)
        finally:
            try:
                self._delete(root)
            except StoreError as error:  # must not hide why the block failed, nor make it fail
                _LOG.warning("%s stays for a day: %s", root, error)

    def leftovers(self) -> Iterator[Path | UPath]:
        """The workspaces of killed processes, and the side lakes to which nothing has been added for a day."""
        yield from super().leftovers()
        with self.explaining():
            yield from self._abandoned()

    def remove(self, folder: Path | UPath) -> None:
        """Remove one of the `leftovers`."""
        if isinstance(folder, Path):
            super().remove(folder)
        else:
            with self.explaining():
                self._delete(folder)

    @contextmanager
    def adding(self, name: str, targets: Collection[UPath]) -> Generator[Move]:
        """Make each put fail if the object exists."""
        yield partial(self._put, {})

    @contextmanager
    def replacing(self, name: str, folder: UPath, targets: Collection[Path]) -> Generator[Move]:
        """Make each put fail if the object has changed since the block began."""
        versions = self._list(folder, {target.parts[0] for target in targets})
        yield partial(self._put, {folder / path: version for path, version in versions.items()})

    def flush_files(self, files: Iterable[Path]) -> None:
        """Nothing to do: what is put is the copy that lasts."""

    def flush_folders(self, targets: Iterable[UPath]) -> None:
        """Nothing to do: the store answers a put once the object is safe."""

    def reach(self) -> None:
        """Send the store a request, to detect a wrong key or endpoint early, and create the scratch folder."""
        with one_line(self._url):
            obstore.list_with_delimiter(self._store, object_key(self._root.path))
        # Raw files may be private, and anyone can read the machine's temporary folder.
        self.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_foreign(self.scratch)

    def explain(self, error: Exception) -> str | None:
        """A one-line message about a store that fails or does not respond, or about a full temporary folder."""
        if isinstance(error, StoreError):
            return _unreachable(self._url, str(error))
        return explain_unwritable(error, f"TMPDIR={tempfile.gettempdir()!r}", "TMPDIR")

    def _copy(self, file: UPath, target: UPath) -> None:
        with one_line(file.path):
            obstore.copy(self._store, object_key(file.path), object_key(target.path))
        self._files.invalidate_cache(target.path)

    def _abandoned(self) -> list[UPath]:
        """The side lakes that no process can be using any more."""
        newest: dict[str, float] = {}
        for path, changed in self.find(self.path(SIDE_LAKES)).items():
            name = path.partition("/")[0]
            newest[name] = max(changed, newest.get(name, 0))
        return [self.path(SIDE_LAKES, name) for name, at in newest.items() if time.time() - at > _ABANDONED_SECONDS]

    def _delete(self, folder: UPath) -> None:
        """Delete all objects below a folder, several at a time."""
        with one_line(folder.path):
            keys = [meta["path"] for metas in obstore.list(self._store, object_key(folder.path)) for meta in metas]
            obstore.delete(self._store, keys)
        for key in keys:
            self._files.invalidate_cache(f"{self._files.bucket}/{key}")

    def _list(self, folder: UPath, below: Iterable[str]) -> dict[str, str]:
        """The ETag of each object in these folders or files of a folder, by path within the folder.

        Given an empty name, or more than a few names, it lists the whole folder.

        Raises:
            LakeError: The store does not respond.
        """
        names = set(below)
        places = [folder] if "" in names or len(names) > _FEW else [folder / name for name in sorted(names)]
        with self.explaining():
            found = [details for place in places for details in self._files.find(place.path, detail=True).values()]
        start = len(folder.path.rstrip("/")) + 1
        return {details["name"][start:]: details["e_tag"] for details in found}

    @retry(
        retry=retry_if_exception_type(_InProgressError),
        wait=wait_random_exponential(max=5),
        stop=stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
    def _put(self, versions: Mapping[UPath, str], file: Path, target: UPath) -> None:
        """Write a target in one request: if it still has its known version or, if it has none, does not exist.

        Raises:
            ConflictError: It has another version.
        """
        version = versions.get(target)
        mode: Any = {"e_tag": version} if version else "create"
        try:
            with one_line(target.path):
                obstore.put(self._store, object_key(target.path), file, mode=mode, use_multipart=False)
        except ReplacedError:
            # The previous attempt may have succeeded although its response was lost.
            is_there = target.name in self._list(target.parent, [target.name])
            if is_there and target.read_bytes() == file.read_bytes():
                return
            is_in_progress = not version and not is_there
            raise (_InProgressError if is_in_progress else ConflictError)(target) from None
        finally:
            self._files.invalidate_cache(target.path)


def _unreachable(url: str, reason: str) -> str:
    return (
        f"the lake MDS_DATA_DIR={url!r} cannot be reached: {reason}. Check it, AWS_ENDPOINT_URL, AWS_REGION, "
        "AWS_PROFILE and the credentials, and run it again."
    )


def _refuse_foreign(folder: Path) -> None:
    """Reject a folder that another user could have created.

    Raises:
        LakeError: It is a link, belongs to someone else, or is accessible to others.
    """
    stat = folder.lstat()
    if os.name == "posix" and (not S_ISDIR(stat.st_mode) or stat.st_uid != os.getuid() or stat.st_mode & 0o077):
        raise LakeError(
            f"{str(folder)!r} is not a folder of this user alone: remove it, or set TMPDIR to another folder."
        )
