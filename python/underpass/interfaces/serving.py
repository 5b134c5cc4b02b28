"""`serve` and `serving`: an implementation of an interface, and a port that asks it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from underpass import ports
from underpass.errors import ClosedError, MisuseError
from underpass.ports import Port, in_lab

if TYPE_CHECKING:
    from collections.abc import Generator

    from underpass.interfaces.dispatch import Answerer
    from underpass.interfaces.interface import Interface

__all__ = ["serve", "serving"]

# A port made for a name takes messages of this many bytes. Who needs more makes the port and passes it.
MESSAGE_SIZE = 64 * 1024


def serve(implementation: Interface, *, at: str | ports.Port, threads: int = 1) -> None:
    """Answer calls until the port is closed.

    An exception that a method raises goes to its caller as RemoteError, and the server goes on; KeyboardInterrupt, SystemExit and what
    else is no Exception end it: the call fails with CallAbortedError or PeerDiedError, the name is removed, and the exception goes on
    from here. A caller that dies while it waits is not noticed: its reply goes nowhere and blocks nobody. `underpass.fail_after` bounds
    the time of serving, and in this thread what the methods wait for.

    Args:
        implementation: An instance of a subclass of the interface, with the bodies of its methods.
        at: A name, for which a port of 64 KiB messages is made, and removed at the end; or a port, which is left open.
        threads: How many calls are carried out at a time: in this thread and ``threads - 1`` others. With 1 a method needs no locks,
            and calls are carried out in the order in which they are taken.

    Raises:
        ExistsError: A living process serves that name.
        TypeError: ``implementation`` has no interface, or a method of it has no annotations; or ``at`` is neither a name nor a port.
        ValueError: ``threads`` is less than 1.
    """
    port, answerer = _prepare(implementation, at, threads)
    try:
        _loop(port, answerer, threads)
    finally:
        if isinstance(at, str):
            port.close()


@contextmanager
def serving(implementation: Interface, *, at: str | ports.Port, threads: int = 1) -> Generator[None]:
    """Serve in the background, in ``threads`` threads; leaving closes the port, also one that was passed in.

    On entry the name is there: a client in any process can connect. Leaving waits for the methods that run, however long they take
    (`underpass.fail_after` does not bound that), and raises what ended the server, if an exception did. `serve` says the rest.

    Raises:
        MisuseError: In the lab, which runs no threads of the system; give `serve` a process of its own there.

    Example:
        >>> import underpass
        >>> class Desk(underpass.Interface):
        ...     def add(self, a: int, b: int) -> int:
        ...         return a + b
        >>> with underpass.serving(Desk(), at="doc/serving", threads=2):
        ...     underpass.connect(Desk, "doc/serving").add(1, 2)
        3
    """
    if in_lab():
        raise MisuseError(
            "serving starts a thread of the system, and the lab runs none: give it a process of its own, "
            "world.process(underpass.serve, implementation, at=name, servant=True)"
        )
    port, answerer = _prepare(implementation, at, threads)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _loop(port, answerer, threads)
        except ClosedError:
            return  # left before the thread began
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


def _loop(port: Port, answerer: Answerer, threads: int) -> None:
    if answerer.answers_early:
        port.serve(answerer.serve_request, threads=threads)
    else:
        port.serve_bytes(answerer.answer, threads=threads)


def _prepare(implementation: Interface, at: str | Port, threads: int) -> tuple[Port, Answerer]:
    from underpass.interfaces.dispatch import Answerer

    if threads < 1:
        raise ValueError(f"threads={threads}: somebody has to serve, pass 1 or more")
    if isinstance(at, str):
        # The schema is read first: a class that cannot be served leaves no name behind.
        answerer = Answerer(implementation, MESSAGE_SIZE)
        return Port.create(at, message_size=MESSAGE_SIZE), answerer
    if not isinstance(at, Port):  # pyright: ignore[reportUnnecessaryIsInstance]  who has no type checker
        raise TypeError(f"at={at!r}: served at a name or a Port, not at a {type(at).__name__}; pass one of them")
    return at, Answerer(implementation, at.message_size)
