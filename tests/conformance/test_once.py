"""Once: what `pthread_once` and Rust's `Once` promise, and what an exception and a death do."""

import os
import pickle
import re
import signal
import time
from contextlib import suppress

import pytest

from tests.conformance.backends import SOON, Processes, Threads, until
from underpass import (
    AtomicInt,
    ClosedError,
    MismatchError,
    MisuseError,
    Mutex,
    Once,
    OwnerDiedError,
    Semaphore,
    TimedOut,
)

World = Threads | Processes


class WrongError(Exception):
    """What a function raises."""


def fail() -> None:
    raise WrongError


def fail_in_a_block(once: Once) -> OwnerDiedError | None:
    """Begin it, and leave the block by an exception; who had died."""
    died: OwnerDiedError | None = None
    with suppress(WrongError), once.running() as turn:
        assert turn is not None
        died = turn.died
        fail()
    return died


def test_it_runs_once() -> None:
    once, ran = Once(), list[int]()
    assert not once.done
    assert once.call(lambda: ran.append(1)) is True
    assert once.done
    assert once.call(lambda: ran.append(2)) is False
    assert ran == [1]


def test_one_of_many_runs_it(world: World) -> None:
    once, runs, ready = Once(), AtomicInt(), AtomicInt()

    def run() -> None:
        runs.add(1)
        ready.store(1)

    def call() -> bool:
        did = once.call(run)
        # What it has done is there for all.
        assert ready.load() == 1
        return did

    actors = [world.start(call) for _ in range(5)]
    assert sorted(actor.result() for actor in actors) == [False] * 4 + [True]
    assert runs.load() == 1


def test_others_wait_until_it_has_run(world: World) -> None:
    once, go = Once(), world.flag()
    runner = world.start(once.call, go.wait)
    until(lambda: once.statistics().state == "running", "the run")
    waiters = [world.start(once.call, fail) for _ in range(2)]
    for waiter in waiters:
        waiter.until_asleep()
    assert once.statistics().waiters >= 2
    go.raise_()
    assert runner.result() is True
    assert [waiter.result() for waiter in waiters] == [False, False]


def test_an_exception_leaves_it_to_the_next() -> None:
    once = Once()
    with pytest.raises(WrongError):
        once.call(fail)
    assert (once.done, once.statistics().state) == (False, "new")
    assert fail_in_a_block(once) is None
    assert once.call(lambda: None) is True


def test_an_exception_lets_one_who_waits_run_it(world: World) -> None:
    once, go = Once(), world.flag()

    def wait_and_fail() -> None:
        go.wait()
        raise WrongError

    first = world.start(once.call, wait_and_fail)
    until(lambda: once.statistics().state == "running", "the run")
    second = world.start(once.call, lambda: None)
    second.until_asleep()
    go.raise_()
    with pytest.raises(WrongError):
        first.result()
    assert second.result() is True


def test_a_block_gets_its_turn_or_none() -> None:
    once = Once()
    with once.running(timeout=1) as turn:
        assert repr(turn) == "OnceTurn(died=None)"
        assert not once.done
        assert once.statistics().state == "running"
    assert once.done
    with once.running() as turn:
        assert turn is None
    with pytest.raises(WrongError), once.running():
        raise WrongError
    assert once.done


def test_a_function_may_not_call_its_own() -> None:
    once = Once()
    with pytest.raises(MisuseError, match="this thread is running it"):
        once.call(lambda: once.call(fail))
    assert once.call(lambda: None) is True


def test_what_is_no_function_is_refused_and_leaves_it() -> None:
    once = Once()
    with pytest.raises(TypeError):
        once.call(5)  # pyright: ignore[reportArgumentType]
    assert once.statistics().state == "new"


@pytest.mark.parametrize("timeout", [0, SOON])
def test_time_out_names_who_runs_it(processes: Processes, timeout: float) -> None:
    once, go, begun = Once(), processes.flag(), processes.flag()

    def run() -> None:
        begun.raise_()
        go.wait()

    runner = processes.start(once.call, run)
    begun.wait()
    start = time.monotonic()
    with pytest.raises(TimedOut, match=f"within {timeout}(.0)? s: run by pid {runner.pid} "):
        once.call(fail, timeout=timeout)
    assert time.monotonic() - start >= timeout
    with pytest.raises(TimedOut):
        once.running(timeout=timeout).__enter__()
    go.raise_()
    assert runner.result() is True


def test_when_the_runner_dies_one_who_waits_takes_over(mortals: Processes) -> None:
    once, begun = Once(), mortals.flag()

    def run() -> None:
        begun.raise_()
        mortals.rest()

    def take_over() -> int:
        with once.running() as turn:
            assert turn is not None
            assert isinstance(turn.died, OwnerDiedError)
            return turn.died.pid
        return 0

    dying = mortals.start(once.call, run)
    begun.wait()
    waiter = mortals.start(take_over)
    waiter.until_asleep()
    dying.kill()
    assert waiter.result() == dying.pid
    assert once.done


def test_when_the_runner_died_the_next_who_comes_is_told_until_one_has_run_it(mortals: Processes) -> None:
    once, begun = Once(), mortals.flag()

    def run() -> None:
        begun.raise_()
        mortals.rest()

    dying = mortals.start(once.call, run)
    begun.wait()
    dying.kill()
    assert (once.done, once.statistics().state) == (False, "runner died")
    assert isinstance(fail_in_a_block(once), OwnerDiedError)
    with once.running() as turn:
        assert turn is not None
        assert turn.died is not None
        assert "died while holding it" in str(turn.died)
    assert once.done
    assert once.call(fail) is False


def test_a_death_after_it_has_run_is_nobodys_business(processes: Processes) -> None:
    once = Once()
    runner = processes.start(once.call, int)
    assert runner.result() is True
    with once.running() as turn:
        assert turn is None


def test_ctrl_c_ends_a_wait(processes: Processes) -> None:
    once, begun, go = Once(), processes.flag(), processes.flag()

    def run() -> None:
        begun.raise_()
        go.wait()

    runner = processes.start(once.call, run)
    begun.wait()
    waiter = processes.start(once.call, fail)
    waiter.until_asleep()
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    go.raise_()
    assert runner.result() is True


def test_by_name() -> None:
    once = Once.create("set-up")
    other = Once.open("set-up")
    other.call(int)
    assert once.done
    assert Once.open_or_create("set-up").done
    with pytest.raises(MismatchError):
        Mutex.open("set-up")
    with pytest.raises(MismatchError):
        Semaphore.open("set-up")
    assert repr(once) == "<Once 'set-up', done>"
    other.unlink()


def test_closed_handle_refuses_and_a_turn_that_has_begun_ends() -> None:
    once = Once.create("set-up")
    other = Once.open("set-up")
    with once.running():
        once.close()
    assert other.done
    with pytest.raises(ClosedError, match="'set-up'"):
        once.call(int)
    with pytest.raises(ClosedError, match="'set-up'"):
        once.running().__enter__()
    assert repr(once) == "<Once 'set-up', done, closed>"
    other.unlink()


def test_repr_and_statistics() -> None:
    once = Once.create("set-up")
    assert repr(once) == "<Once 'set-up', new>"
    assert repr(once.statistics()) == "OnceStatistics(state='new', waiters=0)"
    with once.running():
        who = rf"thread {os.getpid()} of this process \(test_once.py:\d+\) for [\d.]+ s"
        assert re.fullmatch(rf"<Once 'set-up', run by {who}>", repr(once))
        runner = once.statistics().runner
        assert runner is not None
        assert (runner.pid, runner.alive, once.statistics().state) == (os.getpid(), True, "running")
        assert runner.held_for is not None
        assert str(runner.line).startswith("test_once.py:")
    assert (once.statistics().state, once.statistics().waiters) == ("done", 0)
    assert once.statistics().runner is None
    once.unlink()


def test_pickled_handle_is_the_same_once() -> None:
    once = Once()
    other: Once = pickle.loads(pickle.dumps(once))  # noqa: S301 - our own bytes
    other.call(int)
    assert once.done
    once.unlink()
