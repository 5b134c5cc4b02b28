"""Port and Gate: badges, and who is let in."""

import gc
import os
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from tests.conformance.backends import Actor, Processes, Threads
from tests.conformance.servers import STACKS
from underpass import AccessDeniedError, CallCancelledError, Gate, Notified, PeerDiedError, Port, Request, TimedOut
from underpass.ports import Peer

World = Threads | Processes
MOST = 2**64 - 1


def travelled(gate: Gate) -> Gate:
    """Send a gate through a pickle."""
    copy: Gate = pickle.loads(pickle.dumps(gate))  # noqa: S301 - our own bytes
    return copy


def refuse_one(port: Port, caller: Actor[bytes]) -> None:
    """Receive once that caller is there, and hear nothing of it: only who receives lets in, or sends away."""
    caller.until_asleep()
    with pytest.raises(TimedOut):
        port.receive(timeout=0)


# ── badges ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_request_carries_the_badge_of_its_gate(world: World) -> None:
    with Port.create("desk") as port:
        gates = [port.gate(badge=badge) for badge in (1, 7, MOST)]
        gates += [travelled(gate) for gate in gates] + [port.gate(), Gate.open("desk")]
        expected = [1, 7, MOST] * 2 + [0, 0]
        assert [gate.badge for gate in gates] == expected
        for gate, badge in zip(gates, expected, strict=True):
            caller = world.start(gate.call, b"x")
            request = port.receive()
            assert request.badge == badge
            assert (f"badge {badge}" in repr(request)) == (f"badge {badge}" in repr(gate)) == bool(badge)
            request.reply()
            caller.result()


@pytest.mark.parametrize("badge", [-1, 1 << 64])
def test_badges_out_of_range_are_refused(badge: int) -> None:
    with Port() as port:
        with pytest.raises(ValueError, match=r"2\*\*64 - 1"):
            port.gate(badge=badge)
        with pytest.raises(ValueError, match=r"2\*\*64 - 1"):
            port.revoke(badge)
        with pytest.raises(ValueError, match="cannot be told apart"):
            port.revoke(0)


def written(gate: Gate) -> str:
    """Read what a pickle of a gate says of its badge."""
    travel = cast("tuple[object, tuple[object, ...]]", gate.__reduce__())
    return str(travel[1][-1])


def claiming(gate: Gate, badge: str) -> Gate:
    """Make the gate that a pickle with another badge would."""
    restore, travel = cast("tuple[Callable[..., Gate], tuple[object, ...]]", gate.__reduce__())
    return restore(*travel[:-1], badge)


def forged(gate: Gate) -> Iterator[Gate]:
    """Make gates that claim a badge which the port has not given them."""
    number, generation, proof = written(gate).split(".")
    yield claiming(gate, f"{int(number, 16) + 1:x}.{generation}.{proof}")  # the proof of another
    yield claiming(gate, f"{number}.{generation}.{int(proof, 16) ^ 1:x}")
    yield claiming(gate, f"{number}.1.{proof}")
    yield claiming(gate, f"{number}.0.0")
    with Port() as other:  # another port's badge of that number
        yield claiming(gate, written(other.gate(badge=gate.badge)))


def test_nobody_makes_a_badge_up(threads: Threads) -> None:
    with Port() as port:
        gate = port.gate(badge=7)
        for number, claim in enumerate(forged(gate)):
            caller = threads.start(claim.call, b"x")
            refuse_one(port, caller)
            with pytest.raises(AccessDeniedError, match=f"pid {os.getpid()}"):
                caller.result()
            assert port.statistics().refused == number + 1
        assert port.statistics().clients == 0
        caller = threads.start(gate.call, b"x")
        port.receive().reply(b"y")
        assert caller.result() == b"y"


def test_no_badge_is_read_from_nonsense() -> None:
    with Port() as port:
        gate = port.gate(badge=3)
        for nonsense in ("7", "7.0", "x.y.z", "7.0.1.2", "1ffffffffffffffff.0.0", "7.ffffffffff.1"):
            with pytest.raises(ValueError, match="badge"):
                claiming(gate, nonsense)


def test_forked_child_of_the_server_mints_badges_too(processes: Processes) -> None:
    with Port() as port:
        gate: Gate = pickle.loads(processes.start(lambda: pickle.dumps(port.gate(badge=5))).result())  # noqa: S301
        caller = processes.start(gate.call, b"x")
        request = port.receive()
        assert request.badge == 5
        request.reply()
        caller.result()


# ── revoke ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_revoke_cancels_what_waits_of_that_badge_and_only_that(world: World) -> None:
    with Port() as port:
        bad, good = port.gate(badge=7), port.gate(badge=8)
        cancelled = [world.start(bad.call, b"bad") for _ in range(2)] + [world.start(bad.send, b"bad")]
        others = [world.start(good.call, b"good"), world.start(port.gate().call, b"none")]
        for actor in (*cancelled, *others):
            actor.until_asleep()
        assert port.revoke(7) == len(cancelled)
        for actor in cancelled:
            with pytest.raises(CallCancelledError, match="badge was revoked"):
                actor.result()
        for _ in others:
            request = port.receive()
            request.reply(request.data)
        assert [actor.result() for actor in others] == [b"good", b"none"]
        assert port.revoke(7) == 0
        assert port.revoke(99) == 0


def test_revoked_badge_is_refused_later_too(threads: Threads) -> None:
    with Port() as port:
        bound, unbound = port.gate(badge=7), port.gate(badge=7)
        caller = threads.start(bound.call, b"x")
        request = port.receive()
        port.revoke(7)
        request.reply(b"taken before")
        assert caller.result() == b"taken before"
        for _ in range(STACKS + 1):
            with pytest.raises(CallCancelledError):
                bound.call(b"x", timeout=20)
            with pytest.raises(CallCancelledError):
                bound.send(b"x", timeout=20)
        for gate in (unbound, travelled(bound)):
            caller = threads.start(gate.call, b"x")
            refuse_one(port, caller)
            with pytest.raises(CallCancelledError):
                caller.result()
        assert port.statistics().clients == 0


def test_revoked_gate_sets_no_bits_either(threads: Threads) -> None:
    with Port() as port:
        revoked, other = port.gate(badge=7), port.gate(badge=8)
        for gate in (revoked, other):
            caller = threads.start(gate.call, b"x")
            port.receive().reply()
            caller.result()
        revoked.notify(1)
        port.revoke(7)
        with pytest.raises(CallCancelledError, match="not notified: its badge was revoked"):
            revoked.notify(2)
        other.notify(4)
        received = port.receive_any(timeout=0)
        assert isinstance(received, Notified)
        assert received.bits == 1 | 4, "bits that were set before stay"
        assert ", revoked, badge 7" in repr(revoked)
        assert ", bound, badge 8" in repr(other)
        assert [gate.statistics().bound for gate in (revoked, other)] == [False, True]
        port.close()
        with pytest.raises(PeerDiedError):
            revoked.notify(2)


def test_revoked_number_can_be_given_again(threads: Threads) -> None:
    with Port() as port:
        old = port.gate(badge=7)
        port.revoke(7)
        new = port.gate(badge=7)
        caller = threads.start(new.call, b"new")
        request = port.receive()
        assert (request.data, request.badge) == (b"new", 7)
        request.reply(b"yes")
        assert caller.result() == b"yes"
        loser = threads.start(old.call, b"old")
        refuse_one(port, loser)
        with pytest.raises(CallCancelledError):
            loser.result()


def test_revoke_beside_running_calls_loses_none(world: World) -> None:
    port = Port()
    gates = [port.gate(badge=badge) for badge in (1, 2)]

    def call(gate: Gate) -> int:
        answered = 0
        while True:
            try:
                assert gate.call(b"%d" % answered) == b"%d" % answered
            except (CallCancelledError, PeerDiedError) as error:
                return answered if isinstance(error, CallCancelledError) else -1
            answered += 1

    callers = [world.start(call, gate) for gate in gates]
    served = [0, 0, 0]
    while min(served[1:]) < 20:
        request = port.receive()
        served[request.badge] += 1
        request.reply(request.data)
    port.revoke(1)
    assert callers[0].result() == served[1]
    for _ in range(20):
        request = port.receive()
        assert request.badge == 2
        request.reply(request.data)
    port.close()
    assert callers[1].result() == -1


# ── admit ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_admit_that_is_no_function_is_refused_at_once() -> None:
    for make in (
        lambda: Port(admit=3),  # pyright: ignore[reportArgumentType]
        lambda: Port.create("desk", admit=3),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(TypeError, match="admit= is not callable: 'int'"):
            make()
    Port.create("desk").close()


def serve_one(port: Port) -> None:
    """Answer the next call."""
    port.receive().reply(b"yes")


def test_admit_decides_once_for_each_client(processes: Processes) -> None:
    asked: list[Peer] = []
    flag = processes.flag()

    def admit(peer: Peer) -> bool:
        asked.append(peer)
        return len(asked) == 2

    with Port(admit=admit) as port:
        gate = port.gate()

        def call_twice() -> list[bytes]:
            flag.wait()
            return [gate.call(b"x"), gate.call(b"x")]

        callers = [processes.start(call_twice) for _ in range(2)]
        flag.raise_()
        with pytest.raises(TimedOut):
            port.receive(timeout=1)  # who is refused is not heard
        flag.raise_()
        serve_one(port)
        serve_one(port)
        outcomes: dict[int, object] = {}
        for caller in callers:
            try:
                outcomes[caller.pid] = caller.result()
            except AccessDeniedError as error:
                outcomes[caller.pid] = error
        assert [peer.pid for peer in asked] == sorted(outcomes, key=lambda pid: isinstance(outcomes[pid], list))
        assert outcomes[asked[1].pid] == [b"yes", b"yes"]
        refusal = outcomes[asked[0].pid]
        assert isinstance(refusal, AccessDeniedError)
        for part in (f"pid {os.getpid()}", f"uid {os.getuid()}", str(asked[0].pid), "admit="):
            assert part in str(refusal)
        assert isinstance(refusal, PermissionError)
        assert {(peer.uid, peer.gid) for peer in asked} == {(os.getuid(), os.getgid())}
        assert (port.statistics().clients, port.statistics().refused) == (1, 1)


def test_refused_gate_stays_refused(threads: Threads) -> None:
    with Port(admit=lambda _: False) as port:
        gate = port.gate()
        caller = threads.start(gate.call, b"x")
        refuse_one(port, caller)
        with pytest.raises(AccessDeniedError):
            caller.result()
        for use in (gate.call, gate.send):
            with pytest.raises(AccessDeniedError):
                use(b"x", timeout=20)
        gate.notify(2)  # needs no admission
        assert port.statistics().bits == 2


def test_exception_in_admit_refuses_and_is_told(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []  # an exception would keep the port alive through its traceback

    def tell(unraisable: "sys.UnraisableHookArgs") -> None:
        told.append(str(unraisable.exc_value))

    monkeypatch.setattr(sys, "unraisablehook", tell)

    def admit(_: Peer) -> bool:
        raise LookupError("no list of guests")

    with Port(admit=admit) as port:
        caller = threads.start(port.gate().call, b"x")
        refuse_one(port, caller)
        with pytest.raises(AccessDeniedError):
            caller.result()
        assert told == ["no list of guests"]


def test_interrupt_in_admit_ends_the_receive_and_loses_nobody(threads: Threads) -> None:
    verdicts: list[Callable[[], bool]] = []

    def interrupt() -> bool:
        raise KeyboardInterrupt

    with Port(admit=lambda _: verdicts.pop()()) as port:
        gates = [port.gate(), port.gate()]
        callers = [threads.start(gate.call, b"x") for gate in gates]
        for caller in callers:
            caller.until_asleep()
        verdicts[:] = [lambda: True, interrupt]
        with pytest.raises(KeyboardInterrupt):
            port.receive(timeout=0)
        serve_one(port)
        outcomes: list[bytes | None] = []
        for caller in callers:
            try:
                outcomes.append(caller.result())
            except AccessDeniedError:
                outcomes.append(None)
        assert sorted(outcomes, key=bool) == [None, b"yes"]


def test_admit_may_use_the_port_itself(threads: Threads) -> None:
    def admit(_: Peer) -> bool:
        return port.statistics().clients == 0 and port.gate(badge=3).badge == 3

    port = Port(admit=admit)
    caller = threads.start(port.gate().call, b"x")
    serve_one(port)
    assert caller.result() == b"yes"
    port.close()


def test_port_in_a_cycle_with_its_admit_is_collected() -> None:
    class Guard:
        def __init__(self) -> None:
            self.port = Port(admit=self.admit)

        def admit(self, _: Peer) -> bool:
            return bool(self.port)

    guard = weakref.ref(Guard())
    gc.collect()
    assert guard() is None


def test_closing_a_gate_frees_its_place(threads: Threads) -> None:
    with Port() as port:
        for _ in range(40):
            gate = port.gate()
            caller = threads.start(gate.call, b"x")
            serve_one(port)
            assert caller.result() == b"yes"
            gate.close()
        assert port.statistics().clients <= 3


def test_requests_outlive_revocation_and_close(threads: Threads) -> None:
    port = Port()
    gate = port.gate(badge=1)
    caller = threads.start(gate.call, b"x")
    request: Request = port.receive()
    caller.until_asleep()
    port.revoke(1)
    gate.close()
    port.close()
    request.reply(b"late")
    assert caller.result() == b"late"
