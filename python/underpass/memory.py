"""Shared memory, and where objects live. Whatever this process made and did not hand on is removed when it ends."""

import atexit

from underpass._core import News, ObjectInfo, Region, RegionStatistics, SharedObject, Space, enter, leave

__all__ = ["News", "ObjectInfo", "Region", "RegionStatistics", "SharedObject", "Space"]

enter()
atexit.register(leave)
