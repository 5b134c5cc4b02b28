"""Port and Gate: calls, their lengths and time-outs, several clients and receivers, the end of a port."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads
from underpass import (
    CallAbortedError,
    ClosedError,
    ExistsError,
    Gate,
    MessageTooLongError,
    MisuseError,
    NotFoundError,
    PeerDiedError,
    Port,
    Request,
    TimedOut,
)

World = Threads | Processes

# Calls that one client has in progress at a time.
STACKS = 4
STOP = b"stop"


def upper_until_stop(name: str) -> None:
    """Serve ``bytes.upper`` until the call that stops it."""
    port = Port.create(name)

    def handle(data: bytes) -> bytes:
        if data == STOP:
            port.close()
        return data.upper()

    port.serve_bytes(handle)


def waiting_callers(world: World, gate: Gate, count: int) -> list[Actor[bytes]]:
    """Start ``count`` calls of their numbers, and wait until all sleep."""
    callers: list[Actor[bytes]] = [world.start(gate.call, b"%d" % number) for number in range(count)]
    for caller in callers:
        caller.until_asleep()
    return callers


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
            with pytest.raises(MisuseError, match="answered before"):
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
    assert "'desk', 0 clients" in repr(port)
    assert "'desk', not bound yet" in repr(gate)
    with pytest.raises(TimedOut):
        gate.call(timeout=0)
    with pytest.raises(TimedOut):
        port.receive(timeout=0)
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
        for _ in range(3 * STACKS):  # a call that was given up leaves its place once it is answered
            caller = threads.start(lambda: gate.call(b"x", timeout=SOON))
            request = port.receive()
            with pytest.raises(TimedOut, match="may have acted") as caught:
                caller.result()
            assert caught.value.phase == "receive"
            request.reply(b"late")
        caller = threads.start(lambda: gate.call(b"y"))
        request = port.receive()
        request.reply(b"in time")
        assert caller.result() == b"in time"


def test_late_answers_let_a_waiting_caller_go(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate()
        callers = [threads.start(lambda: gate.call(b"x", timeout=SOON)) for _ in range(STACKS)]
        requests = [port.receive() for _ in range(STACKS)]
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


# ── several clients, several threads ────────────────────────────────────────────────────────────────────────────────


def test_more_threads_than_a_stacks_wait_for_their_turn(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate()
        callers = waiting_callers(threads, gate, 2 * STACKS + 1)
        for turn in (STACKS, STACKS, 1):
            requests = [port.receive() for _ in range(turn)]
            with pytest.raises(TimedOut):
                port.receive(timeout=0)
            for request in reversed(requests):
                request.reply(request.data)
        assert [caller.result() for caller in callers] == [b"%d" % number for number in range(len(callers))]


def test_many_clients_get_their_own_replies(world: World) -> None:
    server = world.start(upper_until_stop, "upper")

    def client(number: int) -> None:
        gate = Gate.open("upper", timeout=20)
        for turn in range(400):
            data = b"client %d turn %d" % (number, turn)
            assert gate.call(data) == data.upper()

    for actor in [world.start(client, number) for number in range(6)]:
        actor.result()
    assert Gate.open("upper").call(STOP) == b"STOP"
    server.result()


def test_threads_share_a_gate_and_receivers_a_port(threads: Threads) -> None:
    port = Port()
    gate = port.gate()
    receivers = [threads.start(port.serve_bytes, bytes.upper) for _ in range(2)]

    def client(number: int) -> None:
        for turn in range(200):
            data = b"thread %d turn %d" % (number, turn)
            assert gate.call(data) == data.upper()

    for actor in [threads.start(client, number) for number in range(2 * STACKS)]:
        actor.result()
    port.close()
    for receiver in receivers:
        receiver.result()


def test_answers_out_of_order_reach_their_callers(world: World) -> None:
    with Port() as port:
        gate = port.gate()
        callers = waiting_callers(world, gate, 3)
        requests = [port.receive() for _ in callers]
        for request in reversed(requests):
            request.reply(b"re " + request.data)
        assert [caller.result() for caller in callers] == [b"re 0", b"re 1", b"re 2"]


# ── the end of a port ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("loop", [Port.serve, Port.serve_bytes], ids=["serve", "serve_bytes"])
def test_close_ends_the_loops_of_other_threads(threads: Threads, loop: Callable[..., None]) -> None:
    port = Port()
    loops = [threads.start(loop, port, repr) for _ in range(2)]
    receiver = threads.start(port.receive)
    for actor in (*loops, receiver):
        actor.until_asleep()
    port.close()
    port.close()
    for actor in loops:
        actor.result()
    with pytest.raises(ClosedError):
        receiver.result()
    with pytest.raises(ClosedError):
        port.receive(timeout=0)


def test_close_fails_calls_that_wait_and_lets_taken_ones_be_answered(world: World) -> None:
    port = Port()
    gate = port.gate()
    first = world.start(lambda: gate.call(b"taken"))
    request = port.receive()
    second = world.start(lambda: gate.call(b"waiting"))
    first.until_asleep()
    second.until_asleep()
    port.close()
    with pytest.raises(PeerDiedError):
        second.result()
    first.until_asleep()
    request.reply(b"last")
    assert first.result() == b"last"
    with pytest.raises(PeerDiedError) as caught:
        gate.call(b"late")
    assert caught.value.pid == os.getpid()


def test_closed_port_leaves_no_name() -> None:
    port = Port.create("desk")
    with pytest.raises(ExistsError):
        Port.create("desk")
    gate = Gate.open("desk")
    port.close()
    with pytest.raises(NotFoundError, match="pass timeout= to wait"):
        Gate.open("desk")
    with Port.create("desk"), pytest.raises(PeerDiedError):
        gate.call(b"x")


def test_gate_waits_for_the_name(world: World) -> None:
    with pytest.raises(NotFoundError, match=rf"within {SOON} s"):
        Gate.open("desk", timeout=SOON)
    caller = world.start(lambda: Gate.open("desk", timeout=20).call(b"x"))
    with Port.create("desk") as port:
        port.receive().reply(b"there")
        assert caller.result() == b"there"


# ── gates travel, ports do not ──────────────────────────────────────────────────────────────────────────────────────


def test_port_stays_in_its_process(processes: Processes) -> None:
    with Port() as port:
        with pytest.raises(TypeError, match=r"port\.gate\(\)"):
            pickle.dumps(port)

        def receive() -> None:
            with pytest.raises(MisuseError, match="forked from"):
                port.receive(timeout=0)
            port.close()  # the child's copy only

        processes.start(receive).result()
        gate = port.gate()
        caller = processes.start(lambda: gate.call(b"still there"))
        port.receive().reply(b"yes")
        assert caller.result() == b"yes"


def test_forked_client_binds_anew(processes: Processes) -> None:
    with Port() as port:

        def tell_pid(request: Request) -> bytes:
            return b"%d" % request.peer.pid

        server = threading.Thread(target=port.serve, args=(tell_pid,))
        gate: Gate = pickle.loads(pickle.dumps(port.gate()))  # noqa: S301 - our own bytes
        with pytest.raises(TimedOut):
            gate.call(timeout=0)  # bound before the fork
        children = [processes.start(lambda: [gate.call(), gate.call()]) for _ in range(2)]
        server.start()
        for child in children:
            assert child.result() == [b"%d" % child.pid] * 2
        assert gate.call() == b"%d" % os.getpid()
        port.close()
        server.join()


def test_ctrl_c_ends_a_call_and_a_receive(processes: Processes) -> None:
    with Port() as port:
        gate = port.gate()
        caller = processes.start(gate.call)
        caller.until_asleep()
        caller.signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            caller.result()
        with pytest.raises(TimedOut):
            port.receive(timeout=0)

    def receive(loop: Callable[..., object], *handler: object) -> None:
        with Port() as own:
            loop(own, *handler)

    for loop in ((Port.receive,), (Port.serve_bytes, bytes.upper), (Port.serve, repr)):
        receiver = processes.start(receive, *loop)
        receiver.until_asleep()
        receiver.signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            receiver.result()


def test_ctrl_c_gets_through_to_a_busy_builtin_handler(processes: Processes) -> None:
    def serve() -> None:
        with Port.create("upper") as port:
            port.serve_bytes(bytes.upper)

    server = processes.start(serve)
    gate = Gate.open("upper", timeout=20)

    def hammer() -> int:
        calls = 0
        while True:
            try:
                gate.call(b"x")
            except PeerDiedError:
                return calls
            calls += 1

    clients = [processes.start(hammer) for _ in range(2)]
    assert gate.call(b"x") == b"X"
    server.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        server.result()
    assert all(client.result() >= 0 for client in clients)
