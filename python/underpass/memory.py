"""Where objects live. Whatever this process made and did not hand on is removed when it ends."""

import atexit

from underpass._core import ObjectInfo, Space, leave

__all__ = ["ObjectInfo", "Space"]

atexit.register(leave)
