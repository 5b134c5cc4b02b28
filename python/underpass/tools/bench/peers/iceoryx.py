"""iceoryx2: request and response in shared memory, polled for, or with an event each way."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from underpass.tools.bench.peers.shapes import MESSAGE, Echo, needed

MODULE = "iceoryx2"


class _Data(ctypes.Structure):
    _fields_ = (("data", ctypes.c_ubyte * len(MESSAGE)),)


@contextlib.contextmanager
def _name(_place: Path) -> Generator[str]:
    try:
        yield f"underpass-{uuid.uuid4().hex}"
    finally:
        # The server was killed, and what it had made is somebody else's to remove; after this process's own.
        ice = needed(MODULE)
        gc.collect()
        ice.NodeBuilder.new().create(ice.ServiceType.Ipc).try_cleanup_dead_nodes()


class _End:
    """One process's ends of a service: request and response, and the events that announce them."""

    def __init__(self, name: str) -> None:
        ice = needed(MODULE)
        ice.set_log_level(ice.LogLevel.Fatal)
        self._ice = ice
        self.node = ice.NodeBuilder.new().create(ice.ServiceType.Ipc)
        self._name = name
        self.service = self._builder("calls").request_response(_Data, _Data).open_or_create()

    def _builder(self, part: str) -> Any:
        return self.node.service_builder(self._ice.ServiceName.new(f"{self._name}/{part}"))

    def event(self, part: str) -> Any:
        return self._builder(part).event().open_or_create()


def _serve_polling(name: str) -> None:
    server = _End(name).service.server_builder().create()
    while True:
        _answer(server)


def _serve_events(name: str) -> None:
    end = _End(name)
    server = end.service.server_builder().create()
    requests = end.event("requests").listener_builder().create()
    replies = end.event("replies").notifier_builder().create()
    while True:
        if _answer(server):
            replies.notify()
        else:
            requests.blocking_wait()


def _answer(server: Any) -> bool:
    request = server.receive()
    if request is None:
        return False
    request.send_copy(request.payload().contents)
    return True


@contextlib.contextmanager
def _trip_polling(name: str) -> Generator[Callable[[], object]]:
    client = _End(name).service.client_builder().create()
    data = _Data()

    def trip() -> None:
        pending = client.send_copy(data)
        while pending.receive() is None:
            # The first request may have gone before the server was there.
            if pending.number_of_server_connections == 0:
                pending = client.send_copy(data)

    yield trip


@contextlib.contextmanager
def _trip_events(name: str) -> Generator[Callable[[], object]]:
    end = _End(name)
    client = end.service.client_builder().create()
    requests = end.event("requests").notifier_builder().create()
    replies = end.event("replies").listener_builder().create()
    data = _Data()

    def trip() -> None:
        pending = client.send_copy(data)
        requests.notify()
        while pending.receive() is None:
            if pending.number_of_server_connections == 0:
                pending = client.send_copy(data)
                requests.notify()
            else:
                replies.blocking_wait()

    yield trip


POLLING = Echo("iceoryx2, polling", MODULE, _name, _serve_polling, _trip_polling, sleeps=False)
EVENTS = Echo("iceoryx2, with events", MODULE, _name, _serve_events, _trip_events)
