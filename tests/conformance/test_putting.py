"""`putting` of a queue and of a pipe: what a block registers it takes back, whatever happens meanwhile."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.conformance.backends import Threads, sleeps_in_library, until
from underpass import Mutex, Pipe, Queue

# Where an object's words begin in its file; the first of a mutex names its owner, of a pipe and a queue who has the putters' side.
WORDS = 384


def first_word(file: Path) -> bytes:
    return file.read_bytes()[WORDS:][:4]


def write_first_word(file: Path, word: bytes) -> None:
    with file.open("r+b", buffering=0) as stream:
        stream.seek(WORDS)
        stream.write(word)


def registered(it: Pipe | Queue) -> int:
    return it.statistics().putters if isinstance(it, Queue) else it.statistics().writers


@pytest.mark.parametrize("kind", [Pipe, Queue])
def test_a_registration_ends_though_a_handler_raises(
    kind: type[Pipe] | type[Queue], private_space: Path, threads: Threads
) -> None:
    it, other, held, over = kind.create("it", 8), Mutex.create("other"), threading.Event(), threading.Event()

    me = threading.get_native_id()

    def hold() -> None:
        with other:
            held.set()
            over.wait()

    def put_and_leave() -> None:
        with it.putting():
            assert registered(it) == 1
            # As if that thread were in the middle of a long copy.
            write_first_word(private_space / "it", first_word(private_space / "other"))
            threads.start(interrupt)

    def interrupt() -> None:
        until(lambda: sleeps_in_library(os.getpid(), me), "the sleep of the main thread")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def give_back_and_raise(_number: int, _frame: object) -> None:
        write_first_word(private_space / "it", bytes(4))
        raise KeyError("told")

    holder = threads.start(hold)
    held.wait()
    before = signal.signal(signal.SIGUSR1, give_back_and_raise)
    try:
        with pytest.raises(KeyError, match="told"):
            put_and_leave()
        assert registered(it) == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
        over.set()
    holder.result()
    it.unlink()
    other.unlink()
