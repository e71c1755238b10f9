"""Which hosts are this machine: a token may travel to them unencrypted. Imports nothing heavy, as settings need it."""

from contextlib import suppress
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether this host is this machine."""
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return host == "localhost"
