"""Where bytes are written to that a task waits for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


def target(buffer: "Buffer") -> memoryview:
    """Return the bytes of a writable buffer. Raises TypeError for another one, before anything was taken that would be lost with it."""
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError(f"a writable buffer is required, not a read-only {type(buffer).__name__!r}")
    return view
