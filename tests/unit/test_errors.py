"""Every public error: what raises it, and that its text names the object, the numbers and what helps."""

from __future__ import annotations

import pickle
import re
import threading
from typing import TYPE_CHECKING, cast

import pytest

import underpass
from underpass import (
    Barrier,
    Gate,
    Interface,
    Mutex,
    Port,
    Queue,
    Semaphore,
    Space,
    UnderpassError,
    connect,
    errors,
    fail_after,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Nobody raises these themselves: they are what others have in common.
BASES = {errors.UnderpassError, errors.DiedError}
# The kernel refuses a mapping for another reason than space: nothing that a test may do makes it.
UNPROVOKED = {errors.MapFailedError}
# Above the limit of any file system that a test runs in.
HUGE = 1 << 24
COMES_WITH = re.compile(r"Comes with `(\w+)(?:\.(\w+))?`")


class Desk(Interface):
    def fail(self, size: int) -> bytes:
        return b"." * size if size else bytes(1 // size)


class Table(Interface):
    def fail(self, size: str) -> bytes:
        return size.encode()


def semaphore() -> Semaphore:
    return Semaphore.create("jobs", 0, limit=1)


def queue() -> Queue:
    return Queue.create("jobs", capacity=1, message_size=4)


def would_block(_: Path) -> None:
    semaphore().acquire_nowait()


def timed_out(_: Path) -> None:
    semaphore().acquire(timeout=0.01)


def timed_out_by_a_block(_: Path) -> None:
    with fail_after(0.01):
        queue().get()


def end_of_stream(_: Path) -> None:
    jobs = queue()
    jobs.shutdown()
    jobs.get()


def closed(_: Path) -> None:
    jobs = queue()
    jobs.close()
    jobs.get()


def misuse(_: Path) -> None:
    jobs = semaphore()
    jobs.release(2)


def message_too_long(_: Path) -> None:
    queue().put(b"12345")


def typed_message_too_long(_: Path) -> None:
    with serving(Desk(), at="jobs"):
        connect(Desk, "jobs").fail(100_000)


def broken_barrier(_: Path) -> None:
    start = Barrier.create("jobs", 2)
    start.abort()
    start.wait()


def reset(_: Path) -> None:
    jobs = semaphore()
    outcome: list[errors.ResetError] = []

    def acquire() -> None:
        try:
            jobs.acquire()
        except errors.ResetError as error:
            outcome.append(error)

    acquirer = threading.Thread(target=acquire)
    acquirer.start()
    while acquirer.is_alive():
        jobs.reset()  # until one comes while it waits
        acquirer.join(0.001)
    raise outcome[0]


def owner_died(_: Path) -> None:
    jobs = Mutex.create("jobs")
    owner = threading.Thread(target=jobs.acquire)
    owner.start()
    owner.join()
    jobs.acquire()


def peer_died(_: Path) -> None:
    with Port.create("jobs") as port:
        gate = port.gate()
    gate.call()


def not_found(_: Path) -> None:
    Queue.open("jobs")


def nobody_serves(_: Path) -> None:
    connect(Desk, "jobs")


def exists(_: Path) -> None:
    _kept = queue()
    queue()


def closed_port(_: Path) -> None:
    port = Port.create("jobs")
    port.close()
    port.receive()


def port_exists(_: Path) -> None:
    with Port.create("jobs"):
        Port.create("jobs")


def served_already(_: Path) -> None:
    with serving(Desk(), at="jobs"), serving(Desk(), at="jobs"):
        pass


def access_denied(directory: Path) -> None:
    link = directory / "jobs"
    link.symlink_to(directory)
    Space(str(link))


def out_of_space(_: Path) -> None:
    Queue.create("jobs", capacity=HUGE, message_size=HUGE)


def mismatch_of_parameters(_: Path) -> None:
    queue()
    Queue.open_or_create("jobs", capacity=2, message_size=4)


def mismatch_of_kinds(_: Path) -> None:
    queue()
    Semaphore.open("jobs")


def mismatch_of_schemas(_: Path) -> None:
    with serving(Table(), at="jobs"):
        connect(cast("type[Desk]", type("Table", (Desk,), {})), "jobs").fail(1)


def corrupted(directory: Path) -> None:
    queue()
    with (directory / "jobs").open("r+b") as file:
        file.write(b"\xff" * 64)
    Queue.open("jobs")


def corrupted_reply(_: Path) -> None:
    def answer(_: bytes) -> bytes:
        return b"\0\0"

    with Port.create("jobs") as port:
        threading.Thread(target=port.serve_bytes, args=(answer,)).start()
        connect(Desk, "jobs").fail(1)


def call_cancelled(_: Path) -> None:
    with Port.create("jobs") as port:
        gate = port.gate(badge=7)
        outcome: list[errors.CallCancelledError] = []

        def call() -> None:
            try:
                gate.call()
            except errors.CallCancelledError as error:
                outcome.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        while caller.is_alive():
            port.revoke(7)  # until it has posted, or finds itself revoked
            caller.join(0.001)
        raise outcome[0]


def call_aborted(_: Path) -> None:
    def drop(_: bytes) -> bytes:
        raise SystemExit

    with Port.create("jobs") as port:
        thread = threading.Thread(target=port.serve_bytes, args=(drop,))
        thread.start()
        try:
            Gate.open("jobs").call()
        finally:
            thread.join()


def remote(_: Path) -> None:
    with serving(Desk(), at="jobs"):
        connect(Desk, "jobs").fail(0)


# What raises each, and what its text has to say beside "jobs": the numbers, and what helps.
RAISED: list[tuple[type[UnderpassError], Callable[[Path], None], list[str]]] = [
    (errors.WouldBlock, would_block, ["without waiting", "value is 0"]),
    (errors.TimedOut, timed_out, ["0.01 s", "value is 0"]),
    (errors.TimedOut, timed_out_by_a_block, ["0.01 s of fail_after", "0 of 1 queued"]),
    (errors.EndOfStream, end_of_stream, ["shut down", "nothing more will come"]),
    (errors.ClosedError, closed, ["closed here", "open it anew"]),
    (errors.ClosedError, closed_port, ["closed here", "make it anew to receive"]),
    (errors.MisuseError, misuse, ["limit", "1"]),
    (errors.MessageTooLongError, message_too_long, ["5 bytes", "4", "message_size=5"]),
    (errors.MessageTooLongError, typed_message_too_long, ["65536", r"Port\.create\(name, message_size="]),
    (errors.ResetError, reset, ["was reset", "tried again"]),
    (errors.BrokenBarrierError, broken_barrier, [r"pid \d+ aborted it", r"reset\(\)"]),
    (errors.OwnerDiedError, owner_died, [r"thread \d+ of this process, ended", "recovering"]),
    (errors.PeerDiedError, peer_died, [r"pid \d+", "nothing happened", "open it anew"]),
    (errors.NotFoundError, not_found, ["timeout="]),
    (errors.NotFoundError, nobody_serves, ["Desk", "timeout="]),
    (errors.ExistsError, exists, [r"a Queue, made by pid \d+; open it", r"Space\.unlink\(name\)"]),
    (errors.ExistsError, port_exists, [r"pid \d+ receives there", "end it first, or use another name"]),
    (errors.ExistsError, served_already, [r"pid \d+ receives there", "end it first, or use another name"]),
    (errors.AccessDeniedError, access_denied, ["symbolic link"]),
    (errors.OutOfSpaceError, out_of_space, [r"needs \d{12,} bytes", r"\d+ are free", "UNDERPASS_DIR"]),
    (errors.MismatchError, mismatch_of_parameters, ["capacity=1", "capacity=2", "another name"]),
    (errors.MismatchError, mismatch_of_kinds, ["a Queue", "a Semaphore", "another name"]),
    (errors.MismatchError, mismatch_of_schemas, [r"size: str", r"size: int", "Restart the older side"]),
    (errors.CorruptedError, corrupted, ["create it anew"]),
    (errors.CorruptedError, corrupted_reply, [r"Desk\.fail", "restart it"]),
    (errors.CallCancelledError, call_cancelled, ["revoked", "nothing happened"]),
    (errors.CallAbortedError, call_aborted, ["may have acted", "repeat only"]),
    (errors.RemoteError, remote, [r"Desk\.fail raised ZeroDivisionError", r"pid \d+", "in fail"]),
]


@pytest.mark.parametrize(("cls", "operation", "texts"), RAISED, ids=[raiser.__name__ for _, raiser, _ in RAISED])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_error_names_the_object_the_numbers_and_what_helps(
    cls: type[UnderpassError], operation: Callable[[Path], None], texts: list[str], private_space: Path
) -> None:
    with pytest.raises(cls) as caught:
        operation(private_space)
    error = caught.value
    assert type(error) is cls
    message = str(error)
    if cls is not errors.RemoteError:
        assert "jobs" in message or "Desk" in message
    for text in texts:
        assert re.search(text, message), message
    copy: UnderpassError = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy), vars(copy)) == (cls, message, vars(error))
    del caught, error
    for path in private_space.iterdir():
        if path.name != ".lives":
            path.unlink()


def test_every_error_is_raised_by_something_or_says_what_it_comes_with() -> None:
    raised = {cls for cls, _, _ in RAISED} | BASES | UNPROVOKED
    for name in errors.__all__:
        cls = cast("type[UnderpassError]", getattr(errors, name))
        comes = COMES_WITH.search(cls.__doc__ or "")
        if comes is None:
            assert cls in raised, f"nothing here raises {name}"
            assert hasattr(underpass, name), f"{name} is raised and not public"
        else:
            owner, member = comes.groups()
            there = getattr(underpass, owner, None)
            assert there is None or (member and not hasattr(there, member)), f"{owner} is there: raise {name} here"
            assert cls not in raised
