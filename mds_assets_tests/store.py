"""A real object store, SeaweedFS, on 127.0.0.1: S3 with signatures, listings and conditional puts."""

import json
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import retry, stop_after_delay, wait_fixed

if TYPE_CHECKING:
    from obstore.fsspec import FsspecStore

KEY, SECRET = "lake-user", "lake-secret-hunter2"
BUCKET = "lake"


@dataclass(frozen=True)
class Store:
    """A store that answers.

    Attributes:
        endpoint: Its URL.
        secret: Of its key.
    """

    endpoint: str
    secret: str = SECRET

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    @property
    def files(self) -> "FsspecStore":
        """It as somebody else sees it: nothing of the project is used."""
        from obstore.fsspec import FsspecStore

        class S3(FsspecStore):
            protocol = "s3"  # of the class: otherwise it finds nothing by a URL with a pattern
            cachable = False

        return S3(
            "s3",
            access_key_id=KEY,
            secret_access_key=self.secret,
            endpoint=self.endpoint,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        import boto3

        key = {"aws_access_key_id": KEY, "aws_secret_access_key": self.secret}
        boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **key).create_bucket(Bucket=name)

    def contents(self, url: str) -> dict[str, str]:
        """The objects below a URL with their ETags: equal means that nothing has changed."""
        found = dict(self.files.find(url, detail=True))
        start = len(url.removeprefix("s3://")) + 1
        return {name[start:]: details["e_tag"] for name, details in found.items()}

    def download(self, url: str, folder: Path) -> None:
        """Copy all objects below a URL into a new folder."""
        for name in self.contents(url):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self.files.get_file(f"{url}/{name}", str(folder / name))


@contextmanager
def running(folder: Path) -> Generator[Store]:
    """A store with an empty bucket, whose data lies in this folder; it ends with the block."""
    store, command = server(folder)
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(store)
            yield store
        finally:
            process.kill()  # it would take half a minute to say goodbye


def server(folder: Path, secret: str = SECRET) -> tuple[Store, list[str]]:
    """A store whose data lies in this folder, and the command that starts it."""
    config = folder / "identities.json"
    config.touch(mode=0o600)
    allowed = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": secret}], "actions": ["Admin"]}
    config.write_text(json.dumps({"identities": [allowed]}))
    servers = ("master", "volume", "filer", "s3")
    ports = dict(zip((f"{name}.port{kind}" for kind in ("", ".grpc") for name in servers), free_ports(8), strict=True))
    options: dict[str, object] = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 100,
        "s3.config": config,
        # These two have fixed ports: a second store on the machine would not start.
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        # Otherwise they stay in /tmp.
        "s3.localSocket": folder / "s3.sock",
        "filer.localSocket": folder / "filer.sock",
        **ports,
    }
    weed = str(Path(sys.executable).with_name("weed"))
    command = [weed, "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
    return Store(f"http://127.0.0.1:{ports['s3.port']}", secret), command


@retry(wait=wait_fixed(0.3), stop=stop_after_delay(60))
def wait_for(store: Store) -> None:
    """Make the bucket, once an object can be written: the S3 server answers before its volumes do."""
    with suppress(Exception):  # it is there
        store.make_bucket(BUCKET)
    store.files.pipe_file(f"{BUCKET}/ready", b"1")
    store.files.rm_file(f"{BUCKET}/ready")


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
