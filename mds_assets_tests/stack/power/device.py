"""Power cuts of a real file system: ext4 on a loop device, shut down while runs write to it.

The ioctl drops all that the kernel has not yet written, without flushing the journal, as xfstests do:
https://git.kernel.org/pub/scm/fs/xfs/xfstests-dev.git/tree/src/godown.c
"""

import fcntl
import multiprocessing
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from mds_assets_tests.stack.power import runs
from mds_assets_tests.stack.toy import sales

_SHUTDOWN, _WITHOUT_FLUSH = 0x8004587D, struct.pack("I", 2)  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
# As most distributions mount it, and with what ext4 adds for programs that do not flush taken away.
_OPTIONS = ("loop", "loop,noauto_da_alloc,data=writeback")


def can_cut(folder: Path) -> bool:
    """Whether this machine lets us mount a file system, as root outside of most containers."""
    if os.geteuid() or not shutil.which("mkfs.ext4"):
        return False
    try:
        with _mounted(_image(folder), folder, _OPTIONS[0]):
            return True
    except subprocess.CalledProcessError:
        return False


def cut(folder: Path, cuts: int, seed: int) -> Iterator[list[str]]:
    """Cut the power after a random time of each of several rounds of runs on one lake; say what each cut violated."""
    random, orders = Random(seed), sales(runs.DAYS)
    image = _image(folder)
    for number in range(cuts):
        days = [
            (first, random.randint(first, runs.DAYS - 1)) for first in (random.randrange(runs.DAYS) for _ in range(9))
        ]
        with _mounted(image, folder, _OPTIONS[number % 2]) as root:
            # A fork, as importing Dagster takes longer than a run.
            process = multiprocessing.get_context("fork").Process(target=_run, args=(root, orders, days))
            process.start()
            process.join(random.uniform(0.3, 6))
            failed = [f"a run failed: exit code {process.exitcode}"] if process.exitcode else []
            descriptor = os.open(root, os.O_RDONLY)
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_FLUSH)
            os.close(descriptor)
            process.kill()
            process.join()
        with _mounted(image, folder, _OPTIONS[number % 2]) as root:
            yield failed + list(runs.violations(root, orders))


def _run(root: Path, orders: list[dict[str, object]], days: list[tuple[int, int]]) -> None:
    with root.with_name("printed").open("a") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    runs.materialise(root, orders, days)


def _image(folder: Path) -> Path:
    """A new file system in a file."""
    image = folder / f"image-{datetime.now(UTC).timestamp()}"
    with image.open("wb") as opened:
        opened.truncate(512 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
    return image


@contextmanager
def _mounted(image: Path, folder: Path, options: str) -> Generator[Path]:
    place = folder / "mounted"
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", options, image, place], check=True, capture_output=True)
    try:
        yield place
    finally:
        for _ in range(50):  # a process that was killed may still be ending
            if subprocess.run(["umount", place], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
