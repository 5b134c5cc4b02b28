"""gRPC: a unary call over a Unix socket, bytes as they are."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from underpass.tools.bench.partners import PATIENCE
from underpass.tools.bench.peers.shapes import MESSAGE, Echo, directory, needed

MODULE = "grpc"


def _address(place: Path) -> str:
    return f"unix:{place}/socket"


def serve(place: Path) -> None:
    """Answer for ever."""
    grpc = needed(MODULE)

    def echo(request: bytes, _context: Any) -> bytes:
        return request

    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"call": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", handlers),))
    server.add_insecure_port(_address(place))
    server.start()
    signal.pause()


@contextlib.contextmanager
def trip(place: Path) -> Generator[Callable[[], object]]:
    """A round trip."""
    grpc = needed(MODULE)
    with grpc.insecure_channel(_address(place)) as channel:
        call = channel.unary_unary("/echo/call")
        call(MESSAGE, wait_for_ready=True, timeout=PATIENCE)

        def trip() -> None:
            call(MESSAGE)

        yield trip


ECHO = Echo("gRPC unary, Unix socket", MODULE, directory, serve, trip)
