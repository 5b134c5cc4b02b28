"""Who waits for whom, from the space alone: what `Space.waits` tells while others sleep, and after they died."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.backends import PATIENCE, Processes, Threads, in_vain, new_interpreter, until
from underpass import Event, Gate, Mutex, NotFoundError, Once, Port, Queue, Semaphore, Space, TimedOut
from underpass.waiting import Waiter

World = Threads | Processes


def waits() -> list[Waiter]:
    """Who waits in the default space."""
    return Space.default().waits()


def only() -> Waiter:
    """The one who waits."""
    (waiter,) = waits()
    return waiter


def test_nobody_waits_in_a_quiet_space() -> None:
    assert waits() == []


def test_a_sleeper_is_told_with_thread_object_operation_and_time(world: World) -> None:
    with_name = Semaphore.create("doors/front", 0)
    actor = world.start(with_name.acquire)
    actor.until_asleep()
    waiter = only()
    assert (waiter.pid, waiter.tid) == (actor.pid, actor.tid)
    assert (waiter.name, waiter.file, waiter.kind) == ("doors/front", "doors:front", "Semaphore")
    assert (waiter.operation, waiter.holders, waiter.cycle) == ("acquire", [], None)
    assert repr(waiter) == (
        f"<Waiter pid {actor.pid} in acquire of Semaphore 'doors/front' for {waiter.waited_for:.1f} s>"
    )
    first = waiter.waited_for
    until(lambda: only().waited_for > first, "the passing of time")
    with_name.release()
    assert actor.result()
    assert waits() == []
    with_name.unlink()


@pytest.mark.parametrize("opener", [Event, Gate, Queue], ids=lambda opener: opener.__name__)
@pytest.mark.parametrize("name", ["doors/front", "n" * 200])
def test_a_wait_for_a_name_is_told(world: World, opener: type[Event | Gate | Queue], name: str) -> None:
    actor = world.start(lambda: opener.open(name, timeout=PATIENCE).name)
    until(waits, "the wait for the name")
    waiter = only()
    assert (waiter.pid, waiter.tid) == (actor.pid, actor.tid)
    kind = "Port" if opener is Gate else opener.__name__
    told = name if len(name) <= 48 else name[:48] + "…"
    assert (waiter.name, waiter.file, waiter.kind, waiter.operation) == (told, None, kind, "open")
    assert (waiter.holders, waiter.cycle) == ([], None)
    made = Port.create(name) if issubclass(opener, Gate) else opener.create(name)
    assert actor.result() == name
    assert waits() == []
    made.close()
    if not isinstance(made, Port):
        made.unlink()


def test_a_wait_for_the_successor_of_a_dead_server_is_told(processes: Processes, threads: Threads) -> None:
    never = processes.flag()
    server = processes.start(lambda: (Port.create("desk"), never.wait()))
    Gate.open("desk", timeout=PATIENCE)
    server.kill()
    actor = threads.start(lambda: Gate.open("desk", timeout=PATIENCE).name)
    until(waits, "the wait for the name")
    until(lambda: [(waiter.name, waiter.kind, waiter.operation) for waiter in waits()] == [("desk", "Port", "open")])
    with Port.create("desk"):
        assert actor.result() == "desk"


def test_who_would_run_a_once_waits_in_its_call(world: World) -> None:
    once = Once()
    with once.running():
        actor = world.start(once.call, print)
        actor.until_asleep()
        assert (only().kind, only().operation) == ("Once", "call")
    assert actor.result() is False


def test_each_operation_has_its_name(world: World) -> None:
    empty, full, leased = Queue(4), Queue(1), Queue(4)
    full.put(b"there is no room")
    leased.put(b"at work")
    lease = leased.take()
    with Port() as port:
        actors = {
            "get": world.start(empty.get),
            "put": world.start(full.put, b"more"),
            "join": world.start(leased.join),
            "call": world.start(port.gate().call, b"hello"),
        }
        for actor in actors.values():
            actor.until_asleep()
        told = {waiter.tid: (waiter.operation, waiter.name) for waiter in waits()}
        assert told == {actor.tid: (operation, None) for operation, actor in actors.items()}
        # Anonymous objects have a file all the same.
        assert all(waiter.file and waiter.file.startswith("@") for waiter in waits())
        empty.put(b"now")
        full.get()
        lease.done()
        port.receive().reply(b"")
        for actor in actors.values():
            actor.result()
    assert waits() == []


def test_a_receiver_waits_for_anybody(world: World) -> None:
    names = world.flag()

    def serve() -> None:
        with Port.create("hello") as port:
            names.raise_()
            port.receive().reply(b"there")

    server = world.start(serve)
    names.wait()
    server.until_asleep()
    assert (only().kind, only().operation, only().holders) == ("Port", "receive", [])
    assert Gate.open("hello").call() == b"there"
    server.result()


def test_the_longest_wait_is_told_first(world: World) -> None:
    semaphore = Semaphore(0)
    actors = [world.start(semaphore.acquire) for _ in range(1)]
    for _ in range(3):
        actors[-1].until_asleep()
        actors.append(world.start(semaphore.acquire))
    actors[-1].until_asleep()
    assert [waiter.tid for waiter in waits()] == [actor.tid for actor in actors]
    semaphore.release(len(actors))
    for actor in actors:
        actor.result()


def test_who_holds_leases_is_told_with_the_time(processes: Processes) -> None:
    queue, done = Queue(4), processes.flag()
    queue.put(b"work")
    taken = processes.flag()

    def work() -> None:
        with queue.take():
            taken.raise_()
            done.wait()

    worker = processes.start(work)
    taken.wait()
    joiner = processes.start(queue.join)
    joiner.until_asleep()
    (holder,) = only().holders
    assert (holder.pid, holder.tid) == (worker.pid, None)
    assert holder.held_for is not None
    assert holder.held_for > 0
    assert repr(only()).endswith(f" s, held by pid {worker.pid}>")
    done.raise_()
    worker.result()
    joiner.result()


def test_a_caller_waits_for_the_process_that_serves(processes: Processes) -> None:
    with Port() as port:
        caller = processes.start(port.gate().call)
        caller.until_asleep()
        (holder,) = only().holders
        assert (holder.pid, holder.tid, holder.held_for) == (os.getpid(), None, None)
        port.receive().reply()
        caller.result()


def test_two_processes_that_call_each_other_are_a_cycle(processes: Processes) -> None:
    ready, go = processes.flag(), processes.flag()

    def party(mine: str, other: str) -> None:
        with Port.create(mine):
            ready.raise_()
            go.wait()
            Gate.open(other).call()

    parties = [processes.start(party, "first", "second"), processes.start(party, "second", "first")]
    pids = [party.pid for party in parties]
    ready.wait()
    ready.wait()
    go.raise_(2)
    until(lambda: [waiter.cycle for waiter in waits()] == [1, 1], "the cycle")
    told = {waiter.pid: [holder.pid for holder in waiter.holders] for waiter in waits()}
    assert told == {pids[0]: [pids[1]], pids[1]: [pids[0]]}
    # Who waits for one of them is not in the circle.
    outsider = processes.start(Gate.open("first").call)
    outsider.until_asleep()
    assert {waiter.pid: waiter.cycle for waiter in waits()} == {pids[0]: 1, pids[1]: 1, outsider.pid: None}
    for actor in (outsider, *parties):
        actor.kill()
    for name in ("first", "second"):
        Port.create(name).close()
    Space.default().sweep()


def test_two_processes_that_hold_each_other_s_mutex_are_a_cycle(world: World) -> None:
    one, two, seen = Mutex(), Mutex(), Event()
    held = world.flag()
    go = world.flag()

    def cross(mine: Mutex, wait: Callable[[], object]) -> None:
        with mine:
            held.raise_()
            go.wait()
            wait()

    first = world.start(cross, one, lambda: in_vain(lambda timeout: two.acquire(timeout=timeout), seen))
    second = world.start(cross, two, one.acquire)
    held.wait()
    held.wait()
    go.raise_(2)
    told = list[Waiter]()

    def is_told() -> bool:
        told[:] = waits()
        return [waiter.cycle for waiter in told] == [1, 1]

    until(is_told, "the cycle")
    assert {waiter.tid: [(holder.pid, holder.tid) for holder in waiter.holders] for waiter in told} == {
        first.tid: [(second.pid, second.tid)],
        second.tid: [(first.pid, first.tid)],
    }
    seen.set()
    first.result()
    second.result()


@pytest.mark.parametrize(
    "make",
    [Mutex, lambda: Mutex(fairness="arrival"), lambda: Mutex(inherit_priority=True)],
    ids=["barging", "arrival", "inherit"],
)
def test_the_owner_of_a_mutex_is_told_to_all_who_wait(world: World, make: Callable[[], Mutex]) -> None:
    mutex, held, done = make(), world.flag(), world.flag()

    def hold() -> None:
        with mutex:
            held.raise_()
            done.wait()

    def visit() -> None:
        with mutex:
            pass

    owners = [world.start(hold)]
    held.wait()
    visitors = [world.start(visit) for _ in range(2)]
    for visitor in visitors:
        visitor.until_asleep()
    assert [(h.pid, h.tid) for w in waits() for h in w.holders] == [(owners[0].pid, owners[0].tid)] * 2
    assert all(holder.held_for is not None for waiter in waits() for holder in waiter.holders)
    assert mutex.statistics().waiters == 2
    done.raise_()
    for actor in (*owners, *visitors):
        actor.result()


def test_a_lease_that_its_holder_waits_to_end_is_a_cycle_of_one(processes: Processes) -> None:
    queue = Queue(4)
    queue.put(b"work")

    def forget() -> None:
        with queue.take():
            queue.join()

    actor = processes.start(forget)
    actor.until_asleep()
    assert (only().cycle, [holder.pid for holder in only().holders]) == (1, [actor.pid])
    actor.kill()
    queue.get()


def test_who_holds_units_of_a_leased_semaphore_is_told(processes: Processes, threads: Threads) -> None:
    semaphore = Semaphore(1, leased=True)
    has, never = processes.flag(), processes.flag()

    def hold() -> None:
        semaphore.acquire()
        has.raise_()
        never.wait()

    holder = processes.start(hold)
    has.wait()
    waiter = threads.start(semaphore.acquire)
    waiter.until_asleep()
    assert [peer.pid for peer in only().holders] == [holder.pid]
    assert only().cycle is None
    holder.kill()
    assert waiter.result() is True


def test_a_process_that_waits_for_its_own_unit_is_a_cycle_of_one(processes: Processes) -> None:
    semaphore = Semaphore(1, leased=True)
    actor = processes.start(lambda: (semaphore.acquire(), semaphore.acquire()))
    actor.until_asleep()
    assert (only().cycle, [holder.pid for holder in only().holders]) == (1, [actor.pid])
    actor.kill()


def test_a_process_with_a_thread_that_receives_is_not_stuck(processes: Processes) -> None:
    ready, go = processes.flag(), processes.flag()

    def served() -> None:
        with Port.create("served") as port:
            helper = threading.Thread(target=lambda: port.receive().reply(b"helped"))
            helper.start()
            ready.raise_()
            Gate.open("busy", timeout=10).call()
            helper.join()

    def busy() -> None:
        with Port.create("busy") as port:
            request = port.receive()
            go.wait()
            assert Gate.open("served").call() == b"helped"
            request.reply()

    first, second = processes.start(served), processes.start(busy)
    ready.wait()
    # The call of the first, its receiver; the second is awake.
    until(lambda: sorted(w.operation for w in waits() if w.pid == first.pid) == ["call", "receive"], "both threads")
    assert all(waiter.cycle is None for waiter in waits())
    go.raise_()
    first.result()
    second.result()


def test_a_killed_waiter_is_not_told(processes: Processes) -> None:
    semaphore = Semaphore(0)
    actors = [processes.start(semaphore.acquire) for _ in range(3)]
    for actor in actors:
        actor.until_asleep()
    assert {waiter.pid for waiter in waits()} == {actor.pid for actor in actors}
    assert semaphore.statistics().waiters == 3
    actors[1].kill()
    assert {waiter.pid for waiter in waits()} == {actors[0].pid, actors[2].pid}
    assert semaphore.statistics().waiters == 2
    # Its entry is another's now, who does not wait.
    newcomers = [processes.start(Semaphore(1).acquire) for _ in range(3)]
    for newcomer in newcomers:
        newcomer.result()
    assert semaphore.statistics().waiters == 2
    semaphore.release(2)
    assert actors[0].result()
    assert actors[2].result()


def test_a_stopped_waiter_still_waits(processes: Processes) -> None:
    semaphore = Semaphore(0)
    actor = processes.start(semaphore.acquire)
    actor.until_asleep()
    actor.signal(signal.SIGSTOP)
    assert only().pid == actor.pid
    actor.signal(signal.SIGCONT)
    semaphore.release()
    assert actor.result()


def test_an_expired_wait_is_over() -> None:
    semaphore = Semaphore(0)
    with pytest.raises(TimedOut):
        semaphore.acquire(timeout=0.02)
    assert waits() == []
    assert semaphore.statistics().waiters == 0


def test_a_wait_for_an_object_whose_name_was_removed_is_told_by_its_kind(world: World) -> None:
    queue = Queue.create("short-lived")
    actor = world.start(queue.get)
    actor.until_asleep()
    queue.unlink()
    assert (only().name, only().file, only().kind, only().operation) == (None, None, "Queue", "get")
    queue.put(b"found all the same")
    assert actor.result() == b"found all the same"


def test_statistics_and_repr_count_waiters(world: World) -> None:
    semaphore, queue, port = Semaphore(0), Queue(4), Port()
    gate = port.gate()
    waiting: list[tuple[Semaphore | Queue | Port, Callable[[], object]]] = [
        (semaphore, semaphore.acquire),
        (queue, queue.get),
        (port, gate.call),
    ]
    for thing, operation in waiting:
        assert thing.statistics().waiters == 0
        assert "waiters" not in repr(thing)
        actors = [world.start(operation) for _ in range(2)]
        for actor in actors:
            actor.until_asleep()
        assert thing.statistics().waiters == 2
        assert "waiters 2" in repr(thing)
        if isinstance(thing, Semaphore):
            thing.release(2)
        for _ in actors:
            if isinstance(thing, Queue):
                thing.put(b"")
            elif isinstance(thing, Port):
                thing.receive().reply()
        for actor in actors:
            actor.result()
        assert thing.statistics().waiters == 0
    port.close()


# ── looking from outside ────────────────────────────────────────────────────────────────────────────────────────────

LOOK = """
import sys, underpass
space = underpass.Space.look(sys.argv[1])
print(sorted(info.name for info in space), [(w.name, w.operation) for w in space.waits()])
"""


def table_of_lives() -> str:
    """Digest the table; in another process, since one that uses the space may not open it."""
    command = ["/usr/bin/cksum", f"{Space.default().path}/.lives"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_who_looks_makes_and_claims_nothing(processes: Processes, directory: Path) -> None:
    with pytest.raises(NotFoundError, match=str(directory)):
        Space.look(str(directory))
    assert not directory.exists()

    queue = Queue.create("jobs")
    actor = processes.start(queue.get)
    actor.until_asleep()
    lives = table_of_lives()
    assert new_interpreter(LOOK, Space.default().path) == "['jobs'] [('jobs', 'get')]"
    assert table_of_lives() == lives
    queue.put(b"")
    actor.result()
    queue.unlink()


ENTER = """
import sys, underpass
from underpass import AccessDeniedError
seen = underpass.Space.look(sys.argv[1])
for forbidden in (lambda: underpass.Queue.open("jobs", space=seen), lambda: underpass.Queue.create("new", space=seen)):
    try:
        forbidden()
    except AccessDeniedError as error:
        assert "only looks" in str(error), error
    else:
        raise AssertionError("an onlooker may not")
queue = underpass.Queue.open("jobs", space=underpass.Space(sys.argv[1]))
del seen, forbidden
lease = queue.take()
print("taken", flush=True)
sys.stdin.readline()
lease.done()
"""


def test_an_onlooker_can_open_nothing_and_may_enter_later() -> None:
    queue = Queue.create("jobs")
    queue.put(b"work")
    command = [sys.executable, "-c", ENTER, Space.default().path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == "taken\n"
        # What it looked with is gone, and has not taken its life here with it.
        with pytest.raises(TimedOut):
            queue.get(timeout=0.02)
        assert [lease.pid for lease in queue.statistics().leases] == [worker.pid]
        worker.communicate("go on\n")
    assert worker.returncode == 0
    queue.join(timeout=1)
    queue.unlink()
