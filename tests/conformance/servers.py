"""Servers that the cases of ports share."""

from underpass import Port

# Calls that one client has in progress at a time.
STACKS = 4
STOP = b"stop"


def upper_until_stop(name: str) -> None:
    """Serve ``bytes.upper`` until the call that stops it."""
    port = Port.create(name)

    def handle(data: bytes) -> bytes:
        if data == STOP:
            port.close()
        return data.upper()

    port.serve_bytes(handle)
