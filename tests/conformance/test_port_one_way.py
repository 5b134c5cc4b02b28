"""Port and Gate: messages that nobody answers, and bits."""

import functools
import threading
from contextlib import suppress

import pytest

from tests.conformance.backends import SOON, ProcessActor, Processes, Threads, until
from tests.conformance.servers import STACKS
from underpass import (
    CallAbortedError,
    ClosedError,
    Gate,
    MessageTooLongError,
    MisuseError,
    Notified,
    PeerDiedError,
    Port,
    Request,
    TimedOut,
)

World = Threads | Processes


# ── send ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_send_of_every_length_arrives_in_order(world: World) -> None:
    sizes = (0, 1, 8, 63, 64, 65, 1000, 4096)
    with Port() as port:
        gate = port.gate()

        def send() -> None:
            for size in sizes:
                gate.send(bytes((size + index) % 251 for index in range(size)))

        sender = world.start(send)
        for size in sizes:
            request = port.receive()
            assert request.data == bytes((size + index) % 251 for index in range(size))
            assert not request.wants_reply
        sender.result()


def test_send_returns_once_it_is_received_and_not_before(world: World) -> None:
    with Port() as port:
        gate = port.gate()
        sender = world.start(lambda: gate.send(b"news"))
        sender.until_asleep()
        request = port.receive()
        sender.result()  # nobody has replied
        assert request.data == b"news"
        assert request.peer.pid == sender.pid


def test_nobody_may_reply_to_a_send(world: World) -> None:
    with Port() as port:
        gate = port.gate()
        sender = world.start(lambda: (gate.send(b"one"), gate.send(b"two"), gate.call(b"three")))
        request = port.receive()
        with pytest.raises(MisuseError, match="nobody waits for a reply"):
            request.reply(b"x")
        with pytest.raises(MisuseError, match="nobody waits for a reply"):
            port.reply_wait(request, b"x")
        request = port.reply_wait(request)
        assert request.data == b"two"
        assert "one way" in repr(request)
        del request  # forgotten, and nobody is told
        request = port.receive()
        assert (request.data, request.wants_reply) == (b"three", True)
        request.reply(b"3")
        assert sender.result()[2] == b"3"


def test_send_times_out_before_anything_happened(world: World) -> None:
    with Port() as port:
        gate = port.gate()
        for timeout in (0, SOON):
            with pytest.raises(TimedOut, match="has not taken it") as caught:
                gate.send(b"late", timeout=timeout)
            assert caught.value.phase == "send"
        sender = world.start(lambda: gate.send(b"in time", timeout=20))
        assert port.receive().data == b"in time"
        sender.result()
        with pytest.raises(TimedOut):
            port.receive(timeout=0)


def send_without_patience(gate: Gate, data: bytes) -> None:
    """A receiver that the machine lets run too late is missed, sleeps again, and is there for the next try."""

    def is_received() -> bool:
        with suppress(TimedOut):
            gate.send(data, timeout=0)
            return True
        return False

    until(is_received, "a receiver in time")


@pytest.mark.parametrize("size", [0, 1, 63, 4096])
@pytest.mark.parametrize("binds", [True, False])
def test_send_without_patience_reaches_a_receiver_that_sleeps(
    world: World, threads: Threads, size: int, *, binds: bool
) -> None:
    """seL4's IPC0004: a non-blocking send delivers to who waits."""
    data = bytes(index % 251 for index in range(size))
    with Port() as port:
        gate, asleep = port.gate(), world.flag()

        def send() -> None:
            if binds:
                gate.call()
            asleep.wait()
            send_without_patience(gate, data)

        sender = world.start(send)
        if binds:
            port.receive().reply()
        receiver = threads.start(port.receive)
        receiver.until_asleep()
        asleep.raise_()
        sender.result()
        request = receiver.result()
        assert (request.data, request.wants_reply) == (data, False)
        with pytest.raises(TimedOut):
            port.receive(timeout=0)


def test_send_without_patience_does_nothing_while_nobody_receives(world: World) -> None:
    with Port() as port:
        gate = port.gate()

        def send() -> str:
            gate.call(b"bind")
            with pytest.raises(TimedOut, match="has not taken it") as caught:
                gate.send(b"lost", timeout=0)
            return caught.value.phase

        sender = world.start(send)
        port.receive().reply()  # and the receiver is busy from here on
        assert sender.result() == "send"
        with pytest.raises(TimedOut):
            port.receive(timeout=0)


def test_too_long_a_send_names_both_sizes() -> None:
    with Port(message_size=10) as port, pytest.raises(MessageTooLongError, match="message_size=11") as caught:
        port.gate().send(bytes(11))
    assert (caught.value.size, caught.value.limit) == (11, 10)


def test_sends_do_not_occupy_a_stacks(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate()
        sender = threads.start(lambda: [gate.send(b"%d" % number) for number in range(4 * STACKS)])
        kept: list[Request] = [port.receive() for _ in range(4 * STACKS)]
        sender.result()
        assert [request.data for request in kept] == [b"%d" % number for number in range(4 * STACKS)]
        assert gate.statistics().in_progress == 0


@pytest.mark.parametrize("threads_serving", [1, 3])
def test_serve_loops_take_sends_too(threads: Threads, threads_serving: int) -> None:
    got: list[bytes] = []

    def keep(data: bytes) -> bytes:
        got.append(data)
        return b"the reply of a send goes nowhere"

    def keep_request(request: Request) -> bytes:
        return keep(request.data)

    for use in ("serve_bytes", "serve"):
        got.clear()
        port = Port()
        if use == "serve":
            server = threads.start(functools.partial(port.serve, keep_request, threads=threads_serving))
        else:
            server = threads.start(functools.partial(port.serve_bytes, keep, threads=threads_serving))
        gate = port.gate()
        for number in range(50):
            gate.send(b"%d" % number)
        until(lambda: len(got) == 50, "the last send")
        assert gate.call(b"end") == b"the reply of a send goes nowhere"
        port.close()
        server.result()
        assert sorted(got) == sorted([*(b"%d" % number for number in range(50)), b"end"])


def test_close_fails_a_send_that_waits(world: World) -> None:
    port = Port()
    gate = port.gate()
    sender = world.start(lambda: gate.send(b"x"))
    sender.until_asleep()
    port.close()
    with pytest.raises(PeerDiedError, match=r"message not received.*had not taken it, so nothing happened") as caught:
        sender.result()
    assert caught.value.phase == "send"


def deaf(processes: Processes) -> tuple[ProcessActor[None], Gate]:
    """Start a server that never receives, and open its gate."""
    never = processes.flag()

    def own() -> None:
        with Port.create("desk"):
            never.wait()

    return processes.start(own), Gate.open("desk", timeout=20)


def test_death_of_the_server_is_told_to_a_sender(processes: Processes) -> None:
    server, gate = deaf(processes)
    sender = processes.start(lambda: gate.send(b"x"))
    sender.until_asleep()
    server.kill()
    with pytest.raises(PeerDiedError, match=str(server.pid)) as caught:
        sender.result()
    assert (caught.value.pid, caught.value.name, caught.value.phase) == (server.pid, "desk", "send")
    Port.create("desk").close()


# ── notify ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def notified(port: Port, timeout: float | None = None) -> int:
    """Receive bits, and nothing else."""
    received = port.receive_any(timeout=timeout)
    assert isinstance(received, Notified), received
    return received.bits


def test_bits_gather_until_they_are_received_at_once() -> None:
    with Port() as port:
        gate = port.gate()
        gate.notify()
        gate.notify(0b110)
        gate.notify(0b100)
        port.gate().notify(1 << 63)
        assert port.statistics().bits == 0b111 | 1 << 63
        assert notified(port) == 0b111 | 1 << 63
        with pytest.raises(TimedOut):
            port.receive_any(timeout=0)


@pytest.mark.parametrize("bits", [0, -1, 1 << 64])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with Port() as port, pytest.raises(ValueError, match=r"2\*\*64 - 1"):
        port.gate().notify(bits)


def test_notify_wakes_who_receives_anything(world: World) -> None:
    port = Port.create("desk")
    gate = port.gate()
    sleeping, woken = world.flag(), world.flag()

    def ring() -> None:
        for number in range(20):
            sleeping.wait()
            gate.notify(1 << number)
            woken.raise_()

    ringer = world.start(ring)
    for number in range(20):
        sleeping.raise_()
        assert notified(port, 20) == 1 << number
        woken.wait()
    ringer.result()
    port.close()


def test_notify_wakes_a_sleeper(threads: Threads) -> None:
    with Port() as port:
        receiver = threads.start(notified, port)
        receiver.until_asleep()
        port.gate().notify(5)
        assert receiver.result() == 5


def test_bits_come_before_calls_and_calls_are_not_lost(world: World) -> None:
    with Port() as port:
        gate = port.gate()
        caller = world.start(lambda: gate.call(b"x"))
        caller.until_asleep()
        gate.notify(2)
        assert notified(port) == 2
        request = port.receive_any()
        assert isinstance(request, Request)
        request.reply(b"y")
        assert caller.result() == b"y"


def test_receive_leaves_bits_to_receive_any(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate()
        plain = [threads.start(port.receive) for _ in range(2)]
        for actor in plain:
            actor.until_asleep()
        gate.notify(4)
        with pytest.raises(TimedOut):
            port.receive(timeout=0)
        assert notified(port) == 4
        # Who is woken for bits that it does not want passes the wake on to who does.
        wants = threads.start(notified, port)
        wants.until_asleep()
        for turn in range(5):
            gate.notify(1 << turn)
            assert wants.result() == 1 << turn
            wants = threads.start(notified, port)
            wants.until_asleep()
        gate.notify(64)
        assert wants.result() == 64
        for number in range(2):
            caller = threads.start(gate.send, b"%d" % number)
            caller.result()
        assert sorted(actor.result().data for actor in plain) == [b"0", b"1"]


def test_notify_never_waits_for_a_server_that_does_not_receive(processes: Processes) -> None:
    server, gate = deaf(processes)
    for _ in range(10_000):
        gate.notify(1)
    server.kill()
    with pytest.raises(PeerDiedError, match=str(server.pid)):
        gate.notify(1)  # nobody has taken the last
    Port.create("desk").close()


def test_notify_tells_of_a_closed_port_and_gate() -> None:
    port = Port()
    gate, other = port.gate(), port.gate()
    other.close()
    with pytest.raises(ClosedError):
        other.notify()
    port.close()
    with pytest.raises(PeerDiedError):
        gate.notify()


def test_notified_bits_are_taken_once_by_several_threads(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate()
        taken: list[int] = []
        lock = threading.Lock()

        def take() -> None:
            while True:
                bits = notified(port)
                if bits & 1 << 63:
                    gate.notify(1 << 63)
                    return
                with lock:
                    taken.append(bits)

        takers = [threads.start(take) for _ in range(3)]
        for number in range(60):
            gate.notify(1 << number)
        gate.notify(1 << 63)
        for taker in takers:
            taker.result()
        rest = notified(port)
        seen = [bit for bits in [*taken, rest & ~(1 << 63)] for bit in range(63) if bits & 1 << bit]
        assert len(seen) == len(set(seen))


# ── what a handler's failure is to others ───────────────────────────────────────────────────────────────────────────


def test_exception_of_one_thread_ends_all_of_a_serve(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate()

        def handle(data: bytes) -> bytes:
            if data == b"bad":
                raise LookupError("bad")
            return data

        server = threads.start(lambda: port.serve_bytes(handle, threads=3))
        assert gate.call(b"good") == b"good"
        with pytest.raises(CallAbortedError):
            gate.call(b"bad")
        with pytest.raises(LookupError, match="bad"):
            server.result()
        # The port is open, and may be served again.
        server = threads.start(lambda: port.serve_bytes(handle, threads=2))
        assert gate.call(b"again") == b"again"
        port.close()
        server.result()
