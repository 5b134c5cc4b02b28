"""Port: loops of several threads, a thousand clients, and what happens when descriptors run out."""

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.backends import Processes, Threads, apart, sleeps_in_library, until
from underpass import CallAbortedError, Gate, PeerDiedError, Port, Request, Space, _core

World = Threads | Processes


def sleepers() -> int:
    """Count this process's threads that sleep in the library."""
    return sum(sleeps_in_library(os.getpid(), int(task.name)) for task in Path("/proc/self/task").iterdir())


# ── several threads ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [0, -1])
def test_serve_wants_a_thread(count: int) -> None:
    with Port() as port:
        with pytest.raises(ValueError, match=f"threads={count}"):
            port.serve(Request.reply, threads=count)
        with pytest.raises(ValueError, match=f"threads={count}"):
            port.serve_bytes(bytes.upper, threads=count)


@pytest.mark.parametrize("loop", ["serve", "serve_bytes"])
def test_threads_serve_at_the_same_time(threads: Threads, loop: str) -> None:
    together = threading.Barrier(3)

    def handle(_: Request | bytes) -> bytes:
        together.wait(20)
        return b"%d" % threading.get_ident()

    port = Port()
    gate = port.gate()
    server = threads.start(lambda: getattr(port, loop)(handle, threads=3))
    for _ in range(3):
        callers = [threads.start(gate.call, b"x") for _ in range(3)]
        assert len({caller.result() for caller in callers}) == 3
    before = threading.active_count()
    port.close()
    server.result()
    until(lambda: threading.active_count() <= before - 3, "the end of the threads")


def test_sleeping_threads_are_woken_one_by_one(world: World) -> None:
    """Three calls come while three threads sleep: each is told, though the first ones work for long."""
    work = threading.Event()
    busy = threading.Semaphore(0)

    def handle(data: bytes) -> bytes:
        busy.release()
        work.wait(20)
        return data

    port = Port()
    gate = port.gate()
    server = threading.Thread(target=lambda: port.serve_bytes(handle, threads=3))
    server.start()
    for number in range(3):
        until(lambda number=number: sleepers() >= 3 - number, "the sleep of the idle threads")
        caller = world.start(lambda: gate.call(b"x"))
        assert busy.acquire(timeout=20)
        caller.until_asleep()
    work.set()
    port.close()
    server.join()


def test_ctrl_c_ends_all_threads_of_a_serve(processes: Processes) -> None:
    ready = processes.flag()

    def serve(loop: Callable[..., None]) -> None:
        with Port.create("desk") as port:
            try:
                ready.raise_()
                loop(port, bytes.upper, threads=3)
            finally:
                assert threading.active_count() == 1

    for loop in (Port.serve, Port.serve_bytes):
        server = processes.start(serve, loop)
        ready.wait()
        server.until_asleep()
        if loop is Port.serve_bytes:
            assert Gate.open("desk", timeout=20).call(b"x") == b"X"
        server.signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            server.result()


def test_handlers_under_way_finish_when_another_thread_fails(threads: Threads) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def handle(data: bytes) -> bytes:
        if data == b"bad":
            raise LookupError("bad")
        begun.set()
        go_on.wait(20)
        return data

    with Port() as port:
        gate = port.gate()
        server = threads.start(lambda: port.serve_bytes(handle, threads=2))
        long = threads.start(gate.call, b"long")
        assert begun.wait(20)
        with pytest.raises(CallAbortedError):
            gate.call(b"bad")
        go_on.set()
        with pytest.raises(LookupError):
            server.result()
        assert long.result() == b"long"


def test_close_inside_a_handler_ends_the_loop(threads: Threads) -> None:
    port = Port()

    def handle(_: bytes) -> bytes:
        port.close()
        return b"last"

    gate = port.gate()
    server = threads.start(lambda: port.serve_bytes(handle, threads=2))
    assert gate.call(b"x") == b"last"
    server.result()
    with pytest.raises(PeerDiedError):
        gate.call(b"x")


# ── a thousand clients ──────────────────────────────────────────────────────────────────────────────────────────────


def test_more_clients_than_bits_and_descriptors_are_all_served(processes: Processes) -> None:
    """Seats beyond 1,024 share a bit, and no client costs the server a descriptor."""
    each, groups = 140, 8

    def serve() -> int:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
        port = Port.create("desk", message_size=64)
        port.serve_bytes(lambda data: data[::-1] if data else b"%d" % port.statistics().clients)
        return 0

    def bind() -> None:
        gates = [Gate.open("desk", timeout=20) for _ in range(each)]
        for number, gate in enumerate(gates):
            assert gate.call(b"%d" % number) == (b"%d" % number)[::-1]
        bound.raise_()
        go_on.wait()
        for number, gate in enumerate(gates):
            assert gate.call(b"%d" % number) == (b"%d" % number)[::-1]

    bound, go_on = processes.flag(), processes.flag()
    server = processes.start(serve)
    clients = [processes.start(bind) for _ in range(groups)]
    for _ in clients:
        bound.wait()
    gate = Gate.open("desk", timeout=20)
    assert int(gate.call()) == each * groups + 1
    go_on.raise_(groups)
    for client in clients:
        client.result()
    for number in range(200):
        assert gate.call(b"%d" % number) == (b"%d" % number)[::-1]
    server.kill()
    with pytest.raises(PeerDiedError):
        gate.call()
    Port.create("desk").close()
    Space.default().sweep()


@apart
def test_server_without_descriptors_meets_its_clients_all_the_same() -> None:
    processes = Processes()
    port = Port(message_size=64)
    gate = port.gate()
    clients = [processes.start(gate.call, b"%d" % number) for number in range(3)]
    for client in clients:
        client.until_asleep()
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    with contextlib.suppress(OSError):
        while True:
            held.append(os.dup(0))
    server = threading.Thread(target=lambda: port.serve_bytes(bytes.upper))
    server.start()
    assert [client.result() for client in clients] == [b"0", b"1", b"2"]
    for descriptor in held:
        os.close(descriptor)
    port.close()
    server.join()
    processes.close()


# ── forks and takeover ──────────────────────────────────────────────────────────────────────────────────────────────


def test_name_is_taken_over_though_a_forked_child_of_the_dead_server_lives(processes: Processes) -> None:
    never, ready = processes.flag(), processes.flag()

    def serve() -> None:
        port = Port.create("desk")
        if os.fork() == 0:
            ready.raise_()
            never.wait()
            os._exit(0)
        port.serve_bytes(bytes.upper)

    server = processes.start(serve)
    ready.wait()
    gate = Gate.open("desk", timeout=20)
    assert gate.call(b"x") == b"X"
    server.kill()
    with pytest.raises(PeerDiedError, match=str(server.pid)):
        gate.call(b"x")
    with pytest.raises(PeerDiedError):
        Gate.call(gate, b"x", timeout=20)
    with Port.create("desk") as port:
        caller = processes.start(lambda: Gate.open("desk").call(b"y"))
        request = port.receive()
        request.reply(request.data)
        assert caller.result() == b"y"
    never.raise_()


def test_dead_clients_are_forgotten_by_a_server_that_sleeps(processes: Processes) -> None:
    _core.set_recheck(0.02)
    with Port() as port:
        gate = port.gate()
        clients = [processes.start(gate.call, b"x") for _ in range(4)]
        for _ in clients:
            port.receive().reply()
        for client in clients:
            client.result()
        server = threading.Thread(target=lambda: port.serve_bytes(bytes.upper))
        server.start()
        until(lambda: port.statistics().clients == 0, "the server's round")
        port.close()
        server.join()
