"""Ports between the lab's processes: every order, time-out and death that is tried ends as the documentation says."""

import pickle
from collections import Counter

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import Failure, World

SCHEDULES = 1_500


class Desk(underpass.Interface):
    """What the tests of typed calls share."""

    def add(self, left: int, right: int) -> int:
        """Add."""
        return left + right

    def fail(self) -> None:
        """Raise."""
        raise LookupError("not on this desk")


def echo(times: int) -> None:
    with underpass.Port.create("desk") as port:
        request = port.receive()
        for _ in range(times - 1):
            request = port.reply_wait(request, request.data)
        request.reply(request.data)


def outcome(call: object) -> str:
    """Call, and say how it ended."""
    assert callable(call)
    try:
        call()
    except underpass.TimedOut as error:
        return f"TimedOut {error.phase}"
    except underpass.UnderpassError as error:
        return type(error).__name__
    return "done"


def test_two_clients_get_their_own_replies() -> None:
    def program(world: World) -> None:
        def call(word: bytes) -> None:
            gate = underpass.Gate.open("desk", timeout=None)
            assert gate.call(word) == word
            assert gate.call(word * 2) == word * 2

        world.process(echo, 4)
        world.process(call, b"first")
        world.process(call, b"second")

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_killed_server_is_told_to_whoever_calls() -> None:
    outcomes: Counter[str] = Counter()

    def program(world: World) -> None:
        def call() -> None:
            outcomes[outcome(lambda: underpass.Gate.open("desk", timeout=5).call(b"word"))] += 1

        world.process(echo, 2, servant=True)
        world.process(call, mortal=False)
        world.process(call, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert set(outcomes) == {"done", "PeerDiedError", "NotFoundError"}


def test_killed_client_costs_its_server_nothing() -> None:
    clients: Counter[int] = Counter()

    def program(world: World) -> None:
        def serve() -> None:
            with underpass.Port.create("desk") as port:
                while outcome(lambda: port.receive(timeout=5).reply()) == "done":
                    pass
                # The last look before the time was over was a round, which forgets the dead.
                clients[port.statistics().clients] += 1

        def call() -> None:
            gate = underpass.Gate.open("desk", timeout=5)
            gate.call(timeout=1)
            underpass.Semaphore(0).acquire(timeout=20)

        world.process(serve, mortal=False)
        world.process(lambda: outcome(call))

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert set(clients) == {0, 1}


def test_a_call_that_times_out_says_whether_it_was_taken() -> None:
    outcomes: Counter[tuple[str, int]] = Counter()

    def program(world: World) -> None:
        taken = underpass.AtomicInt()
        ends: list[str] = []

        def serve() -> None:
            with underpass.Port.create("desk") as port:
                request = port.receive()
                taken.add(1)
                outcome(lambda: underpass.Semaphore(0).acquire(timeout=3))
                request.reply()

        def call() -> None:
            gate = underpass.Gate.open("desk", timeout=None)
            ends.append(outcome(lambda: gate.call(b"word", timeout=2)))

        def check() -> None:
            outcomes[ends[0], taken.load()] += 1

        world.process(serve, servant=True)
        world.process(call)
        world.at_end(check)

    lab.explore(program, schedules=SCHEDULES, seed=1)
    # Who was not told that it was taken has posted nothing: no server acts on it.
    assert set(outcomes) <= {("done", 1), ("TimedOut send", 0), ("TimedOut receive", 1), ("TimedOut receive", 0)}
    assert {end for end, _ in outcomes} == {"done", "TimedOut send", "TimedOut receive"}


def test_a_call_that_is_forgotten_ends_for_its_caller() -> None:
    outcomes: Counter[str] = Counter()

    def program(world: World) -> None:
        def serve() -> None:
            with underpass.Port.create("desk") as port:
                port.receive()
                assert outcome(lambda: port.receive(timeout=1)) == "TimedOut wait"

        def call() -> None:
            outcomes[outcome(lambda: underpass.Gate.open("desk", timeout=5).call())] += 1

        world.process(serve, servant=True)
        world.process(call, mortal=False)

    lab.explore(program, schedules=200, kills=1, seed=1, strategy="walk")
    assert set(outcomes) == {"CallAbortedError", "PeerDiedError", "NotFoundError"}


def test_what_was_sent_one_way_was_received() -> None:
    outcomes: Counter[tuple[str, ...]] = Counter()

    def program(world: World) -> None:
        received: list[bytes] = []
        ends: list[str] = []

        def serve() -> None:
            with underpass.Port.create("desk") as port:
                request = port.receive()
                received.append(request.data)
                assert not request.wants_reply

        def send() -> None:
            gate = underpass.Gate.open("desk", timeout=None)
            ends.append(outcome(lambda: gate.send(b"news", timeout=2)))

        world.process(serve, servant=True)
        world.process(send)
        world.at_end(lambda: outcomes.update([(*ends, *map(bytes.decode, received))]))

    lab.explore(program, schedules=SCHEDULES, seed=1)
    assert set(outcomes) <= {("done", "news"), ("done",), ("TimedOut send",)}
    assert ("done", "news") in outcomes
    assert ("TimedOut send",) in outcomes


def test_notified_bits_are_received_though_the_notifier_dies() -> None:
    got: Counter[int] = Counter()

    def program(world: World) -> None:
        def serve() -> None:
            with underpass.Port.create("desk") as port:
                bits = calls = 0
                while bits & 0b01 == 0 or not calls:
                    match port.receive_any():
                        case underpass.Notified(bits=new):
                            bits |= new
                        case underpass.Request() as request:
                            request.reply()
                            calls += 1
                got[bits] += 1

        def notify(bits: int, timeout: float | None) -> None:
            # Before it returns the bits may have been received, and the port closed.
            assert outcome(lambda: underpass.Gate.open("desk", timeout=timeout).notify(bits)) in {
                "done",
                "PeerDiedError",
                "NotFoundError",
            }

        def call() -> None:
            underpass.Gate.open("desk", timeout=None).call()

        world.process(serve, mortal=False)
        world.process(notify, 0b01, None, mortal=False)
        world.process(notify, 0b10, 5)
        world.process(call, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert set(got) == {0b01, 0b11}


def test_badges_tell_gates_apart_and_revoking_one_leaves_the_other() -> None:
    outcomes: Counter[tuple[int, str]] = Counter()

    def program(world: World) -> None:
        gates = underpass.Queue(2, 512)

        def serve() -> None:
            with underpass.Port() as port:
                for badge in (1, 2):
                    gates.put(pickle.dumps((badge, port.gate(badge=badge))))
                revoked = False
                while True:
                    request = port.receive()
                    assert request.data == bytes([request.badge])
                    assert not (revoked and request.badge == 1)
                    if request.badge == 2:
                        port.revoke(1)
                        revoked = True
                    request.reply()

        def call() -> None:
            badge, gate = pickle.loads(gates.get())  # noqa: S301 - our own
            assert gate.badge == badge
            for _ in range(2):
                outcomes[badge, outcome(lambda: gate.call(bytes([badge])))] += 1

        world.process(serve, servant=True)
        world.process(call)
        world.process(call)

    lab.explore(program, schedules=SCHEDULES, seed=1)
    assert set(outcomes) == {(1, "done"), (1, "CallCancelledError"), (2, "done")}


def test_admit_sees_the_process_and_refuses_it() -> None:
    outcomes: Counter[str] = Counter()

    def program(world: World) -> None:
        admitted: list[int] = []

        def admit(peer: underpass.Peer) -> bool:
            assert peer.alive
            admitted.append(peer.pid)
            return len(admitted) == 1

        def serve() -> None:
            with underpass.Port.create("desk", admit=admit) as port:
                port.serve(lambda request: request.data)

        def call() -> None:
            outcomes[outcome(lambda: underpass.Gate.open("desk", timeout=None).call(b"word"))] += 1

        world.process(serve, servant=True)
        world.process(call)
        world.process(call)
        # The host is 1, the server 2.
        world.at_end(lambda: sorted(admitted) == [3, 4])

    lab.explore(program, schedules=SCHEDULES, seed=1, jobs=1)
    assert set(outcomes) == {"done", "AccessDeniedError"}
    assert outcomes["done"] == outcomes["AccessDeniedError"]


def test_one_gate_in_two_processes_is_two_clients() -> None:
    def program(world: World) -> None:
        inherited: list[underpass.Gate] = []
        counted = underpass.Semaphore(0)

        def serve() -> None:
            with underpass.Port.create("desk") as port:
                for _ in range(2):
                    port.receive().reply()
                assert port.statistics().clients == 2
                counted.release(2)

        def call() -> None:
            if not inherited:
                inherited.append(underpass.Gate.open("desk", timeout=None))
            inherited[0].call()
            assert inherited[0].statistics().bound
            counted.acquire()

        world.process(serve)
        world.process(call)
        world.process(call)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_threads_of_one_client_take_turns_at_its_places() -> None:
    def program(world: World) -> None:
        gates: list[underpass.Gate] = []
        opened = underpass.Semaphore(0)

        def call(word: bytes) -> None:
            opened.acquire()
            assert gates[0].call(word) == word

        def first() -> None:
            gates.append(underpass.Gate.open("desk", timeout=None))
            opened.release(5)

        world.process(echo, 5)
        process = world.process(first)
        for number in range(5):
            world.thread(process, call, bytes([number]))

    lab.explore(program, schedules=300, seed=1)


def test_threads_of_one_server_share_the_calls() -> None:
    def program(world: World) -> None:
        ports: list[underpass.Port] = []
        made = underpass.Semaphore(0)

        def receive() -> None:
            made.acquire()
            ports[0].receive().reply()

        def make() -> None:
            ports.append(underpass.Port.create("desk"))
            made.release(2)

        def call() -> None:
            underpass.Gate.open("desk", timeout=None).call()

        server = world.process(make)
        world.thread(server, receive)
        world.thread(server, receive)
        world.process(call)
        world.process(call)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_a_successor_takes_the_name_of_a_dead_server_over() -> None:
    outcomes: Counter[str] = Counter()

    def program(world: World) -> None:
        lost = underpass.Semaphore(0)

        def succeed() -> None:
            lost.acquire()
            echo(1)

        def call() -> None:
            first = outcome(lambda: underpass.Gate.open("desk", timeout=5).call())
            outcomes[first] += 1
            # Who was not found may have been about to come.
            if first == "PeerDiedError":
                lost.release()
                underpass.Gate.open("desk", timeout=None).call()

        world.process(echo, 1, servant=True)
        world.process(succeed, mortal=False, servant=True)
        world.process(call, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert set(outcomes) == {"done", "PeerDiedError", "NotFoundError"}


def test_typed_calls() -> None:
    outcomes: Counter[str] = Counter()

    def program(world: World) -> None:
        def call(number: int) -> None:
            desk = underpass.connect(Desk, "desk", timeout=5)
            assert desk.add(number, number) == 2 * number
            outcomes[outcome(desk.fail)] += 1

        world.process(underpass.serve, Desk(), at="desk", servant=True)
        world.process(lambda: outcomes.update([outcome(lambda: call(1))]), mortal=False)
        world.process(lambda: outcomes.update([outcome(lambda: call(2))]), mortal=False)

    lab.explore(program, schedules=300, seed=1)
    assert set(outcomes) <= {"done", "RemoteError", "NotFoundError"}
    lab.explore(program, schedules=300, kills=1, seed=1)
    assert set(outcomes) == {"done", "RemoteError", "PeerDiedError", "NotFoundError"}


def recorded(world: World, *, early: bool) -> None:
    """A server whose clients count on what it has told them; ``early``: it tells them before it is true."""
    record = underpass.AtomicInt()
    told: list[bytes] = []

    def serve() -> None:
        with underpass.Port.create("desk") as port:
            request = port.receive()
            if early:
                request.reply(b"recorded")
            record.store(1)
            if not early:
                request.reply(b"recorded")

    def call() -> None:
        outcome(lambda: told.append(underpass.Gate.open("desk", timeout=1).call()))

    world.process(serve, servant=True)
    world.process(call, mortal=False)
    world.at_end(lambda: not told or record.load() == 1)


def test_a_reply_before_its_record_is_found_and_repeats() -> None:
    def early(world: World) -> None:
        recorded(world, early=True)

    def late(world: World) -> None:
        recorded(world, early=False)

    with pytest.raises(Failure) as found:
        lab.explore(early, schedules=SCHEDULES, kills=1, seed=1)
    assert found.value.kind == "invariant"
    with pytest.raises(Failure) as again:
        lab.replay(early, found.value.token)
    assert again.value.token == found.value.token
    lab.explore(late, schedules=SCHEDULES, kills=1, seed=1)


def test_whoever_waits_for_a_reply_is_told_at_a_port() -> None:
    def program(world: World) -> None:
        def serve() -> None:
            with underpass.Port.create("desk") as port:
                request = port.receive()
                underpass.Semaphore(0).acquire()
                request.reply()

        world.process(serve)
        world.process(lambda: underpass.Gate.open("desk", timeout=None).call(), name="client")

    with pytest.raises(Failure, match="deadlock") as found:
        lab.explore(program, seed=1)
    assert "sleeps on port 'desk'" in str(found.value)


def test_threads_of_the_system_are_refused() -> None:
    def refused(serve: object, match: str) -> None:
        def program(world: World) -> None:
            assert callable(serve)
            world.process(serve)

        with pytest.raises(Failure, match="MisuseError") as found:
            lab.explore(program, schedules=1, seed=1)
        assert match in str(found.value)

    def serve() -> None:
        with underpass.serving(Desk(), at="desk"):
            raise AssertionError

    refused(lambda: underpass.Port().serve_bytes(bytes.upper, threads=2), "world.thread")
    refused(lambda: underpass.serve(Desk(), at="desk", threads=2), "world.thread")
    refused(serve, "world.process(underpass.serve")


def test_the_right_to_receive_stays_in_its_process() -> None:
    def program(world: World) -> None:
        port = underpass.Port()
        world.process(port.receive)

    with pytest.raises(Failure, match="MisuseError"):
        lab.explore(program, schedules=1, seed=1)
