"""The real objects in the lab: what they promise holds in every schedule that is tried."""

from contextlib import suppress

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import NotFoundError, Semaphore, TimedOut, WouldBlock, lab
from underpass.data import Stack
from underpass.lab import Verdict, World, models
from underpass.lab.judge import judge
from underpass.lab.search import Searcher, Tally
from underpass.lab.settings import Settings
from underpass.lab.stage import Stage
from underpass.sync import Latch

SCHEDULES = 2_000


def test_semaphore_excludes() -> None:
    def program(world: World) -> None:
        seat = underpass.Semaphore(1)
        inside: list[int] = []

        def visit(who: int) -> None:
            seat.acquire()
            inside.append(who)
            assert inside == [who]
            inside.remove(who)
            seat.release()

        world.process(visit, 0)
        world.process(visit, 1)
        world.at_end(lambda: seat.value == 1)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_semaphore_times_out_or_is_acquired_never_neither() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        unit = underpass.Semaphore(0)
        result: list[str] = []

        def take() -> None:
            try:
                unit.acquire(timeout=5)
                result.append("acquired")
            except underpass.TimedOut:
                result.append("timed out")

        def check() -> None:
            outcomes.add(result[0])
            # The unit is with the taker or still there: a time-out that races with the release loses nothing.
            assert unit.value == (0 if result[0] == "acquired" else 1)

        world.process(take)
        world.process(unit.release)
        world.at_end(check)

    lab.explore(program, schedules=SCHEDULES, seed=1)
    assert outcomes == {"acquired", "timed out"}


def test_queue_of_one_slot_keeps_order() -> None:
    def program(world: World) -> None:
        queue = underpass.Queue(1, 8)
        got: list[bytes] = []

        def put() -> None:
            queue.put(b"one")
            queue.put(b"two")

        def get() -> None:
            got.append(queue.get())
            got.append(queue.get())

        world.process(put)
        world.process(get)
        world.at_end(lambda: got == [b"one", b"two"] and queue.depth == 0)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_lease_put_back_reaches_the_other_getter() -> None:
    def program(world: World) -> None:
        queue = underpass.Queue(1, 8)
        queue.put(b"job")
        got: list[int] = []

        def take() -> None:
            lease = queue.take()
            if lease.deliveries == 1:
                lease.put_back()
            else:
                got.append(lease.deliveries)
                lease.done()

        world.process(take)
        world.process(take)
        world.at_end(lambda: got == [2] and queue.depth == 0)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_lease_of_the_dead_is_delivered_again() -> None:
    deliveries: set[int] = set()

    def program(world: World) -> None:
        queue = underpass.Queue(1, 8)
        queue.put(b"job")
        done: list[int] = []

        def take() -> None:
            try:
                with queue.take() as lease:
                    done.append(lease.deliveries)
            except underpass.EndOfStream:
                pass

        def check() -> None:
            deliveries.update(done)
            assert queue.depth == 0

        world.process(take)
        world.process(take, mortal=False)
        world.process(lambda: (queue.join(), queue.shutdown()), mortal=False)
        world.at_end(check)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert deliveries == {1, 2}


def test_a_reset_tells_also_who_is_about_to_sleep() -> None:
    """Whoever comes after it announces itself with the same word again."""

    def program(world: World) -> None:
        permits = underpass.Semaphore(0)

        def wait() -> None:
            with suppress(underpass.ResetError):
                permits.acquire()

        def reset() -> None:
            permits.reset()
            with suppress(underpass.TimedOut):
                permits.acquire(timeout=1)

        world.process(wait)
        world.process(reset)

    def untold(stage: Stage, end: str) -> Verdict | None:
        """One that comes after the reset waits for ever, and that is right."""
        verdict = judge(stage, end)
        return None if verdict is None or verdict.kind == "deadlock" else verdict

    tally = Tally()
    Searcher(program, Settings(), judge=untold).run("portfolio", 1, SCHEDULES, tally, lambda _: None)
    assert tally.found is None
    assert tally.schedules == SCHEDULES


def test_mutex_excludes() -> None:
    def program(world: World) -> None:
        door = underpass.Mutex(recursive=True)
        inside: list[int] = []

        def visit(who: int) -> None:
            with door, door.recovering() as died:
                assert died is None
                inside.append(who)
                assert inside == [who]
                inside.remove(who)

        world.process(visit, 0)
        world.process(visit, 1)
        world.at_end(lambda: door.owner is None)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_mutex_times_out_or_is_held_never_neither() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        door = underpass.Mutex()

        def visit() -> None:
            try:
                with door.holding(timeout=5):
                    outcomes.add("held")
            except underpass.TimedOut:
                outcomes.add("timed out")

        def check() -> None:
            assert door.owner is None
            assert door.statistics().state != "owner died"

        world.process(visit)
        world.process(visit)
        world.at_end(check)

    lab.explore(program, schedules=SCHEDULES, seed=1)
    assert outcomes == {"held", "timed out"}


def test_mutex_tells_of_its_owner_s_death() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        door = underpass.Mutex()

        def visit() -> None:
            with door.recovering() as died:
                outcomes.add("recovered" if died else "held")

        world.process(visit)
        world.process(visit, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert outcomes == {"held", "recovered"}


def test_a_name_and_the_wake_of_those_who_wait_for_it_are_one_act() -> None:
    """On Linux the directory tells them: whoever makes it cannot die between the two."""

    def program(world: World) -> None:
        def is_there() -> bool:
            with suppress(NotFoundError):
                Semaphore.open("name").close()
                return True
            return False

        world.process(lambda: Semaphore.create("name", 1), name="make")
        use = world.process(lambda: Semaphore.open("name", timeout=None), name="use", servant=True, mortal=False)
        world.at_end(lambda: not (world.asleep(use) and is_there()))

    lab.explore(program, schedules=500, kills=1, seed=1)


def test_once_is_run_to_its_end_by_exactly_one() -> None:
    outcomes: set[tuple[int, int]] = set()

    def program(world: World) -> None:
        once, begun, ended = underpass.Once(), underpass.AtomicInt(), underpass.AtomicInt()

        def run() -> None:
            begun.add(1)
            ended.add(1)

        def call() -> None:
            once.call(run)
            assert ended.load() >= 1

        world.process(call)
        world.process(call, mortal=False)
        world.process(call, mortal=False)
        world.at_end(lambda: outcomes.add((begun.load(), ended.load())) or once.done)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    # Who died may have begun, and even have come to the end of its function.
    assert outcomes == {(1, 1), (2, 1), (2, 2)}


def test_a_latch_lets_all_go_whoever_dies() -> None:
    outcomes: set[int] = set()

    def program(world: World) -> None:
        latch, passed = Latch(2), underpass.AtomicInt()

        def wait() -> None:
            with suppress(TimedOut):
                latch.wait(timeout=1)
                assert latch.count == 0
                passed.add(1)

        world.process(latch.count_down, name="arrive")
        world.process(latch.count_down, name="arrive too", mortal=False)
        world.process(wait, mortal=False)
        world.process(wait, mortal=False)
        world.at_end(lambda: outcomes.add(passed.load()) or latch.count in (0, 1))

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    # Who died may have been waited for in vain, or until the time was over for one of them.
    assert outcomes == {0, 1, 2}


def test_every_history_of_a_latch_has_an_order() -> None:
    def program(world: World) -> None:
        latch = lab.linearizable(Latch(3), models.Latch(3))

        def arrive_too_often() -> None:
            for _ in range(2):
                with suppress(underpass.MisuseError):
                    latch.count_down(2)

        def wait() -> None:
            with suppress(TimedOut):
                latch.wait(timeout=1)

        world.process(latch.count_down, name="arrive")
        world.process(arrive_too_often)
        world.process(wait)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)


def test_every_history_of_a_stack_has_an_order() -> None:
    def program(world: World) -> None:
        stack = lab.linearizable(Stack(1), models.Stack(1))

        def push(word: int) -> None:
            with suppress(WouldBlock):
                stack.push(word)

        def pop() -> None:
            with suppress(TimedOut):
                stack.pop(timeout=1)

        world.process(push, 1, name="push")
        world.process(push, 2, name="push too")
        world.process(pop)
        world.process(pop)

    lab.explore(program, schedules=SCHEDULES, kills=2, seed=1)


def test_a_word_that_the_dead_did_not_take_is_popped() -> None:
    def program(world: World) -> None:
        stack, popped = Stack(2), underpass.AtomicInt()

        def push() -> None:
            stack.push(1)
            stack.push(2)

        def pop() -> None:
            popped.add(stack.pop())

        world.process(push, mortal=False)
        world.process(stack.pop, name="pop and die")
        world.process(pop, mortal=False)
        world.at_end(lambda: popped.load() in (1, 2) and stack.depth in (0, 1))

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)


def test_once_tells_who_takes_over() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        once = underpass.Once()

        def run() -> None:
            with once.running() as turn:
                outcomes.add("nothing" if turn is None else "taken over" if turn.died else "run")

        world.process(run)
        world.process(run, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert outcomes == {"nothing", "run", "taken over"}
