"""The project with sensors that look every second instead of every 30: for a daemon whose tests wait for them."""

from mds_assets.definitions import defs

for _sensor in defs.sensors or ():
    _sensor._min_interval = 1  # pyright: ignore[reportPrivateUsage]

__all__ = ["defs"]
