"""`serve` and `serving`: an implementation of an interface, and a port that asks it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from underpass.ports import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from underpass.interfaces.interface import Interface

__all__ = ["serve", "serving"]

# A port made for a name takes messages of this many bytes. Who needs more makes the port and passes it.
MESSAGE_SIZE = 64 * 1024


def serve(implementation: Interface, *, at: str | Port) -> None:
    """Answer calls until the port is closed, one after the other, in this thread.

    An exception that a method raises goes to its caller as RemoteError, and the server goes on. KeyboardInterrupt and SystemExit end
    it. A caller that dies while it waits is not noticed: its reply goes nowhere and blocks nobody.

    Args:
        implementation: An instance of a subclass of the interface, with the bodies of its methods.
        at: A name, for which a port of 64 KiB messages is made, and removed at the end; or a port, which is left open.

    Raises:
        ExistsError: A living process serves that name.
        TypeError: ``implementation`` has no interface, or a method of it has no annotations.
    """
    port, answer = _prepare(implementation, at)
    try:
        port.serve_bytes(answer)
    finally:
        if isinstance(at, str):
            port.close()


@contextmanager
def serving(implementation: Interface, *, at: str | Port) -> Generator[None]:
    """Serve in a background thread; leaving closes the port, also one that was passed in, and waits for the thread.

    On entry the name is there: a client in any process can connect. `serve` says the rest.
    """
    port, answer = _prepare(implementation, at)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            port.serve_bytes(answer)
        except BaseException as error:  # noqa: BLE001  raised again by the thread that leaves
            failures.append(error)
            port.close()

    thread = threading.Thread(target=run, name=f"serving {type(implementation).__name__}")
    try:
        thread.start()
        yield
    finally:
        port.close()
        if thread.ident is not None:
            thread.join()
    if failures:
        raise failures[0]


def _prepare(implementation: Interface, at: str | Port) -> tuple[Port, Callable[[bytes], bytes]]:
    from underpass.interfaces.dispatch import answerer

    if isinstance(at, str):
        # The schema is read first: a class that cannot be served leaves no name behind.
        answer = answerer(implementation, MESSAGE_SIZE)
        return Port.create(at, message_size=MESSAGE_SIZE), answer
    return at, answerer(implementation, at.message_size)
