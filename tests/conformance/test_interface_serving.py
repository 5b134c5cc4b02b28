"""The server's side of typed calls: one-way methods, several threads, and how serving ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.conformance.backends import PATIENCE, Processes, Threads, until
from underpass import (
    CallAbortedError,
    Interface,
    NotFoundError,
    PeerDiedError,
    Port,
    Queue,
    RemoteError,
    Semaphore,
    Space,
    TimedOut,
    connect,
    fail_after,
    oneway,
    serve,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Generator

World = Threads | Processes


class Diary(Interface):
    @oneway
    def note(self, text: str) -> None:
        raise NotImplementedError

    @oneway
    def burn(self, pages: int) -> None:
        raise NotImplementedError

    @oneway
    def paste(self, picture: bytes, *, page: int = 1) -> None:
        raise NotImplementedError

    def read(self) -> list[str]:
        raise NotImplementedError


class Book(Diary):
    """Waits for a permit before it writes."""

    def __init__(self) -> None:
        self.permits = Semaphore.open("permits")
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.permits.acquire()
        self.notes.append(text)

    def burn(self, pages: int) -> None:
        raise OSError(f"{pages} pages do not burn")

    def paste(self, picture: bytes, *, page: int = 1) -> None:
        self.notes.append(f"{picture!r} on {page}")

    def read(self) -> list[str]:
        return self.notes


@pytest.fixture
def permits() -> Generator[Semaphore]:
    semaphore = Semaphore.create("permits", 0)
    yield semaphore
    semaphore.unlink()


@contextlib.contextmanager
def diary_in(world: World) -> Generator[Diary]:
    stop = world.flag()

    def run() -> None:
        with serving(Book(), at="diary"):
            stop.wait()

    server = world.start(run)
    with connect(Diary, "diary", timeout=PATIENCE) as diary:
        yield diary
    stop.raise_()
    server.result()


# ── one-way ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_one_way_call_returns_before_the_method_has_run(world: World, permits: Semaphore) -> None:
    with diary_in(world) as diary:
        diary.note("dear diary")
        # Nobody could have written it yet.
        permits.release()
        assert diary.read() == ["dear diary"]
        diary.paste(b"x", page=3)
        assert diary.read()[1:] == ["b'x' on 3"]


def test_one_way_calls_keep_their_order(world: World, permits: Semaphore) -> None:
    texts = [str(number) for number in range(200)]
    permits.release(200)
    with diary_in(world) as diary:
        for text in texts:
            diary.note(text)
        assert diary.read() == texts


def test_wrong_arguments_of_a_one_way_call_are_its_callers_error(world: World, permits: Semaphore) -> None:
    del permits
    with diary_in(world) as diary, pytest.raises(TypeError, match=r"@oneway note\(text: str\) -> None"):
        cast("Any", diary).note(1)


def test_what_a_one_way_method_raises_is_logged_and_the_server_goes_on(
    permits: Semaphore, caplog: pytest.LogCaptureFixture
) -> None:
    permits.release()
    with caplog.at_level(logging.ERROR, "underpass"), serving(Book(), at="diary"):
        diary = connect(Diary, "diary")
        diary.burn(7)
        diary.note("still here")
        assert diary.read() == ["still here"]
    (record,) = caplog.records
    assert record.getMessage() == f"Diary.burn, a one-way call of pid {os.getpid()}, raised"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "7 pages do not burn"
    del record
    caplog.clear()  # the traceback holds the request


def test_a_one_way_call_to_a_dead_server_is_an_error(processes: Processes, permits: Semaphore) -> None:
    del permits
    server = processes.start(lambda: serve(Book(), at="diary"))
    diary = connect(Diary, "diary", timeout=PATIENCE)
    diary.paste(b"")
    server.kill()
    with pytest.raises(PeerDiedError):
        diary.paste(b"")
    Port.create("diary").close()


def test_one_way_is_part_of_the_schema_and_is_inherited(permits: Semaphore) -> None:
    permits.release()
    with serving(Book(), at="diary"):
        book = connect(Book, "diary")
        book.note("as a book")
        assert connect(Diary, "diary").read() == ["as a book"]


def test_a_one_way_method_has_no_result() -> None:
    def answer(self: object) -> int: ...

    with pytest.raises(TypeError, match=r"Bad\.answer: nobody waits .*-> None"):
        connect(type("Bad", (Interface,), {"answer": oneway(cast("Any", answer))}), "nowhere")


# ── several threads ─────────────────────────────────────────────────────────────────────────────────────────────────


class Meeting(Interface):
    def __init__(self, parties: int = 1) -> None:
        self._barrier = threading.Barrier(parties, timeout=PATIENCE)

    def meet(self) -> int:
        """Return once as many calls as parties are inside."""
        return self._barrier.wait()

    def leave(self) -> None:
        raise SystemExit(3)

    def hang(self) -> None:
        raise NotImplementedError


def test_threads_carry_out_as_many_calls_at_a_time(world: World) -> None:
    stop = world.flag()

    def run() -> None:
        with serving(Meeting(3), at="meeting", threads=3):
            stop.wait()

    server = world.start(run)
    connect(Meeting, "meeting", timeout=PATIENCE)
    callers = [world.start(lambda: connect(Meeting, "meeting").meet()) for _ in range(3)]
    assert sorted(caller.result() for caller in callers) == [0, 1, 2]
    stop.raise_()
    server.result()


def test_serve_takes_part_itself(threads: Threads) -> None:
    with Port.create("meeting") as port:
        server = threads.start(lambda: serve(Meeting(2), at=port, threads=2))
        callers = [threads.start(lambda: connect(Meeting, "meeting").meet()) for _ in range(2)]
        assert sorted(caller.result() for caller in callers) == [0, 1]
        port.close()
        server.result()


@pytest.mark.parametrize("threads_", [1, 4])
def test_an_exception_that_ends_one_thread_ends_the_server(threads: Threads, threads_: int) -> None:
    server = threads.start(lambda: serve(Meeting(), at="meeting", threads=threads_))
    client = connect(Meeting, "meeting", timeout=PATIENCE)
    with pytest.raises((CallAbortedError, PeerDiedError)):
        client.leave()
    with pytest.raises(SystemExit):
        server.result()
    with pytest.raises(NotFoundError):
        connect(Meeting, "meeting")


@pytest.mark.parametrize("threads_", [0, -1])
def test_nobody_serves_with_no_threads(threads_: int) -> None:
    with pytest.raises(ValueError, match="threads="):
        serve(Meeting(), at="meeting", threads=threads_)
    with pytest.raises(ValueError, match="threads="), serving(Meeting(), at="meeting", threads=threads_):
        pass
    assert list(Space.default()) == []


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PROGRAM = """
import sys, underpass
class Desk(underpass.Interface):
    def greet(self) -> int:
        return 1
    def wait(self) -> int:
        underpass.Semaphore.open("inside").release()
        return underpass.Semaphore(0).acquire()
try:
    {serve}
except KeyboardInterrupt:
    print("interrupted", len(list(underpass.Space.default())))
"""
SERVE = 'underpass.serve(Desk(), at="desk", threads={threads})'
SERVING = 'with underpass.serving(Desk(), at="desk", threads={threads}): underpass.Semaphore(0).acquire()'


class Desk(Interface):
    def greet(self) -> int:
        raise NotImplementedError

    def wait(self) -> int:
        raise NotImplementedError


@pytest.mark.parametrize("threads_", [1, 3])
def test_ctrl_c_removes_the_name_and_ends_the_program(threads_: int) -> None:
    program = PROGRAM.format(serve=SERVE.format(threads=threads_))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert connect(Desk, "desk", timeout=PATIENCE).greet() == 1
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=PATIENCE)[0] == "interrupted 0\n"
        assert server.returncode == 0
    with pytest.raises(NotFoundError):
        connect(Desk, "desk")


def test_ctrl_c_in_the_middle_of_a_call_tells_its_caller(threads: Threads) -> None:
    inside = Semaphore.create("inside", 0)
    program = PROGRAM.format(serve=SERVE.format(threads=1))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        desk = connect(Desk, "desk", timeout=PATIENCE)
        caller = threads.start(desk.wait)
        inside.acquire()
        server.send_signal(signal.SIGINT)
        # The semaphore is of the test, what remains of the server is nothing.
        assert server.communicate(timeout=PATIENCE)[0].startswith("interrupted")
        with pytest.raises((CallAbortedError, PeerDiedError)):
            caller.result()
    inside.unlink()


def test_ctrl_c_leaves_serving(threads: Threads) -> None:
    del threads
    program = PROGRAM.format(serve=SERVING.format(threads=2))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        connect(Desk, "desk", timeout=PATIENCE)
        until(lambda: len(list(Space.default())) == 2, "the program waits")
        server.send_signal(signal.SIGINT)
        output = server.communicate(timeout=PATIENCE)[0]
    assert output.startswith("interrupted")


class Endless(Meeting):
    def __init__(self) -> None:
        super().__init__()
        self.block = Queue()

    def hang(self) -> None:
        self.block.get()


def test_fail_after_bounds_a_call() -> None:
    meeting = Endless()
    with serving(meeting, at="meeting"):
        client = connect(Meeting, "meeting")
        phase = "send"
        while phase == "send":  # a slow machine had not let the server take it by then
            with pytest.raises(TimedOut, match=r"fail_after\(0.02\)") as caught, fail_after(0.02):
                client.hang()
            phase = caught.value.phase
        assert phase == "receive"
        meeting.block.put(b"go on")


class Patient(Meeting):
    def hang(self) -> None:
        with fail_after(0.02):
            Queue().get()


def test_what_times_out_in_a_method_reaches_the_caller(world: World) -> None:
    stop = world.flag()

    def run() -> None:
        with serving(Patient(), at="meeting"):
            stop.wait()

    server = world.start(run)
    with pytest.raises(RemoteError, match="fail_after") as caught:
        connect(Meeting, "meeting", timeout=PATIENCE).hang()
    assert caught.value.type == "underpass.errors.TimedOut"
    stop.raise_()
    server.result()


def test_reprs_say_who_implements_what() -> None:
    class Both(Desk, Diary):
        pass

    assert repr(Meeting()) == "<Meeting>"
    assert repr(Patient()) == "<Patient, an implementation of Meeting>"
    assert repr(Both()) == "<Both, an implementation of Desk and Diary>"
