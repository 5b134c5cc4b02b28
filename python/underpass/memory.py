"""Shared memory, and where objects live. Whatever this process made and did not hand on is removed when it ends."""

import atexit

from underpass._core import (
    Block,
    News,
    ObjectInfo,
    Pool,
    PoolStatistics,
    Region,
    RegionStatistics,
    SharedObject,
    SizeStatistics,
    Space,
    enter,
    leave,
)

__all__ = [
    "Block",
    "News",
    "ObjectInfo",
    "Pool",
    "PoolStatistics",
    "Region",
    "RegionStatistics",
    "SharedObject",
    "SizeStatistics",
    "Space",
]

enter()
atexit.register(leave)
