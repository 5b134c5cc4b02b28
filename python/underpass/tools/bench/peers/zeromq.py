"""pyzmq over ipc sockets: REQ/REP and PUSH/PULL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path

from underpass.tools.bench.peers.shapes import MESSAGE, Echo, Flow, directory, needed

MODULE = "zmq"


def _address(place: Path) -> str:
    return f"ipc://{place}/socket"


def serve(place: Path) -> None:
    """Answer for ever."""
    zmq = needed(MODULE)
    replies = zmq.Context().socket(zmq.REP)
    replies.bind(_address(place))
    while True:
        replies.send(replies.recv())


@contextlib.contextmanager
def trip(place: Path) -> Generator[Callable[[], object]]:
    """A round trip."""
    zmq = needed(MODULE)
    with zmq.Context() as context, context.socket(zmq.REQ) as requests:
        requests.linger = 0
        requests.connect(_address(place))

        def call() -> None:
            requests.send(MESSAGE)
            requests.recv()

        yield call


@contextlib.contextmanager
def _push(place: Path) -> Generator[Callable[[int], object]]:
    zmq = needed(MODULE)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(_address(place))

        def produce(count: int) -> None:
            for _ in range(count):
                socket.send(MESSAGE)

        yield produce


@contextlib.contextmanager
def _pull(place: Path) -> Generator[Callable[[int], object]]:
    zmq = needed(MODULE)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.bind(_address(place))

        def consume(count: int) -> None:
            for _ in range(count):
                socket.recv()

        yield consume


ECHO = Echo("pyzmq REQ/REP", MODULE, directory, serve, trip)
FLOW = Flow("pyzmq PUSH/PULL", MODULE, directory, _push, _pull)
