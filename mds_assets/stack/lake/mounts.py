"""Whether locks on a file system hold for all hosts that share it, as far as Linux tells.

https://man7.org/linux/man-pages/man5/nfs.5.html and https://man7.org/linux/man-pages/man2/flock.2.html
"""

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
# Mount options with which a lock never reaches the server.
_LOCAL_OPTIONS = {
    "nfs": {"nolock", "local_lock=all", "local_lock=flock"},
    "nfs4": {"nolock", "local_lock=all", "local_lock=flock"},
    "cifs": {"nobrl"},
    "smb3": {"nobrl"},
    "lustre": {"localflock", "noflock"},
}
# These keep locks on the host, unless their own options say otherwise: FUSE (sshfs, s3fs, gcsfuse, ...), and shares of
# a virtual machine with its host.
_LOCAL_TYPES = re.compile(r"fuse\..+|9p|virtiofs|vboxsf")


def host_local_locks(folder: Path) -> str | None:
    """The type of the folder's file system if its locks may hold on this host only; None if they hold everywhere."""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return None
    folder = folder.resolve()
    mounts: dict[Path, tuple[str, set[str]]] = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        kind, _, options = after.split(" ", 2)
        mounts[Path(place)] = kind, {*before.split()[5].split(","), *options.split(",")}
    # The last mount on a place hides those before it.
    kind, options = next((mounts[place] for place in (folder, *folder.parents) if place in mounts), ("", set[str]()))
    return kind if options & _LOCAL_OPTIONS.get(kind, set()) or _LOCAL_TYPES.fullmatch(kind) else None
