"""Handles on their way: to children of every start method, pools, queues, programs that know a name; and handed on."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.backends import FORK, PATIENCE, apart, new_interpreter
from underpass import Gate, NotFoundError, Port, Queue, Semaphore, Space

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

METHODS = ("fork", "spawn", "forkserver")
# multiprocessing's contexts share no type that knows both Process and Pool.
Context = Any

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest, private_space: Path) -> Iterator[Context]:
    """Start processes by each method. The tests run `apart`: what a method leaves running ends with them."""
    assert private_space.exists()
    yield multiprocessing.get_context(request.param)
    Space.default().sweep()  # what they left, which end without exit handlers


def files(space: Path) -> list[str]:
    return sorted(path.name for path in space.iterdir() if path.name != ".lives")


def unpickled(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - our own bytes


# ── children ────────────────────────────────────────────────────────────────────────────────────────────────────────


def use_all(handles: tuple[Semaphore, Queue, Queue, Gate, Space], answer: Connection) -> None:
    """Use every kind of handle."""
    seats, jobs, letters, gate, space = handles
    seats.release()
    with jobs.take(timeout=PATIENCE) as job:
        job.put_back()
    named = Semaphore.open("named", space=space)
    named.release()
    answer.send((letters.get(timeout=PATIENCE), gate.call(b"from the child", timeout=PATIENCE), space.path, seats.name))
    answer.close()


@apart
def test_every_handle_reaches_a_child(context: Context) -> None:
    receiver, sender = context.Pipe(duplex=False)
    seats, jobs, named = Semaphore(0), Queue(4, 64, max_deliveries=1), Semaphore.create("named", 0)
    jobs.put(b"poison")
    with Port() as port:
        handles = (seats, jobs, jobs.dead_letters, port.gate(), Space.default())
        child = context.Process(target=use_all, args=(handles, sender))
        child.start()
        sender.close()
        request = port.receive(timeout=PATIENCE)
        assert request.peer.pid == child.pid or context.get_start_method() == "forkserver"
        request.reply(request.data.upper())
        assert receiver.recv() == (b"poison", b"FROM THE CHILD", Space.default().path, None)
        child.join()
    assert (child.exitcode, seats.value, named.value, jobs.depth) == (0, 1, 1, 0)
    named.unlink()


def work(jobs: Queue, done: Semaphore, message: bytes) -> tuple[int, Semaphore]:
    """Put a message; make an object, and return its handle."""
    jobs.put(message)
    done.release()
    return os.getpid(), Semaphore(len(message))


@apart
def test_handles_as_arguments_and_results_of_an_executor(context: Context) -> None:
    jobs, done = Queue(16, 64), Semaphore(0)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(work, jobs, done, b"x" * size) for size in (1, 2, 3, 4)]
        results = [future.result(PATIENCE) for future in futures]
        # What a worker made lives as long as the worker.
        assert [made.value for _, made in results] == [1, 2, 3, 4]
        assert os.getpid() not in {pid for pid, _ in results}
    assert (done.value, sorted(jobs.get_many())) == (4, [b"x", b"xx", b"xxx", b"xxxx"])


@apart
def test_handles_as_arguments_and_results_of_a_pool(context: Context) -> None:
    jobs, done = Queue(16, 64), Semaphore(0)
    with context.Pool(2) as pool:
        results = pool.starmap(work, [(jobs, done, b"x" * size) for size in (1, 2, 3, 4)])
        assert [made.value for _, made in results] == [1, 2, 3, 4]
    assert (done.value, jobs.depth) == (4, 4)


_given: list[Queue] = []


def initialise(jobs: Queue) -> None:
    """Keep what the pool's initialiser was given."""
    _given.append(jobs)


def put(message: bytes) -> None:
    _given[0].put(message)


@apart
def test_handle_as_argument_of_a_pools_initialiser(context: Context) -> None:
    jobs = Queue(16, 64)
    with context.Pool(2, initializer=initialise, initargs=(jobs,)) as pool:
        pool.map(put, [b"a", b"b", b"c"])
    assert sorted(jobs.get_many()) == [b"a", b"b", b"c"]


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def answer_all(mail: Any, answers: Queue) -> None:
    """Release or put to each handle that comes, until None does."""
    for handle in iter(mail.get, None):
        if isinstance(handle, Queue):
            handle.put(b"x")
        else:
            handle.release()
        answers.put(b"done")


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue", "JoinableQueue"])
@apart
def test_handles_through_a_queue_of_multiprocessing(context: Context, kind: str) -> None:
    mail, answers = getattr(context, kind)(), Queue(4, 16)
    things: list[Queue | Semaphore] = [Queue(4, 16), Semaphore(0)]
    child = context.Process(target=answer_all, args=(mail, answers))
    child.start()
    for thing in things:
        mail.put(thing)
        assert answers.get(timeout=PATIENCE) == b"done"
    mail.put(None)
    child.join()
    queue, semaphore = things
    assert isinstance(queue, Queue)
    assert isinstance(semaphore, Semaphore)
    assert (queue.depth, semaphore.value) == (1, 1)


def test_pickled_part_keeps_the_whole(private_space: Path) -> None:
    """A handle of the dead letters is a handle of their queue."""
    script = """
import gc, pickle, sys, underpass
jobs = underpass.Queue(4, 64, max_deliveries=1)
jobs.put(b"poison")
jobs.take().put_back()
data = pickle.dumps(jobs.dead_letters)
del jobs
gc.collect()
print(pickle.loads(data).get(timeout=0))
"""
    assert new_interpreter(script) == "b'poison'"
    assert files(private_space) == []


# ── programs that know a name ───────────────────────────────────────────────────────────────────────────────────────


def test_unrelated_program_knows_the_name(tmp_path: Path) -> None:
    jobs, seats = Queue.create("shop/jobs", 4, 64), Semaphore.create("shop/seats", 1)
    script = tmp_path / "program.py"
    script.write_text("""
import underpass
jobs, seats = underpass.Queue.open("shop/jobs"), underpass.Semaphore.open("shop/seats")
seats.acquire()
jobs.put(jobs.get().upper())
seats.release()
""")
    jobs.put(b"order")
    subprocess.run([sys.executable, str(script)], check=True, cwd="/", stdin=subprocess.DEVNULL)
    assert (jobs.get(), seats.value) == (b"ORDER", 1)
    jobs.unlink()
    seats.unlink()


@apart
def test_program_elsewhere_gets_a_handle_of_a_relative_space(
    private_space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(private_space)
    space = Space("beside")
    assert space.path == f"{private_space}/beside"
    queue = Queue.create("jobs", 4, 64, space=space)
    script = "import os, pickle, sys; os.chdir('/'); pickle.loads(bytes.fromhex(sys.argv[1])).put(b'x')"
    new_interpreter(script, pickle.dumps(queue).hex())
    monkeypatch.chdir("/")
    assert queue.get(timeout=0) == b"x"
    Queue.create("another", 4, 64, space=space).unlink()
    space.remove()


def test_handle_of_a_space_that_is_gone_makes_none(private_space: Path) -> None:
    place = private_space / "removed"
    script = """
import pickle, sys, underpass
queue = underpass.Queue.create("jobs", space=underpass.Space(sys.argv[1]))
print(pickle.dumps(queue).hex())
"""
    data = bytes.fromhex(new_interpreter(script, str(place)))
    shutil.rmtree(place)
    with pytest.raises(NotFoundError, match="removed"):
        pickle.loads(data)  # noqa: S301 - our own bytes
    assert not place.exists()


# ── a parent that drops its handle at once ──────────────────────────────────────────────────────────────────────────


def use(queue: Queue) -> bool:
    queue.put(b"x")
    return queue.get(timeout=0) == b"x"


def hand_on(queue: Queue, go: Connection, answer: Connection) -> None:
    """Use an object whose creator has dropped it, alone and with a child of our own; try to hand it on."""
    assert go.poll(PATIENCE)
    used = use(queue)
    inherited = FORK.Process(target=use_or_fail, args=(queue,))
    inherited.start()
    inherited.join()
    try:
        handed = pickle.dumps(queue)
    except NotFoundError as error:
        answer.send((used, inherited.exitcode, str(error)))
    else:
        script = (
            "import pickle, sys; q = pickle.loads(bytes.fromhex(sys.argv[1])); q.put(b'x'); print(q.get(timeout=0))"
        )
        answer.send((used, inherited.exitcode, new_interpreter(script, handed.hex())))


def use_or_fail(queue: Queue) -> None:
    assert use(queue)


@apart
def test_parent_drops_its_handle_before_the_child_uses_it(context: Context, private_space: Path) -> None:
    go, to_go = context.Pipe(duplex=False)
    answer, to_answer = context.Pipe(duplex=False)
    child = context.Process(target=hand_on, args=(Queue(4, 16), go, to_answer))
    child.start()
    gc.collect()
    forked = context.get_start_method() == "fork"
    assert len(files(private_space)) == (0 if forked else 1), "what was pickled stays until its creator's end"
    to_go.send("go")
    used, inherited, handed = answer.recv()
    assert (used, inherited) == (True, 0)
    if forked:
        assert f"its creator, pid {os.getpid()}, dropped it" in handed
    else:
        assert handed == "b'x'"
    child.join()


def test_creator_ends_before_the_child_opened_it(private_space: Path) -> None:
    """The child is told who made it."""
    script = "import os, pickle, underpass; print(os.getpid(), pickle.dumps(underpass.Queue(4, 16)).hex())"
    pid, data = new_interpreter(script).split()
    assert files(private_space) == []
    with pytest.raises(NotFoundError, match=rf"its creator, pid {pid}, has died"):
        pickle.loads(bytes.fromhex(data))  # noqa: S301 - our own bytes
