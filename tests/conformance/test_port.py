"""Port and Gate: calls, their lengths and their time-outs."""

import os
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads
from tests.conformance.servers import STACKS, STOP, upper_until_stop
from underpass import (
    CallAbortedError,
    ClosedError,
    Gate,
    MessageTooLongError,
    MisuseError,
    PeerDiedError,
    Port,
    Request,
    TimedOut,
)

World = Threads | Processes


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_call_of_every_length_is_exact(world: World) -> None:
    server = world.start(upper_until_stop, "upper")
    gate = Gate.open("upper", timeout=20)
    for size in (0, 1, 7, 8, 63, 64, 65, 255, 1000, 4095, 4096):
        data = bytes((size + index) % 251 for index in range(size))
        assert gate.call(data) == data.upper()
    assert gate.call() == b""
    assert gate.call(bytearray(b"array"), timeout=5) == b"ARRAY"
    assert gate.call(STOP) == b"STOP"
    server.result()
    with pytest.raises(PeerDiedError):
        gate.call(b"late")


def test_receive_and_reply_by_hand(world: World) -> None:
    with Port(message_size=100) as port:
        gate = port.gate()
        caller = world.start(lambda: gate.call(b"ask"))
        request = port.receive()
        assert (request.data, request.badge) == (b"ask", 0)
        peer = request.peer
        assert (peer.pid, peer.tid, peer.uid, peer.gid) == (caller.pid, caller.tid, os.getuid(), os.getgid())
        assert peer.alive
        caller.until_asleep()
        request.reply(b"answer")
        assert caller.result() == b"answer"


def test_reply_wait_answers_and_waits(world: World) -> None:
    with Port() as port:
        gate = port.gate()
        caller = world.start(lambda: [gate.call(b"%d" % number) for number in range(100)])
        request = port.receive()
        for number in range(1, 100):
            request = port.reply_wait(request, request.data * 2)
            assert request.data == b"%d" % number
        with pytest.raises(TimedOut):
            port.reply_wait(request, timeout=SOON)
        assert caller.result() == [*(b"%d" % number * 2 for number in range(99)), b""]


def test_serve_takes_bytes_none_or_an_own_reply(world: World) -> None:
    port = Port()

    def handle(request: Request) -> bytes | None:
        if request.data == b"own":
            request.reply(b"mine")
        if request.data == STOP:
            port.close()
        return b"bytes" if request.data == b"bytes" else None

    gate = port.gate()
    caller = world.start(lambda: [gate.call(data) for data in (b"bytes", b"none", b"own", STOP)])
    port.serve(handle)
    assert caller.result() == [b"bytes", b"", b"mine", b""]


@pytest.mark.parametrize("loop", [Port.serve, Port.serve_bytes], ids=["serve", "serve_bytes"])
def test_handlers_exception_ends_the_loop_and_aborts_the_call(world: World, loop: Callable[..., None]) -> None:
    def fail(_: object) -> bytes:
        raise LookupError

    with Port() as port:
        gate = port.gate()
        handlers: list[tuple[Callable[[object], object], type[Exception]]] = [(fail, LookupError), (str, TypeError)]
        for handler, error in handlers:
            caller = world.start(lambda: gate.call(b"x"))
            with pytest.raises(error):
                loop(port, handler)
            with pytest.raises(CallAbortedError):
                caller.result()
        caller = world.start(lambda: gate.call(b"x"))
        port.receive().reply(b"alive")
        assert caller.result() == b"alive"


def test_forgotten_request_aborts_the_call(world: World) -> None:
    with Port() as port:
        gate = port.gate()
        caller = world.start(lambda: gate.call(b"x"))
        request = port.receive()
        caller.until_asleep()
        del request
        with pytest.raises(CallAbortedError, match="without a reply"):
            caller.result()


def test_second_reply_is_misuse(world: World) -> None:
    with Port() as port:
        gate = port.gate()
        caller = world.start(lambda: gate.call(b"x"))
        request = port.receive()
        request.reply(b"first")
        for use in (lambda: request.reply(b"second"), lambda: port.reply_wait(request, timeout=0)):
            with pytest.raises(MisuseError, match="reply not sent: the call was answered before"):
                use()
        assert caller.result() == b"first"


def test_too_long_messages_are_refused_on_their_side(world: World) -> None:
    with Port(message_size=10) as port:
        gate = port.gate()
        with pytest.raises(MessageTooLongError, match="message_size=11") as caught:
            gate.call(b"x" * 11)
        assert (caught.value.size, caught.value.limit) == (11, 10)
        caller = world.start(lambda: gate.call(b"x" * 10))
        request = port.receive()
        with pytest.raises(MessageTooLongError):
            request.reply(b"y" * 11)
        request.reply(b"y" * 10)
        assert caller.result() == b"y" * 10
        caller = world.start(lambda: gate.call(b"x"))
        with pytest.raises(MessageTooLongError):
            port.serve_bytes(lambda _: b"y" * 11)
        with pytest.raises(CallAbortedError):
            caller.result()


def test_call_into_writes_into_a_buffer(world: World) -> None:
    server = world.start(upper_until_stop, "upper")
    gate = Gate.open("upper", timeout=20)
    buffer = bytearray(b"." * 8)
    assert gate.call_into(b"abc", buffer) == 3
    assert buffer == b"ABC....."
    with pytest.raises(ValueError, match="9 bytes"):
        gate.call_into(b"123456789", buffer)
    with pytest.raises(TypeError):
        gate.call_into(b"abc", b"read-only")
    assert gate.call_into(STOP, buffer) == 4
    server.result()


@pytest.mark.parametrize("size", [-1, 2**40])
def test_message_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="message_size="):
        Port(message_size=size)


def test_nobody_calls() -> None:
    with Port() as port:
        for timeout in (0, SOON):
            start = time.monotonic()
            with pytest.raises(TimedOut):
                port.receive(timeout=timeout)
            assert time.monotonic() - start >= timeout


def test_repr_and_statistics() -> None:
    port = Port.create("desk", message_size=77)
    gate = port.gate()
    assert (port.name, gate.name, port.message_size, gate.message_size) == ("desk", "desk", 77, 77)
    assert "'desk', 0 clients, 0 calls waiting" in repr(port)
    assert "'desk', not bound yet" in repr(gate)
    with pytest.raises(TimedOut):
        gate.call(timeout=0)
    with pytest.raises(TimedOut, match="1 client knows it"):
        port.receive(timeout=0)
    assert "'desk', 1 client, 0 calls waiting" in repr(port)
    assert "bound" in repr(gate)
    assert (port.statistics().clients, port.statistics().message_size) == (1, 77)
    port.close()
    gate.close()
    assert "closed" in repr(port)
    assert "closed" in repr(gate)
    with pytest.raises(ClosedError):
        gate.call()


# ── time-outs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_call_that_nobody_took_did_nothing() -> None:
    with Port() as port:
        gate = port.gate()
        for timeout in (SOON, 0, SOON):
            start = time.monotonic()
            with pytest.raises(TimedOut, match="nothing happened") as caught:
                gate.call(b"x", timeout=timeout)
            assert time.monotonic() - start >= timeout
            assert caught.value.phase == "send"
        with pytest.raises(TimedOut):
            port.receive(timeout=0)


def test_call_that_was_taken_may_have_acted(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate()
        given_up = 0
        while given_up < 3 * STACKS:  # a call that was given up leaves its place once it is answered
            caller = threads.start(lambda: gate.call(b"x", timeout=SOON))
            try:
                request = port.receive(timeout=SOON)
            except TimedOut:
                # On a slow machine it was given up before it was received, and left its place at once.
                with pytest.raises(TimedOut):
                    caller.result()
                continue
            with pytest.raises(TimedOut, match="may have acted") as caught:
                caller.result()
            assert caught.value.phase == "receive"
            request.reply(b"late")
            given_up += 1
        caller = threads.start(lambda: gate.call(b"y"))
        request = port.receive()
        request.reply(b"in time")
        assert caller.result() == b"in time"


def test_late_answers_let_a_waiting_caller_go(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate()
        callers: list[Actor[bytes]] = []
        requests: list[Request] = []
        while len(requests) < STACKS:  # one that gives up before it is received leaves its place
            callers.append(threads.start(lambda: gate.call(b"x", timeout=SOON)))
            with suppress(TimedOut):
                requests.append(port.receive(timeout=SOON))
        for caller in callers:
            with pytest.raises(TimedOut):
                caller.result()
        with pytest.raises(TimedOut) as caught:
            gate.call(b"no place", timeout=SOON)
        assert caught.value.phase == "send"
        waiting = threads.start(lambda: gate.call(b"y"))
        waiting.until_asleep()
        requests.pop().reply(b"late")
        port.receive().reply(b"in time")
        assert waiting.result() == b"in time"
