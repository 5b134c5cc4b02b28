"""RPyC: a remote call over a Unix socket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from underpass.tools.bench.peers.shapes import MESSAGE, Echo, directory, needed, served

MODULE = "rpyc"


def serve(place: Path) -> None:
    """Answer for ever."""
    rpyc = needed(MODULE)
    servers = needed("rpyc.utils.server")

    def echo(_self: object, data: bytes) -> bytes:
        return data

    service: Any = type("EchoService", (rpyc.Service,), {"exposed_echo": echo})
    servers.ThreadedServer(service, socket_path=str(place / "socket")).start()


@contextlib.contextmanager
def trip(place: Path) -> Generator[Callable[[], object]]:
    """A round trip."""
    needed(MODULE)
    factory = needed("rpyc.utils.factory")
    served(lambda seconds: _appears(place / "socket", seconds))
    with contextlib.closing(factory.unix_connect(str(place / "socket"))) as connection:
        echo = connection.root.echo

        def trip() -> None:
            echo(MESSAGE)

        yield trip


def _appears(path: Path, seconds: float) -> bool:
    import socket
    import time

    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            return True
    time.sleep(seconds)
    return False


ECHO = Echo("RPyC", MODULE, directory, serve, trip)
