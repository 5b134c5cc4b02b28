"""Handles: names, and how an object reaches another process by fork, by spawn or in a message; when it goes."""

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.backends import FORK, PATIENCE, SOON, Processes, Threads
from underpass import Event, ExistsError, Gate, MismatchError, NotFoundError, Port, Queue, Semaphore, Space

World = Threads | Processes
SPAWN = multiprocessing.get_context("spawn")
Shared = Semaphore | Queue


def create_semaphore(name: str) -> Shared:
    return Semaphore.create(name, 1)


def create_queue(name: str) -> Shared:
    return Queue.create(name, 4, 64)


both = pytest.mark.parametrize(
    ("create", "kind"), [(create_semaphore, Semaphore), (create_queue, Queue)], ids=["semaphore", "queue"]
)


def copy_of(obj: Shared) -> Shared:
    """Open the handle that a message would bring."""
    return pickle.loads(pickle.dumps(obj))  # noqa: S301 - our own bytes


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@both
def test_name_is_taken_until_it_is_unlinked(create: Callable[[str], Shared], kind: type[Shared]) -> None:
    first = create("thing")
    with pytest.raises(ExistsError, match="'thing'") as caught:
        create("thing")
    assert isinstance(caught.value, FileExistsError)
    second = kind.open("thing")
    assert first.name == second.name == "thing"
    first.close()
    kind.open("thing").close()
    second.unlink()
    for missing in (second.unlink, lambda: kind.open("thing")):
        with pytest.raises(NotFoundError, match="'thing'") as gone:
            missing()
        assert isinstance(gone.value, FileNotFoundError)
        assert "thing" in gone.value.filename
    third = create("thing")
    with pytest.raises(NotFoundError, match="'thing'"):
        second.unlink()
    third.unlink()
    fourth = Event.create("thing")
    with pytest.raises(NotFoundError, match="'thing'"):
        third.unlink()
    fourth.unlink()


@both
def test_missing_name_tells_the_remedy(create: Callable[[str], Shared], kind: type[Shared]) -> None:
    del create
    with pytest.raises(NotFoundError, match="pass timeout= to wait for it"):
        kind.open("thing")
    with pytest.raises(NotFoundError, match=rf"within {SOON} s"):
        kind.open("thing", timeout=SOON)


@both
def test_open_waits_for_the_name(world: World, create: Callable[[str], Shared], kind: type[Shared]) -> None:
    opener = world.start(lambda: kind.open("thing", timeout=None).name)
    patient = world.start(lambda: kind.open("thing", timeout=PATIENCE).name)
    thing = create("thing")
    assert opener.result() == patient.result() == "thing"
    thing.unlink()


def test_other_parameters_than_the_existing_ones_are_told() -> None:
    semaphore, queue = Semaphore.create("seats", 1, limit=4), Queue.create("jobs", 4, 64, max_deliveries=3)
    assert Semaphore.open_or_create("seats", 0, limit=4).value == 1
    Queue.open_or_create("jobs", 4, 64, max_deliveries=3).put(b"x")
    assert queue.depth == 1
    with pytest.raises(MismatchError, match=r"limit=4.*limit=5"):
        Semaphore.open_or_create("seats", 1, limit=5)
    with pytest.raises(MismatchError, match=r"saturate"):
        Semaphore.open_or_create("seats", 1, limit=4, saturate=True)
    for shape in ((5, 64, 3), (4, 65, 3), (4, 64, 2), (4, 64, None)):
        with pytest.raises(MismatchError, match=r"max_deliveries=3.*max_deliveries"):
            Queue.open_or_create("jobs", shape[0], shape[1], max_deliveries=shape[2])
    semaphore.unlink()
    queue.unlink()


def test_many_open_or_create_at_once_and_one_creates(world: World) -> None:
    def enter() -> None:
        Semaphore.open_or_create("tally", 0).release()

    for actor in [world.start(enter) for _ in range(8)]:
        actor.result()
    tally = Semaphore.open("tally")
    assert tally.value == 8
    tally.unlink()


def test_many_create_at_once_and_one_wins(world: World) -> None:
    def attempt() -> bool:
        try:
            Queue.create("jobs", 4, 64)
        except ExistsError:
            return False
        return True

    assert sum(actor.result() for actor in [world.start(attempt) for _ in range(8)]) == 1
    Queue.open("jobs").unlink()


# ── to another process ──────────────────────────────────────────────────────────────────────────────────────────────


def test_gate_travels_by_name_by_pickle_and_by_fork(world: World) -> None:
    with Port.create("desk") as port:
        gate = port.gate()
        travelled: Gate = pickle.loads(pickle.dumps(gate))  # noqa: S301 - our own bytes
        for use in (gate, travelled, Gate.open("desk")):
            caller = world.start(use.call, b"x")
            port.receive().reply(b"y")
            assert caller.result() == b"y"


@pytest.mark.parametrize("make", [lambda: Semaphore(0), lambda: Queue(4, 64)], ids=["semaphore", "queue"])
def test_handle_in_a_message(processes: Processes, make: Callable[[], Shared]) -> None:
    thing, mail = make(), Queue(1, 4096)

    def receive() -> None:
        received: Shared = pickle.loads(mail.get())  # noqa: S301 - our own bytes
        if isinstance(received, Queue):
            received.put(b"x")
        else:
            received.release()

    receiver = processes.start(receive)
    mail.put(pickle.dumps(thing))
    receiver.result()
    assert (thing.depth if isinstance(thing, Queue) else thing.value) == 1
    thing.unlink()


# ── when it goes ────────────────────────────────────────────────────────────────────────────────────────────────────


def files(space: Path) -> list[str]:
    return sorted(path.name for path in space.iterdir() if path.name != ".lives")


def test_anonymous_object_goes_with_its_handle(private_space: Path) -> None:
    closed, collected = Semaphore(1), Queue(4, 64)
    assert len(files(private_space)) == 2
    assert closed.name is None
    closed.close()
    assert len(files(private_space)) == 1
    del collected
    gc.collect()
    assert files(private_space) == []


def test_pickled_object_stays_for_who_gets_the_handle(private_space: Path) -> None:
    semaphore = Semaphore(3)
    data = pickle.dumps(semaphore)
    semaphore.close()
    del semaphore
    gc.collect()
    assert len(files(private_space)) == 1
    arrived: Semaphore = pickle.loads(data)  # noqa: S301 - our own bytes
    assert arrived.value == 3
    arrived.close()
    again: Semaphore = pickle.loads(data)  # noqa: S301
    again.unlink()
    assert files(private_space) == []
    again.acquire(timeout=0)  # whoever has it mapped keeps it


def test_childs_copy_removes_nothing(processes: Processes, private_space: Path) -> None:
    semaphore = Semaphore(1)

    def drop() -> None:
        nonlocal semaphore
        semaphore.close()
        del semaphore
        gc.collect()

    processes.start(drop).result()
    assert len(files(private_space)) == 1
    assert semaphore.acquire(timeout=0)


def test_vanished_object_names_its_living_creator() -> None:
    semaphore = Semaphore(1)
    data = pickle.dumps(semaphore)
    semaphore.unlink()
    with pytest.raises(NotFoundError, match=rf"pid {os.getpid()}, closed or unlinked it"):
        pickle.loads(data)  # noqa: S301 - our own bytes


def test_vanished_object_names_its_dead_creator(processes: Processes) -> None:
    mail, never = Queue(1, 4096), processes.flag()

    def create() -> None:
        semaphore = Semaphore(1)
        mail.put(pickle.dumps(semaphore))
        never.wait()

    creator = processes.start(create)
    data = mail.get()
    semaphore: Semaphore = pickle.loads(data)  # noqa: S301 - our own bytes
    creator.kill()
    assert len(Space.default().sweep()) == 1
    semaphore.acquire(timeout=0)
    with pytest.raises(NotFoundError, match=rf"pid {creator.pid}, has died and what it left was swept"):
        pickle.loads(data)  # noqa: S301


@both
def test_handle_means_one_incarnation(create: Callable[[str], Shared], kind: type[Shared]) -> None:
    first = create("thing")
    data = pickle.dumps(first)
    assert isinstance(copy_of(first), kind)
    first.unlink()
    second = create("thing")
    with pytest.raises(NotFoundError, match="is gone"):
        pickle.loads(data)  # noqa: S301 - our own bytes
    second.unlink()


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise LookupError", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_nothing_anonymous_is_left_at_a_process_end(private_space: Path, end: str) -> None:
    script = f"import os, pickle, signal, sys, underpass; o = underpass.Semaphore(1); pickle.dumps(o); {end}"
    code = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode
    if code == -signal.SIGTERM:  # no exit handlers run: who enters next sweeps
        assert len(files(private_space)) == 1
        Space.default()
    assert files(private_space) == []


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_child_of_multiprocessing_leaves_at_most_what_is_swept(private_space: Path) -> None:
    def make() -> None:
        kept = Semaphore(1)
        pickle.dumps(kept)

    child = FORK.Process(target=make)
    child.start()
    child.join()
    child.close()
    Space.default().sweep()
    assert files(private_space) == []
