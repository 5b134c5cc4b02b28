"""Where objects live. Whatever this process made and did not hand on is removed when it ends."""

import atexit

from underpass._core import ObjectInfo, SharedObject, Space, leave

__all__ = ["ObjectInfo", "SharedObject", "Space"]

atexit.register(leave)
