"""SIGKILL at random instants, of those who send, notify and serve: what was acknowledged was received, and nobody hangs."""

import random
import struct
import time
from collections import Counter

import pytest

from tests.conformance.backends import ProcessActor, Processes, until
from tests.crash.test_objects import FORGOTTEN, KILLS, SPAN, Book, kill_many
from underpass import (
    CallAbortedError,
    CallCancelledError,
    Gate,
    NotFoundError,
    Notified,
    PeerDiedError,
    Port,
    Semaphore,
    Space,
    TimedOut,
)

ENTRY = struct.Struct("<QQ")


def refuses(port: Port) -> bool:
    """Say whether nobody calls."""
    with pytest.raises(TimedOut):
        port.receive(timeout=0)
    return True


def receive_all(port: Port) -> tuple[Counter[int], int]:
    """Count what each sender sends, in its order, and gather bits, until somebody calls."""
    received: Counter[int] = Counter()
    bits = 0
    while True:
        got = port.receive_any(timeout=FORGOTTEN)
        if isinstance(got, Notified):
            bits |= got.bits
        elif got.wants_reply:
            got.reply()
            return received, bits
        else:
            number, sent = ENTRY.unpack(got.data)
            assert received[number] == sent, f"of sender {number}"
            received[number] += 1


def test_senders_and_notifiers(processes: Processes, dice: random.Random) -> None:
    """Each victim's messages arrive once and in order: as many as it saw received, and perhaps the one under way."""
    book, sends = Book(KILLS), 1_500

    def receive() -> tuple[Counter[int], int]:
        with Port.create("desk") as port:
            return receive_all(port)

    def hammer(number: int) -> None:
        gate = Gate.open("desk", timeout=FORGOTTEN)
        sent = 0
        while True:
            gate.notify(1 << number)
            gate.send(ENTRY.pack(number, sent))
            sent += 1
            book[number] = sent

    def survive(number: int) -> None:
        gate = Gate.open("desk", timeout=FORGOTTEN)
        for sent in range(sends):
            gate.send(ENTRY.pack(number, sent), timeout=FORGOTTEN)
            gate.notify(1 << number)

    receiver = processes.start(receive)
    survivors = [processes.start(survive, KILLS + number) for number in range(2)]
    kill_many(processes, dice, hammer)
    for survivor in survivors:
        survivor.result()
    Gate.open("desk").call(timeout=FORGOTTEN)
    received, bits = receiver.result()
    for number in range(KILLS):
        assert 0 <= received[number] - book[number] <= 1, f"victim {number}"
    assert [received[KILLS + number] for number in range(2)] == [sends, sends]
    assert bits >> KILLS == 0b11
    book.close()


def test_servers_of_several_threads(processes: Processes, dice: random.Random) -> None:
    stop = Semaphore(0)

    def serve(_: int) -> None:
        Port.create("desk").serve_bytes(bytes.upper, threads=3)

    def survive() -> int:
        done = 0
        while not (stop.value and done):
            try:
                gate = Gate.open("desk", timeout=0.01)
                while not (stop.value and done):
                    gate.notify(1 << done % 64)
                    gate.send(b"one way", timeout=FORGOTTEN)
                    assert gate.call(b"abc", timeout=FORGOTTEN) == b"ABC"
                    done += 1
            except (PeerDiedError, NotFoundError):
                continue
        return done

    survivors = [processes.start(survive) for _ in range(3)]
    kill_many(processes, dice, serve, alive=1)
    stop.release()
    # Of those who were killed none may have come as far as to answer.
    last = processes.start(serve, KILLS)
    assert all(survivor.result() > 0 for survivor in survivors)
    last.kill()
    Port.create("desk").close()
    Space.default().sweep()


def test_clients_whose_badges_are_revoked(processes: Processes, dice: random.Random) -> None:
    """Clients are killed or revoked at random instants; the others are served, and nothing of the gone is kept."""
    with Port() as port:
        gates = [port.gate(badge=number + 1) for number in range(KILLS)]
        faithful, stop = port.gate(), Semaphore(0)

        def hammer(number: int) -> str:
            try:
                while True:
                    gates[number].call(b"%d" % number)
            except (CallCancelledError, CallAbortedError, PeerDiedError) as error:
                return type(error).__name__

        def survive() -> int:
            calls = 0
            while not stop.value:
                assert faithful.call(b"%d" % calls, timeout=FORGOTTEN) == b"%d" % calls
                calls += 1
            faithful.send(b"", timeout=FORGOTTEN)
            return calls

        survivor = processes.start(survive)
        revoked: list[ProcessActor[str]] = []
        answered = 0
        for number in range(KILLS):
            victim = processes.start(hammer, number)
            end = time.monotonic() + dice.random() * SPAN
            while time.monotonic() < end or answered < number:
                request = port.receive(timeout=FORGOTTEN)
                answered += request.badge == 0
                request.reply(request.data)
            if dice.random() < 0.5:
                victim.kill()
                assert port.revoke(number + 1) in {0, 1}
            else:
                port.revoke(number + 1)
                revoked.append(victim)
        stop.release()
        while (request := port.receive(timeout=FORGOTTEN)).wants_reply:
            assert request.badge == 0
            request.reply(request.data)
        assert survivor.result() >= answered
        # Those who had not come by then are met, and sent away, as long as somebody receives.
        until(lambda: refuses(port) and all(victim.ended for victim in revoked), "the end of the revoked")
        assert {victim.result() for victim in revoked} <= {"CallCancelledError"}
        # Nobody is left but the survivor, and whoever had not been met when it ended.
        port.revoke(KILLS + 1)
        assert port.statistics().clients <= 2
