"""Port and Gate: what a death of either side is to the other."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.backends import Flag, Processes, sleeps_in_library, until
from underpass import Gate, NotFoundError, PeerDiedError, Port, Request, Space, TimedOut


def bury(name: str) -> None:
    """Take over what a dead server left, and remove it."""
    Port.create(name).close()
    Space.default().sweep()


def never_receive(name: str, _taken: Flag, never: Flag) -> None:
    """Have a port, and look away."""
    port = Port.create(name)
    never.wait()
    port.close()


def take_and_wait(name: str, taken: Flag, never: Flag) -> None:
    """Take a call, and work on it for ever."""
    port = Port.create(name)
    request = port.receive()
    taken.raise_()
    never.wait()
    request.reply()


def take_and_wait_in_serve(name: str, taken: Flag, never: Flag) -> None:
    """Serve, and work on a call for ever."""

    def handle(_: bytes) -> bytes:
        taken.raise_()
        never.wait()
        return b""

    Port.create(name).serve_bytes(handle)


def sleepers_of(pid: int) -> int:
    """Count the threads of a process that sleep in the library."""
    return sum(sleeps_in_library(pid, int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir())


Server = Callable[[str, Flag, Flag], None]


@pytest.mark.parametrize(
    ("serve", "takes"), [(never_receive, False), (take_and_wait, True), (take_and_wait_in_serve, True)]
)
def test_death_of_the_server_is_told_to_who_waits(processes: Processes, serve: Server, takes: bool) -> None:  # noqa: FBT001
    taken, never = processes.flag(), processes.flag()
    server = processes.start(serve, "desk", taken, never)
    gate = Gate.open("desk", timeout=20)
    callers = [processes.start(lambda: gate.call(b"x")) for _ in range(3)]
    if takes:
        taken.wait()
    for caller in callers:
        caller.until_asleep()
    server.kill()
    told = {"send": "had not taken it, so nothing happened", "receive": "may have acted, so repeat only what"}
    phases: list[str] = []
    for caller in callers:
        with pytest.raises(PeerDiedError, match=str(server.pid)) as caught:
            caller.result()
        assert caught.value.pid == server.pid
        assert isinstance(caught.value, ConnectionError)
        assert told[caught.value.phase] in str(caught.value)
        phases.append(caught.value.phase)
    assert sorted(phases) == (["receive", "send", "send"] if takes else ["send", "send", "send"])
    bury("desk")


def test_server_that_died_asleep_is_told_at_the_next_call(processes: Processes) -> None:
    def serve() -> None:
        Port.create("desk").serve_bytes(bytes.upper)

    server = processes.start(serve)
    gate = Gate.open("desk", timeout=20)
    assert gate.call(b"x") == b"X"
    server.until_asleep()
    unbound = Gate.open("desk")
    server.kill()
    for other in (gate, unbound):
        with pytest.raises(PeerDiedError):
            other.call(b"x")
        with pytest.raises(PeerDiedError):
            other.call(b"x", timeout=0)
    with pytest.raises(NotFoundError, match=f"has lost its receiver, pid {server.pid}"):
        Gate.open("desk")
    bury("desk")


def test_dead_servers_name_is_taken_over(processes: Processes) -> None:
    taken, never = processes.flag(), processes.flag()
    server = processes.start(take_and_wait, "desk", taken, never)
    gate = Gate.open("desk", timeout=20)
    server.kill()
    opener = processes.start(lambda: Gate.open("desk", timeout=20).call(b"x"))
    with Port.create("desk") as port:
        request = port.receive()
        request.reply(b"successor")
        assert opener.result() == b"successor"
        with pytest.raises(PeerDiedError):
            gate.call(b"x")
        with pytest.raises(TimedOut):
            port.receive(timeout=0)
    Space.default().sweep()


def test_reply_to_a_dead_caller_never_blocks(processes: Processes) -> None:
    with Port() as port:
        gate = port.gate()
        caller = processes.start(lambda: gate.call(b"x"))
        request = port.receive()
        peer = request.peer
        assert peer.alive
        caller.until_asleep()
        caller.kill()
        assert not peer.alive
        request.reply(b"too late")
        assert peer.pid == caller.pid


def test_calls_of_the_dead_do_not_stop_the_others(processes: Processes) -> None:
    with Port() as port:
        gate = port.gate()
        dead = [processes.start(lambda: gate.call(b"dead")) for _ in range(3)]
        for caller in dead:
            caller.until_asleep()
            caller.kill()
        caller = processes.start(lambda: gate.call(b"alive"))
        request: Request = port.receive()
        while request.data == b"dead":  # posted by one that lived then; an answer does no harm
            request = port.reply_wait(request)
        request.reply(b"yes")
        assert caller.result() == b"yes"


def test_dead_clients_are_forgotten(processes: Processes) -> None:
    with Port() as port:
        gate = port.gate()
        for _ in range(10):
            caller = processes.start(lambda: gate.call(b"x"))
            port.receive().reply(b"y")
            assert caller.result() == b"y"
        caller = processes.start(lambda: gate.call(b"x"))
        port.receive().reply(b"y")
        caller.result()
        assert port.statistics().clients <= 2


def test_forked_child_of_the_server_keeps_no_caller_waiting(processes: Processes) -> None:
    taken, never, forked = processes.flag(), processes.flag(), processes.flag()

    def serve() -> None:
        port = Port.create("desk")
        if os.fork() == 0:
            forked.raise_()
            never.wait()
            os._exit(0)
        request = port.receive()
        taken.raise_()
        never.wait()
        request.reply()

    server = processes.start(serve)
    forked.wait()
    gate = Gate.open("desk", timeout=20)
    caller = processes.start(lambda: gate.call(b"x"))
    taken.wait()
    caller.until_asleep()
    server.kill()
    with pytest.raises(PeerDiedError):
        caller.result()
    never.raise_(2)
    bury("desk")


def test_caller_in_line_for_an_a_stack_is_told_too(processes: Processes) -> None:
    taken, never = processes.flag(), processes.flag()
    server = processes.start(take_and_wait, "desk", taken, never)
    gate = Gate.open("desk", timeout=20)

    def call_from_threads() -> int:
        died: list[bool] = []

        def call() -> None:
            with pytest.raises(PeerDiedError):
                gate.call(b"x")
            died.append(True)

        threads = [threading.Thread(target=call) for _ in range(7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(died)

    caller = processes.start(call_from_threads)
    taken.wait()
    until(lambda: sleepers_of(caller.pid) >= 7, "the sleep of seven threads")
    server.kill()
    assert caller.result() == 7
    bury("desk")
