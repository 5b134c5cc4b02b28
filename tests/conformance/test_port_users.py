"""Gates of other users: who can read a space and not write it calls the ports there that admit it."""

import ctypes
import os
import pickle
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.backends import SOON, Flag, ProcessActor, Processes, T, Threads, until
from tests.conformance.servers import STACKS, STOP
from underpass import (
    AccessDeniedError,
    CallCancelledError,
    Gate,
    MisuseError,
    Notified,
    PeerDiedError,
    Port,
    Space,
    TimedOut,
)

ROOT, NOBODY, SOMEBODY = 0, 65534, 65533
# Who serves and who calls. Root is let in everywhere, as long as it comes by the same way.
PAIRS = [(ROOT, NOBODY), (NOBODY, ROOT), (NOBODY, SOMEBODY)]

pytestmark = pytest.mark.skipif(os.geteuid() != ROOT, reason="only root can become somebody else")


@pytest.fixture(params=PAIRS, ids=[f"{server}-{client}" for server, client in PAIRS])
def pair(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Run the case with several users on both sides."""
    server, client = request.param
    return server, client


def become(uid: int) -> None:
    """Be that user, for good."""
    if uid != ROOT:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


def start(world: Processes, uid: int, function: Callable[..., T], *args: object) -> ProcessActor[T]:
    """Run ``function(*args)`` in a process of that user."""

    def run() -> T:
        become(uid)
        return function(*args)

    return world.start(run)


def everybody(_peer: object) -> bool:
    return True


def serve(directory: Path, size: int = 4096) -> None:
    """Serve ``bytes.upper`` in a space that everybody may read, until the call that stops it."""
    port = Port.create("upper", message_size=size, admit=everybody, space=Space(str(directory), mode=0o755))

    def handle(data: bytes) -> bytes:
        if data == STOP:
            port.close()
        return data.upper()

    port.serve_bytes(handle)


def gate_of(directory: Path, name: str = "upper") -> Gate:
    """Open a port by reading its space, once it is there."""
    until((directory / name).exists, "the port's name")
    return Gate.open(name, space=Space.look(str(directory)), timeout=20)


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_of_every_length(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    def call() -> int:
        gate = gate_of(directory)
        for length in (0, 1, 8, 64, 4096, 65536):
            data = bytes(97 + (length + index) % 26 for index in range(length))
            assert gate.call(data) == data.upper()
            gate.send(data)
        assert gate.statistics().bound
        assert gate.call(STOP) == STOP.upper()
        with pytest.raises(PeerDiedError):
            gate.call(b"late")
        return 6

    server = start(processes, pair[0], serve, directory, 65536)
    assert start(processes, pair[1], call).result() == 6
    server.result()


def test_call_that_sleeps_is_answered(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    met = processes.flag()

    def answer() -> None:
        with Port.create("slow", admit=everybody, space=Space(str(directory), mode=0o755)) as port:
            for _ in range(5):
                request = port.receive()
                assert (request.peer.uid, request.peer.alive) == (pair[1], True)
                met.wait()
                request.reply(request.data)

    def call() -> None:
        gate = gate_of(directory, "slow")
        for number in range(5):
            assert gate.call(b"%d" % number) == b"%d" % number

    server, client = start(processes, pair[0], answer), start(processes, pair[1], call)
    for _ in range(5):
        client.until_asleep()
        met.raise_()
    client.result()
    server.result()


def test_receiver_that_sleeps_is_rung(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    rung = processes.flag()

    def call() -> None:
        gate = gate_of(directory)
        for _ in range(20):
            rung.wait()
            assert gate.call(b"ring", timeout=20) == b"RING"
        gate.call(STOP)

    server, client = start(processes, pair[0], serve, directory), start(processes, pair[1], call)
    for _ in range(20):
        server.until_asleep()
        rung.raise_()
    client.result()
    server.result()


def test_many_clients_of_one_user_beside_those_of_the_space(processes: Processes, directory: Path) -> None:
    server = start(processes, ROOT, serve, directory)

    def call(text: str) -> None:
        gate = gate_of(directory)
        for number in range(200):
            assert gate.call(f"{text}{number}".encode(), timeout=20) == f"{text}{number}".upper().encode()

    def call_from_inside() -> None:
        until((directory / "upper").exists, "the port's name")
        gate = Gate.open("upper", space=Space(str(directory), mode=0o755))
        for number in range(200):
            assert gate.call(b"%d" % number) == b"%d" % number

    clients = [start(processes, uid, call, f"{uid} ") for uid in (NOBODY, NOBODY, SOMEBODY)]
    clients.append(start(processes, ROOT, call_from_inside))
    for client in clients:
        client.result()
    start(processes, NOBODY, lambda: gate_of(directory).call(STOP)).result()
    server.result()


def test_notified_bits_arrive_and_a_stranger_has_to_call_first(processes: Processes, directory: Path) -> None:
    def answer() -> int:
        with Port.create("bits", admit=everybody, space=Space(str(directory), mode=0o755)) as port:
            port.receive().reply(b"")
            received = port.receive_any()
            assert isinstance(received, Notified)
            return received.bits

    called, asleep = processes.flag(), processes.flag()

    def notify() -> None:
        gate = gate_of(directory, "bits")
        with pytest.raises(MisuseError, match="call or send first"):
            gate.notify(1)
        gate.call()
        called.raise_()
        asleep.wait()
        gate.notify(0b101)

    server = start(processes, ROOT, answer)
    notifier = start(processes, NOBODY, notify)
    called.wait()
    server.until_asleep()
    asleep.raise_()
    notifier.result()
    assert server.result() == 0b101


def test_badged_gate_is_handed_over_and_revoked(processes: Processes, directory: Path) -> None:
    read, write = os.pipe()
    met, over = processes.flag(), processes.flag()

    def answer() -> None:
        with Port.create("badged", admit=everybody, space=Space(str(directory), mode=0o755)) as port:
            os.write(write, pickle.dumps(port.gate(badge=7)))
            request = port.receive()
            assert request.badge == 7
            request.reply(b"known")
            port.revoke(7)
            met.raise_()
            over.wait()

    def call() -> None:
        gate: Gate = pickle.loads(os.read(read, 1 << 16))  # noqa: S301 - made by this test
        assert gate.call() == b"known"
        met.wait()
        with pytest.raises(CallCancelledError):
            gate.call()
        over.raise_()

    server = start(processes, ROOT, answer)
    start(processes, NOBODY, call).result()
    server.result()
    os.close(read)
    os.close(write)


# ── who is not let in ───────────────────────────────────────────────────────────────────────────────────────────────


def test_admit_refuses(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    told = processes.flag()

    def answer() -> int:
        port = Port.create("choosy", admit=lambda peer: peer.uid != pair[1], space=Space(str(directory), mode=0o755))
        with port:
            while not port.statistics().refused:
                with pytest.raises(TimedOut):
                    port.receive(timeout=SOON)
            told.wait()
            return port.statistics().refused

    def call() -> None:
        with pytest.raises(AccessDeniedError, match=f"port 'choosy'.* of uid {pair[0]}, does not admit .* {pair[1]}"):
            gate_of(directory, "choosy").call(timeout=20)
        told.raise_()

    server = start(processes, pair[0], answer)
    start(processes, pair[1], call).result()
    assert server.result() == 1


def test_port_without_admit_is_closed_to_others(processes: Processes, directory: Path) -> None:
    done = processes.flag()

    def answer() -> None:
        with Port.create("private", space=Space(str(directory), mode=0o755)):
            done.wait()

    def call() -> None:
        text = f"port 'private'.* of uid {NOBODY}, has a socket that is closed to .* of uid {SOMEBODY}: .*admit="
        with pytest.raises(AccessDeniedError, match=text):
            gate_of(directory, "private").call()

    server = start(processes, NOBODY, answer)
    start(processes, SOMEBODY, call).result()
    done.raise_()
    server.result()


# ── time-outs and deaths ────────────────────────────────────────────────────────────────────────────────────────────


def test_time_out_says_whether_the_server_has_it(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    go, done = processes.flag(), processes.flag()

    def answer() -> None:
        with Port.create("slow", admit=everybody, space=Space(str(directory), mode=0o755)) as port:
            go.wait()
            port.receive().reply(b"")
            kept = port.receive()
            done.wait()
            kept.reply(b"late")

    def call() -> None:
        gate = gate_of(directory, "slow")
        for patience in (0, SOON):
            with pytest.raises(TimedOut) as nobody:
                gate.call(b"nobody", timeout=patience)
            assert nobody.value.phase == "send"
        go.raise_()
        gate.call(timeout=20)
        phase = "send"
        while phase == "send":
            with pytest.raises(TimedOut) as kept:
                gate.call(b"kept", timeout=SOON)
            phase = kept.value.phase
        assert phase == "receive"
        done.raise_()

    server = start(processes, pair[0], answer)
    start(processes, pair[1], call).result()
    server.result()


def test_server_killed_while_it_has_the_call(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    taken = processes.flag()

    def answer() -> None:
        port = Port.create("doomed", admit=everybody, space=Space(str(directory), mode=0o755))
        kept = port.receive()
        taken.raise_()
        signal.pause()
        kept.reply(b"never")

    def call() -> None:
        with pytest.raises(PeerDiedError):
            gate_of(directory, "doomed").call()

    server = start(processes, pair[0], answer)
    client = start(processes, pair[1], call)
    taken.wait()
    client.until_asleep()
    server.kill()
    client.result()


def test_server_killed_before_it_lets_anybody_in(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    def hold() -> None:
        with Port.create("deaf", admit=everybody, space=Space(str(directory), mode=0o755)):
            signal.pause()

    def call() -> None:
        with pytest.raises(PeerDiedError):
            gate_of(directory, "deaf").call()

    server = start(processes, pair[0], hold)
    client = start(processes, pair[1], call)
    client.until_asleep()
    server.kill()
    client.result()


def test_client_killed_in_a_call_is_forgotten(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    taken, dead, forgotten = processes.flag(), processes.flag(), processes.flag()

    def answer() -> bytes:
        with Port.create("lasting", admit=everybody, space=Space(str(directory), mode=0o755)) as port:
            request = port.receive()
            taken.raise_()
            dead.wait()
            assert not request.peer.alive
            request.reply(b"to nobody")
            while port.statistics().clients:
                with pytest.raises(TimedOut):
                    port.receive(timeout=SOON)
            forgotten.raise_()
            last = port.receive()
            last.reply(b"")
            return last.data

    server = start(processes, pair[0], answer)
    client = start(processes, pair[1], lambda: gate_of(directory, "lasting").call())
    taken.wait()
    client.until_asleep()
    client.kill()
    dead.raise_()
    start(processes, pair[1], lambda: (forgotten.wait(), gate_of(directory, "lasting").call(b"next"))).result()
    assert server.result() == b"next"


def test_waiting_costs_no_time_of_the_processor(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    given_up = processes.flag()
    window = 0.5

    def used(wait: Callable[[], object]) -> tuple[float, str | None]:
        before = time.process_time()
        with pytest.raises(TimedOut) as caught:
            wait()
        return time.process_time() - before, caught.value.phase

    def answer() -> float:
        with Port.create("idle", admit=everybody, space=Space(str(directory), mode=0o755)) as port:
            kept = port.receive()
            spent, _ = used(lambda: port.receive(timeout=window))
            given_up.wait()
            kept.reply(b"")
            return spent

    def call() -> float:
        gate = gate_of(directory, "idle")
        spent, phase = used(lambda: gate.call(timeout=window))
        while phase == "send":  # a slow machine had not let the server take it by then
            spent, phase = used(lambda: gate.call(timeout=window))
        given_up.raise_()
        return spent

    server, client = start(processes, pair[0], answer), start(processes, pair[1], call)
    assert client.result() < window / 5
    assert server.result() < window / 5


# ── a client that does what it likes ────────────────────────────────────────────────────────────────────────────────


def shared_with_the_server() -> list[tuple[int, int]]:
    """Return where the memory is that this process shares with its server: start and length."""
    found: list[tuple[int, int]] = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, access = line.split()[:2]
        if access == "rw-s" and "memfd:underpass" in line:
            start, end = (int(part, 16) for part in span.split("-"))
            found.append((start, end - start))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_server_survives_a_client_that_scribbles(processes: Processes, directory: Path, seed: int) -> None:
    stop = processes.flag()

    def scribble(stop: Flag) -> None:
        gate = gate_of(directory)
        gate.call()
        chance = random.Random(seed)
        memory = shared_with_the_server()
        assert len(memory) == 2, "its channel, and the annex"
        for _ in range(3000):
            start, length = chance.choice(memory)
            noise = chance.choice([bytes([chance.randrange(256)]) * 4, chance.randbytes(chance.randrange(1, 64))])
            at = chance.randrange(0, min(length, 12 << 10) - len(noise))
            ctypes.memmove(start + at, noise, len(noise))
        stop.raise_()
        signal.pause()

    def call() -> None:
        until((directory / "upper").exists, "the port's name")
        gate = Gate.open("upper", space=Space(str(directory), mode=0o755))
        for number in range(2000):
            assert gate.call(b"%d" % number, timeout=20) == b"%d" % number

    server = start(processes, ROOT, serve, directory)
    hostile = start(processes, NOBODY, scribble, stop)
    start(processes, ROOT, call).result()
    stop.wait()
    # Another user's bell is another one.
    start(processes, SOMEBODY, lambda: gate_of(directory).call(b"still there", timeout=20)).result()
    hostile.kill()
    start(processes, SOMEBODY, lambda: gate_of(directory).call(STOP)).result()
    server.result()


def test_receive_ends_in_time_whatever_is_scribbled(processes: Processes, directory: Path) -> None:
    ready, over = processes.flag(), processes.flag()

    def answer() -> None:
        with Port.create("upper", admit=everybody, space=Space(str(directory), mode=0o755)) as port:
            port.receive().reply(b"")
            ready.wait()
            with pytest.raises(TimedOut):
                port.receive(timeout=0.2)
            over.raise_()

    def scribble() -> None:
        gate = gate_of(directory)
        gate.call()
        start, _ = min(shared_with_the_server(), key=lambda where: where[1])
        ready.raise_()
        bell = ctypes.c_uint32.from_address(start)
        while (directory / "upper").exists():
            bell.value += 1
            ctypes.c_uint32.from_address(start + 4).value = 1

    server = start(processes, ROOT, answer)
    client = start(processes, NOBODY, scribble)
    over.wait()
    server.result()
    client.result()


def test_threads_of_a_client_share_its_channel(processes: Processes, directory: Path, pair: tuple[int, int]) -> None:
    def call() -> None:
        gate = gate_of(directory)

        def often(data: bytes) -> list[bytes]:
            return [gate.call(data) for _ in range(50)]

        threads = Threads()
        callers = [threads.start(often, b"%d" % number) for number in range(STACKS + 2)]
        for number, caller in enumerate(callers):
            assert caller.result() == [b"%d" % number] * 50
        threads.close()
        gate.call(STOP)

    server = start(processes, pair[0], serve, directory)
    start(processes, pair[1], call).result()
    server.result()
