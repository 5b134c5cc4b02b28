"""Failures as the lab finds them, written by hand."""

from __future__ import annotations

from msgspec.structs import replace

from underpass.lab.trace import WORLD, Moment, Trace, Wait

__all__ = ["long", "ring", "threads", "transfer"]

TOKEN = "0x3.1x4.0.2x3.K0.1.2x2.T1.1"  # noqa: S105 - of a schedule


def transfer() -> Trace:
    """Two workers take two locks in opposite orders; a producer dies between its put and the wake that it owes."""
    put = Moment(
        number=1,
        process=0,
        what="returns",
        where="bank.py:12",
        source="jobs.put(Job(1, 'alice', 'bob'))",
        call="Queue.put",
        object="queue @1",
        value="None",
        state=(("queue @1", "1 of 4 taken"),),
    )
    again = replace(put, where="bank.py:13", source="jobs.put(Job(2, 'bob', 'alice'))", value="")
    lease = Moment(
        number=4,
        process=2,
        what="runs",
        where="bank.py:30",
        source="with jobs.lease(timeout=5) as job:",
        call="Queue.lease",
        object="queue @1",
    )
    one = _acquire(3, 1, "bank.py:21", "first")
    two = _acquire(9, 2, "bank.py:31", "second")
    one_more = _acquire(11, 1, "bank.py:22", "second", "worker-2")
    two_more = _acquire(10, 2, "bank.py:32", "first", "worker-1")
    leased = (("queue @1", "empty, 1 leased"),)
    return Trace(
        title="transfer",
        kind="deadlock",
        summary="worker-1 and worker-2 each hold the mutex that the other waits for.",
        columns=("producer", "worker-1", "worker-2"),
        moments=(
            put,
            replace(lease, number=2, process=1, what="returns", where="bank.py:20", value="Job(1)", state=leased),
            one,
            replace(lease, preempts=True),
            replace(lease, number=5, what="sleeps"),
            replace(again, number=6, what="wakes", partner=2, state=(("queue @1", "1 of 4 taken, 1 leased"),)),
            replace(again, number=7, what="dies", call="", object="", state=()),
            replace(lease, number=8, what="is woken", partner=0),
            replace(lease, number=8, what="returns", value="Job(2)", state=(("queue @1", "empty, 2 leased"),)),
            two,
            replace(two_more, what="runs", holders=()),
            two_more,
            replace(one_more, what="runs", holders=()),
            one_more,
        ),
        waits=(
            _wait("worker-2", "mutex 'first'", 10, "bank.py:32", "worker-1"),
            _wait("worker-1", "mutex 'second'", 11, "bank.py:22", "worker-2"),
        ),
        reason="At step 4, worker-1 goes on instead of worker-2: then it has both mutexes before worker-2 asks for one.",
        token=TOKEN,
        how=(
            f"underpass lab run bank.py::transfer --replay {TOKEN}",
            f"pytest test_bank.py::test_transfer --lab-replay {TOKEN} --lab-real",
        ),
        schedules=1213,
        seed=7,
        budgets="≤ 2 preemptions, ≤ 1 kill",
    )


def _acquire(number: int, process: int, where: str, mutex: str, holder: str = "") -> Moment:
    return Moment(
        number=number,
        process=process,
        what="sleeps" if holder else "returns",
        where=where,
        source=f"{mutex}.acquire()",
        call="Mutex.acquire",
        object=f"mutex '{mutex}'",
        value="" if holder else "True",
        holders=(holder,) if holder else (),
        state=() if holder else ((f"mutex '{mutex}'", f"held by worker-{process}"),),
    )


def _wait(who: str, name: str, since: int, where: str, holder: str) -> Wait:
    return Wait(
        who=who, object=name, operation="Mutex.acquire", since=since, where=where, holders=(holder,), cycle=True
    )


def threads() -> Trace:
    """One process with two threads: a time-out, a stop, a refusal, a choice, and an exception."""
    put = Moment(number=2, process=0, what="runs", where="pool/workers.py:41", source="queue.put(item, timeout=0.5)")
    wait = Moment(
        number=4, process=0, what="sleeps", thread="flusher", where="pool/workers.py:60", source="wake.wait()"
    )
    get = Moment(number=8, process=1, what="sleeps", where="pool/reader.py:9", source="queue.get()", object="queue @2")
    fails = replace(
        wait,
        number=11,
        what="raises",
        where="pool/workers.py:61",
        source="assert not pending",
        value="AssertionError()",
    )
    token = ".".join(f"{number % 3}x{number}" for number in range(60))
    return Trace(
        title="pool",
        kind="assertion",
        summary="A flush found items that nobody had flushed.",
        columns=("workers", "reader"),
        moments=(
            Moment(number=1, process=WORLD, what="chooses", value="2 of 3: how many items"),
            put,
            replace(put, what="is refused", value="no room in the space"),
            replace(put, number=3, what="raises", value="OutOfSpaceError('need 64 B, 0 free')"),
            wait,
            Moment(number=5, process=1, what="is stopped"),
            replace(wait, number=6, what="times out"),
            Moment(number=7, process=1, what="goes on"),
            get,
            replace(get, number=9, what="wakes without cause"),
            Moment(number=10, process=1, what="ends"),
            fails,
        ),
        details=(
            "Traceback (most recent call last):\n"
            '  File "pool/workers.py", line 61, in flush\n'
            "    assert not pending, f'{len(pending)} items were put and never flushed: {pending!r}' + ' and so on' * 9\n"
            "           ^^^^^^^^^^^\n"
            "AssertionError"
        ),
        token=token,
        how=(f"underpass lab run pool.py::pool --replay {token}",),
        schedules=1,
    )


def long(steps: int = 400) -> Trace:
    """Two processes that compute for long before one of them sleeps for ever."""
    door = Moment(
        number=20, process=0, what="runs", where="work.py:9020", source="door.acquire()", object="mutex 'door'"
    )
    moments = [
        Moment(
            number=number, process=number // 40 % 2, what="runs", where=f"work.py:{number}", source=f"step({number})"
        )
        for number in range(1, steps)
    ]
    moments[19] = door
    moments.append(replace(door, number=steps, process=1, what="sleeps", where="work.py:9999", holders=("one",)))
    wait = Wait(who="two", object="mutex 'door'", operation="Mutex.acquire", since=steps, holders=("one",))
    return Trace(
        title="work",
        kind="lost wake-up",
        summary="two sleeps, and nobody will wake it.",
        columns=("one", "two"),
        moments=tuple(moments),
        waits=(wait,),
    )


def ring(processes: int) -> Trace:
    """Many processes take a step each, and the last but one dies."""
    step = Moment(number=0, process=0, what="returns", where="ring.py:10", call="Semaphore.release", value="None")
    steps = [
        replace(
            step,
            number=number,
            process=number,
            source=f"baton[{number}].release(to={number + 1})",
            object=f"semaphore @{number}",
            state=((f"semaphore @{number}", "1"),),
        )
        for number in range(processes)
    ]
    dies = Moment(number=processes, process=processes - 2, what="dies", where="ring.py:99", source="finish()")
    return Trace(
        title="ring",
        kind="untold death",
        summary="A process died, and nobody was told.",
        columns=tuple(f"runner-{number}" for number in range(processes)),
        moments=(*steps, dies),
    )
