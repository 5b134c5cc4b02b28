"""`underpass.Gate`, awaitable."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from underpass import _loops, ports
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.aio.target import target
from underpass.errors import MessageTooLongError
from underpass.memory import Space

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Gate(Face[ports.Gate]):
    """A gate for coroutines: ``aio.Gate.open("thumbs")``, or ``gate.aio``.

    The call is posted by the task itself, and the server wakes its loop: it sees the same caller as of a thread. A process has
    four calls in progress at a gate; further tasks wait for room, in order of arrival. A call that is cancelled is
    taken back if the server has not taken it, and nothing happened; otherwise it is abandoned: the server may have
    acted, its reply goes nowhere, and its room is free once it has replied. The first call connects, which does not wait for a
    server that has too many to meet: it raises TimedOut then.

    Example:
        >>> import asyncio, threading, underpass.aio
        >>> with underpass.Port() as port:
        ...     server = threading.Thread(target=port.serve_bytes, args=(bytes.upper,))
        ...     server.start()
        ...     asyncio.run(port.gate().aio.call(b"wheel"))
        b'WHEEL'
        >>> server.join()
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError(
            "a gate is opened by the name of its port, aio.Gate.open(name), or asked of it, port.gate().aio"
        )

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Gate":
        """Open the gate of a named port. Raises NotFoundError."""
        return cls.over(ports.Gate.open(name, space=space))

    async def call(self, data: "Buffer | Sequence[Buffer]" = b"") -> bytes:
        """Call: send ``data``, and wait for the reply.

        Raises:
            PeerDiedError: The server died or closed the port. ``phase`` "send": nothing happened; "receive": it may have acted.
            CallAbortedError: The server gave the call up without a reply.
            CallCancelledError: The port has revoked this gate's badge: nothing happened.
            AccessDeniedError: The port does not admit this process: nothing happened.
            MessageTooLongError: More bytes than the port's ``message_size``.
            MisuseError: The gate leads to a space of another user.
        """
        reply = await self._exchange(data, one_way=False)
        return b"" if reply is None else reply

    async def call_into(self, data: "Buffer | Sequence[Buffer]", buffer: "Buffer") -> int:
        """Call, and write the reply into a buffer; its length. Raises MessageTooLongError if it is longer: it is lost then."""
        out = target(buffer)
        reply = await self.call(data)
        if len(reply) > len(out):
            text = f"the reply has {len(reply)} bytes, and the buffer {len(out)}: pass a larger one"
            error = MessageTooLongError(text)
            error.size, error.limit = len(reply), len(out)
            raise error
        out[: len(reply)] = reply
        return len(reply)

    async def send(self, data: "Buffer | Sequence[Buffer]") -> None:
        """Send ``data`` one way: return once the server has received it. Cancelled and ended as a call is."""
        await self._exchange(data, one_way=True)

    def notify(self, bits: int = 1) -> None:
        """Set bits of the port's word. Never waits."""
        self.sync.notify(bits)

    @property
    def message_size(self) -> int:
        """How many bytes a message can have."""
        return self.sync.message_size

    @property
    def badge(self) -> int:
        """By what number the port knows it."""
        return self.sync.badge

    def statistics(self) -> ports.GateStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()

    async def _exchange(self, data: "Buffer | Sequence[Buffer]", *, one_way: bool) -> bytes | None:
        post = partial(_loops.post_call, self.sync, data, one_way=one_way)
        here = reactor()
        # Its room is there only once it has called.
        here.may_await(str, self.sync)
        call = await here.wait((self.sync, "room"), partial(_loops.room_for_calls, self.sync), post)
        try:
            return await here.wait(call, lambda: call, call.collect)
        finally:
            call.give_up()
