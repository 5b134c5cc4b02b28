"""`connect`: an object of the interface's type whose methods are calls."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Self, TypeVar, cast

from underpass.errors import NotFoundError
from underpass.interfaces.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from underpass import ports
    from underpass.interfaces.channel import Channel
    from underpass.interfaces.schema import Method
    from underpass.ports import Gate

__all__ = ["connect"]

I = TypeVar("I", bound=Interface)  # noqa: E741  the contract's name for it


def connect(interface: type[I], to: str | ports.Gate, *, timeout: float | None = 0) -> I:
    """Return a proxy: an instance of ``interface`` whose methods are carried out by the server.

    The first call greets the server and compares schemas. A call whose server dies raises PeerDiedError and is never repeated, since it
    may have been carried out; the next call looks the name up anew and so reaches the server's successor. Any number of threads may use one
    proxy, and it pickles: to another process it arrives unbound.

    Args:
        interface: What both sides share.
        to: The name that it is served at, or a gate; a gate leads to one incarnation of the server and no further.
        timeout: How many seconds to wait for the name to appear, here and when it is looked up anew. None waits for ever.

    Raises:
        NotFoundError: Nobody serves that name, or did within ``timeout``.
        TypeError: ``interface`` is none, or a method of it has no annotations; or ``to`` is neither a name nor a gate.

    Calls raise, beside what `Gate.call` raises:

    - TypeError: the arguments are not what the method takes. Nothing was sent.
    - ValueError: an argument has no form on the wire: an int of more than 64 bits, text with a lone surrogate, a value that holds itself.
      Nothing was sent.
    - MismatchError: the server means something else by this interface; the text shows the difference.
    - RemoteError: the method raised an exception; the text shows it with the server's traceback.
    - MessageTooLongError: the arguments or the result do not fit a message of the server's port. The next call goes through.
    - CorruptedError: the reply is not what a server of this interface sends. The next call greets anew.

    A call waits as long as it takes; `underpass.fail_after` bounds it, and the search for a name.

    Example:
        >>> import underpass
        >>> class Desk(underpass.Interface):
        ...     def add(self, a: int, b: int) -> int:
        ...         return a + b
        >>> with underpass.serving(Desk(), at="doc/connect"):
        ...     desk = underpass.connect(Desk, "doc/connect")
        ...     with underpass.fail_after(5):
        ...         desk.add(1, b=2)
        3
    """
    from underpass.interfaces.channel import Channel
    from underpass.interfaces.schema import schema_of
    from underpass.ports import Gate, Port

    schema = schema_of(interface)
    if not isinstance(to, str | Gate):  # pyright: ignore[reportUnnecessaryIsInstance]  who has no type checker
        raise TypeError(
            f"connect({interface.__name__}, {to!r}): a server is named by a str or reached by a Gate, not by a "
            f"{type(to).__name__}; pass the name that it serves at{', or port.gate()' if isinstance(to, Port) else ''}"
        )
    channel = Channel(schema, to, timeout)
    try:
        channel.find()
    except NotFoundError as error:
        hint = "" if "timeout=" in str(error) else "; start the server, or pass timeout= to wait for it"
        raise NotFoundError(
            f"nobody serves {interface.__name__} here: {error}{hint}", filename=error.filename
        ) from None
    return _proxy(interface, channel)


class Proxy:
    """What every proxy has beside the interface's methods. The interface's own constructor is not run."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self._channel.close()

    def __repr__(self) -> str:
        channel = self._channel
        state = "closed" if channel.closed else "bound" if channel.bound else "not bound"
        return f"<proxy of {channel.schema.interface} at {channel.to!r}, {state}>"

    def __reduce__(self) -> tuple[object, ...]:
        channel = self._channel
        interface = type(self).__bases__[1]
        return _restore, (interface, channel.to, channel.timeout)

    @staticmethod
    def calling(method: Method, declared: Callable[..., object]) -> Callable[..., object]:
        """Make the method of a proxy that calls."""

        @functools.wraps(declared)
        def call(self: Proxy, /, *args: object, **kwargs: object) -> object:
            return self._channel.call(method, args, kwargs)

        return call


def _restore(interface: type[I], to: str | Gate, timeout: float | None) -> I:
    from underpass.interfaces.channel import Channel
    from underpass.interfaces.schema import schema_of

    return _proxy(interface, Channel(schema_of(interface), to, timeout))


def _proxy(interface: type[I], channel: Channel) -> I:
    return cast("I", _proxy_class(interface)(channel))


@functools.cache
def _proxy_class(interface: type[Interface]) -> type[Proxy]:
    from underpass.interfaces.schema import schema_of

    methods = {
        method.name: Proxy.calling(method, getattr(interface, method.name)) for method in schema_of(interface).methods
    }
    name = f"{interface.__name__}Proxy"
    # What a stranger reads with help() is what the interface says of itself.
    namespace = {"__module__": interface.__module__, "__doc__": interface.__doc__, **methods}
    return cast("type[Proxy]", type(name, (Proxy, interface), namespace))
