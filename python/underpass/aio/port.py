"""`underpass.Port`, awaitable."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from underpass import ports
from underpass.aio.attempt import single
from underpass.aio.face import Face
from underpass.aio.gate import Gate
from underpass.aio.messages import Messages
from underpass.aio.running import reactor
from underpass.errors import ClosedError, EndOfStream
from underpass.memory import Space

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")


class Port(Face[ports.Port]):
    """A port for coroutines: ``aio.Port()``, or ``port.aio``. A server is ``async for request in port.aio:``.

    Tasks of one loop get calls in order of arrival. A request is answered by ``request.reply(...)``, which never waits, by any task
    and in any order: so calls overlap as far as the tasks let them. ``async for`` receives until the port is closed.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def serve(port):
        ...     async for request in port:
        ...         request.reply(request.data.upper())
        >>> async def main():
        ...     port = underpass.aio.Port()
        ...     server = asyncio.create_task(serve(port))
        ...     reply = await port.gate().call(b"wheel")
        ...     port.close()
        ...     await server
        ...     return reply
        >>> asyncio.run(main())
        b'WHEEL'
    """

    __slots__ = ()

    def __init__(self, *, message_size: int = 4096, admit: Callable[[ports.Peer], bool] | None = None) -> None:
        super().__init__(ports.Port(message_size=message_size, admit=admit))

    @classmethod
    def create(
        cls,
        name: str,
        *,
        message_size: int = 4096,
        admit: Callable[[ports.Peer], bool] | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Port":
        """Make a named port, or take over a name whose receivers are all dead. Raises ExistsError if one lives."""
        return cls.over(ports.Port.create(name, message_size=message_size, admit=admit, space=space, mode=mode))

    async def receive(self) -> ports.Request:
        """Receive a call, waiting for one. A cancelled task has received none.

        Raises:
            ClosedError: The port was closed.
        """
        return await self._when_called(partial(self.sync.receive, timeout=0))

    async def receive_any(self) -> ports.Request | ports.Notified:
        """Receive a call or notified bits, waiting for either."""
        return await self._when_called(partial(self.sync.receive_any, timeout=0))

    async def reply_wait(
        self, request: ports.Request, reply: "Buffer | Sequence[Buffer] | None" = None
    ) -> ports.Request:
        """Reply, and receive the next call. The reply is given at once, also if the task is cancelled while it waits."""
        if reply is not None or request.wants_reply:
            request.reply(reply)
        return await self.receive()

    async def _next(self) -> ports.Request:
        try:
            return await self.receive()
        except ClosedError as closed:
            raise EndOfStream(str(closed)) from None

    def __aiter__(self) -> AsyncIterator[ports.Request]:
        return Messages(self._next)

    def gate(self, *, badge: int = 0) -> Gate:
        """Return a gate that calls this port."""
        return Gate.over(self.sync.gate(badge=badge))

    def revoke(self, badge: int) -> int:
        """End all gates of that badge, and their calls that nobody has received; how many gates."""
        return self.sync.revoke(badge)

    @property
    def message_size(self) -> int:
        """How many bytes a message can have."""
        return self.sync.message_size

    def statistics(self) -> ports.PortStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _when_called(self, attempt: Callable[[], T]) -> T:
        return await reactor().wait(self.sync, lambda: self.sync, single(attempt))
