"""What stands in a space, who waits there, and what the dead left: seen from outside."""

from underpass.tools.spaces.command import list_objects, show_waits, sweep

__all__ = ["list_objects", "show_waits", "sweep"]
