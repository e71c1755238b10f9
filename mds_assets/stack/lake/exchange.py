"""Exchanges two folders in one step: readers see the one or the other, never a mix and never neither.

Python has no such call. https://man7.org/linux/man-pages/man2/rename.2.html
"""

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def exchange(one: Path, other: Path) -> None:
    """Give each of two paths on one file system what the other one has.

    Raises:
        OSError: With EINVAL or ENOSYS, the file system or the operating system has no such call.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if not rename:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(one), None, str(other))
