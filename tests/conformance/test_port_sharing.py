"""Port and Gate: several clients and receivers, the end of a port, and how gates travel."""

import os
import pickle
import signal
import threading
from collections.abc import Callable

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads
from tests.conformance.servers import STACKS, STOP, upper_until_stop
from underpass import (
    ClosedError,
    ExistsError,
    Gate,
    MisuseError,
    NotFoundError,
    PeerDiedError,
    Port,
    Request,
    TimedOut,
)

World = Threads | Processes


def waiting_callers(world: World, gate: Gate, count: int) -> list[Actor[bytes]]:
    """Start ``count`` calls of their numbers, and wait until all sleep."""
    callers: list[Actor[bytes]] = [world.start(gate.call, b"%d" % number) for number in range(count)]
    for caller in callers:
        caller.until_asleep()
    return callers


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
