"""Queues and spaces that the lab lets be full."""

from collections.abc import Callable
from contextlib import suppress

import pytest

pytest.importorskip("greenlet")

from underpass import (
    EndOfStream,
    Gate,
    MessageTooLongError,
    NotFoundError,
    OutOfSpaceError,
    Port,
    Queue,
    TimedOut,
    WouldBlock,
    lab,
)
from underpass.lab import Failure, World, models
from underpass.lab.stage import Program

SEED = 1
SCHEDULES = 200


def refused(program: Program, *, faults: int = 1) -> Failure:
    with pytest.raises(Failure) as raised:
        lab.explore(program, schedules=SCHEDULES, faults=faults, seed=SEED)
    return raised.value


def put_nowait(queue: Queue) -> None:
    queue.put_nowait(b"x")


def put(queue: Queue) -> None:
    queue.put(b"x", timeout=1)


def put_at_once(queue: Queue) -> None:
    queue.put(b"x", timeout=0)


def put_many(queue: Queue) -> None:
    queue.put_many([b"x", b"y"], timeout=1)


def loan(queue: Queue) -> None:
    queue.loan(1, timeout=1).abandon()


def put_too_much(queue: Queue) -> None:
    queue.put_nowait(b"123456789")


def put_after_the_end(queue: Queue) -> None:
    queue.shutdown()
    queue.put_nowait(b"x")


@pytest.mark.parametrize(
    ("operation", "error"),
    [(put_nowait, WouldBlock), (put, TimedOut), (put_at_once, TimedOut), (put_many, TimedOut), (loan, TimedOut)],
)
def test_an_operation_that_can_fail_for_want_of_room_does(
    operation: Callable[[Queue], None], error: type[Exception]
) -> None:
    def program(world: World) -> None:
        queue = Queue(4, 8)
        world.process(operation, queue, name="send")

    failure = refused(program)
    assert error.__name__ in failure.trace.summary
    assert "is refused" in {moment.what for moment in failure.trace.moments}
    # A replay repeats exactly that.
    with pytest.raises(Failure) as again:
        lab.replay(program, failure.token)
    assert again.value.trace.moments == failure.trace.moments
    assert lab.explore(program, schedules=50, seed=SEED).schedules == 50


def test_time_has_passed_for_whom_a_refusal_kept_waiting() -> None:
    def program(world: World) -> None:
        queue = Queue(4, 8)

        def send() -> None:
            begun = world.now
            with suppress(TimedOut):
                queue.put(b"x", timeout=5)
                return
            assert world.now < begun + 5, "late"

        world.process(send)

    assert "late" in refused(program).trace.summary


@pytest.mark.parametrize(
    ("operation", "error"), [(put_too_much, MessageTooLongError), (put_after_the_end, EndOfStream)]
)
def test_what_fails_for_another_reason_fails_for_that(
    operation: Callable[[Queue], None], error: type[Exception]
) -> None:
    def program(world: World) -> None:
        queue = Queue(4, 8)

        def send() -> None:
            with suppress(error):
                operation(queue)

        world.process(send)

    assert lab.explore(program, schedules=SCHEDULES, faults=1, seed=SEED).schedules == SCHEDULES


def test_who_waits_for_ever_is_never_refused() -> None:
    def program(world: World) -> None:
        queue = Queue(4, 8)

        def send() -> None:
            queue.put(b"x")
            queue.put_many([b"y", b"z"])
            queue.loan(1).commit()

        world.process(send)

    assert lab.explore(program, schedules=SCHEDULES, faults=3, seed=SEED).schedules == SCHEDULES


def test_an_object_cannot_always_be_made() -> None:
    def program(world: World) -> None:
        # What sets up has room.
        Queue(4, 8)
        world.process(Queue, 4, 8, name="make")

    assert OutOfSpaceError.__name__ in refused(program).trace.summary


def test_a_port_that_cannot_be_made_takes_nobody_s_name() -> None:
    """The name of one who died stays where it was until there is another."""
    told: set[bool] = set()

    def program(world: World) -> None:
        def serve() -> None:
            with suppress(OutOfSpaceError):
                Port.create("desk").receive()

        def serve_again() -> None:
            world.join(first)
            try:
                Port.create("desk")
            except OutOfSpaceError:
                with pytest.raises(NotFoundError) as missing:
                    Gate.open("desk")
                told.add("has lost its receiver" in str(missing.value))

        first = world.process(serve, servant=True)
        world.process(serve_again, servant=True, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, faults=1, seed=1)
    assert True in told


def test_there_are_no_more_refusals_than_faults() -> None:
    def program(world: World) -> None:
        queue = Queue(8, 8)

        def send() -> None:
            failures = 0
            for _ in range(6):
                try:
                    queue.put_nowait(b"x")
                except WouldBlock:
                    failures += 1
            assert failures <= 2

        world.process(send)

    assert lab.explore(program, schedules=500, faults=2, seed=SEED).schedules == 500


def test_all_refusals_are_enumerated() -> None:
    seen: set[tuple[bool, ...]] = set()

    def program(world: World) -> None:
        queue = Queue(8, 8)

        def send() -> None:
            outcomes: list[bool] = []
            for _ in range(3):
                try:
                    queue.put_nowait(b"x")
                    outcomes.append(True)
                except WouldBlock:
                    outcomes.append(False)
            seen.add(tuple(outcomes))

        world.process(send, mortal=False)

    for strategy in ("every", "dpor"):
        seen.clear()
        assert lab.explore(program, schedules=500, faults=1, strategy=strategy).exhausted
        assert seen == {(True, True, True), (False, True, True), (True, False, True), (True, True, False)}, strategy


def test_a_history_leaves_out_what_was_refused() -> None:
    def program(world: World) -> None:
        queue = lab.linearizable(Queue(4, 8), models.Queue(4))

        def send() -> None:
            with suppress(WouldBlock):
                queue.put_nowait(b"x")

        world.process(send)
        world.process(send)

    assert lab.explore(program, schedules=SCHEDULES, faults=1, seed=SEED).schedules == SCHEDULES
