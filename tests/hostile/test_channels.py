"""Hostile partners of a call: what a client shares with a server, as each of the two sees it after the other scribbled on it."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import random
import socket
import struct
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hostile.mutations import EDGES, HEADER, Outcomes, Verbs, damage, survive
from tests.hostile.test_files import MANY, SOME, seeds
from underpass import Gate, Port, Request, UnderpassError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

MESSAGE_SIZE = 100
ALL_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
# Where a port's file says which channels its server is to look at. See layout/port.rs.
ACTIVE = slice(HEADER + 64, HEADER + 192)


def socket_of(space: Path) -> Path:
    (found,) = (path for path in space.iterdir() if path.name.startswith("~"))
    return found


@contextmanager
def overheard(space: Path) -> Generator[tuple[Gate, mmap.mmap, bytes]]:
    """Make a port whose socket is ours, and a gate bound to it: what its server would have of it, memory and greeting."""
    with (
        Port.create("overheard", message_size=MESSAGE_SIZE),
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
    ):
        path = socket_of(space)
        path.unlink()
        listener.bind(str(path))
        listener.listen()
        gate = Gate.open("overheard")
        with suppress(UnderpassError):
            gate.call(b"", timeout=0)
        client, _ = listener.accept()
        with client:
            greeting, ancillary, _, _ = client.recvmsg(64, 1024)
        descriptor = array.array("i", ancillary[0][2])[0]
        memory = mmap.mmap(descriptor, 0)
        os.close(descriptor)
        try:
            yield gate, memory, greeting
        finally:
            gate.close()
            memory.close()
            path.unlink()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def introduce(space: Path, image: bytes, seals: int, greeting: bytes, copies: int) -> socket.socket:
    """Connect to the port's socket as a client does, with memory that may be anything."""
    memory = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(memory, image)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(str(socket_of(space)))
    with suppress(OSError):
        client.sendmsg(
            [greeting], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory] * copies))] if copies else []
        )
    os.close(memory)
    return client


def answer(request: Request, dice: random.Random, verbs: Verbs) -> None:
    assert len(request.data) <= MESSAGE_SIZE
    verbs(lambda: (request.peer, request.peer.alive, repr(request)))
    if dice.random() < 0.7:
        verbs(lambda: request.reply(b"y" * dice.choice((0, 1, MESSAGE_SIZE, MESSAGE_SIZE + 1))))


def serve_whatever(port: Port, dice: random.Random, verbs: Verbs) -> int:
    """Receive what is there, and answer, forget or refuse it; how many calls there were."""
    for number in range(6):
        request = verbs(lambda: port.receive(timeout=0))
        if request is None:
            return number
        answer(request, dice, verbs)
    return 6


def attack_adoption(space: Path, numbers: range) -> Outcomes:
    with overheard(space) as (_, memory, genuine_greeting):
        genuine = bytes(memory)

    def attack(seed: int, verbs: Verbs) -> None:
        dice = random.Random(seed)
        image = bytearray(genuine)
        change = damage(dice, genuine, [], may_cut=True)
        for offset, data in change.writes:
            image[offset : offset + len(data)] = data
        image = image[: change.length].ljust(change.length or 0, b"\0")
        with Port.create("desk", message_size=MESSAGE_SIZE) as port:
            seals = (
                ALL_SEALS
                if dice.random() < 0.8
                else dice.choice((0, fcntl.F_SEAL_GROW, ALL_SEALS | fcntl.F_SEAL_WRITE))
            )
            greeting = genuine_greeting if dice.random() < 0.9 else dice.randbytes(dice.choice((0, 1, 16, 100)))
            hostile = introduce(space, bytes(image), seals, greeting, dice.choice((1, 1, 1, 1, 0, 2, 5)))
            if dice.random() < 0.3:
                hostile.close()
            # A client that keeps the rules binds beside it, and is served whatever the other one is.
            gate = Gate.open("desk")
            verbs(lambda: gate.call(b"x", timeout=0))
            before = descriptors()
            serve_whatever(port, dice, verbs)
            assert descriptors() <= before, "what a client sent stays open"
            assert 1 <= port.statistics().clients <= 2
            verbs.refused += port.statistics().clients == 1
            gate.close()
            hostile.close()

    return survive(attack, numbers)


def scribbles(dice: random.Random, size: int) -> Iterator[tuple[int, int]]:
    """Draw words of an A-stack and what to write there, calls and answers with wrong lengths among them."""
    stack = (size - HEADER) // 4
    reply = (stack - 128) // 2
    for _ in range(dice.choice((1, 2, 4, 8))):
        start = HEADER + dice.randrange(4) * stack
        number = dice.choice((0, 1, 2, 3, (1 << 29) - 1, 1 << 29, dice.getrandbits(30)))
        word = dice.choice((number << 2 | dice.randrange(4), number, number | 1 << 31, dice.getrandbits(32)))
        length = dice.choice(
            (0, 1, MESSAGE_SIZE, MESSAGE_SIZE + 1, 1 << 30, 1 << 31, (1 << 32) - 1, dice.choice(EDGES) % (1 << 32))
        )
        half = start + dice.choice((0, reply))
        yield half, word % (1 << 32)
        if dice.random() < 0.7:
            yield half + 4, length
        if dice.random() < 0.5:
            yield start + (dice.randrange(stack) & ~3), dice.choice((word % (1 << 32), length, dice.getrandbits(32)))


def attack_server(space: Path, numbers: range) -> Outcomes:
    """The client, adopted and trusted to nothing, scribbles between the server's looks."""
    with overheard(space) as (_, memory, genuine_greeting):
        genuine = bytes(memory)

    def adopted(port: Port) -> mmap.mmap:
        hostile = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(hostile, genuine)
        fcntl.fcntl(hostile, fcntl.F_ADD_SEALS, ALL_SEALS)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(str(socket_of(space)))
            client.sendmsg([genuine_greeting], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [hostile]))])
            gate = Gate.open("desk")
            with suppress(UnderpassError):
                gate.call(b"x", timeout=0)
            with suppress(UnderpassError):
                port.receive(timeout=0)
        assert port.statistics().clients == 2
        gate.close()
        memory = mmap.mmap(hostile, 0)
        os.close(hostile)
        return memory

    def attacks() -> Iterator[tuple[Port, mmap.mmap, mmap.mmap]]:
        while True:
            with (
                Port.create("desk", message_size=MESSAGE_SIZE) as port,
                adopted(port) as memory,
                (space / "desk").open("r+b") as file,
                mmap.mmap(file.fileno(), 0) as words,
            ):
                # Some of what is scribbled says that the client is gone, which the server believes now and then.
                for _ in range(100):
                    yield port, words, memory

    partner = attacks()

    def attack(seed: int, verbs: Verbs) -> None:
        dice = random.Random(seed)
        port, words, memory = next(partner)
        memory[:] = genuine
        for offset, word in scribbles(dice, len(genuine)):
            struct.pack_into("<I", memory, offset, word)
        words[ACTIVE] = b"\xff" * (ACTIVE.stop - ACTIVE.start)
        verbs.refused += serve_whatever(port, dice, verbs) > 0

    return survive(attack, numbers)


def call(gate: Gate, data: bytes, timeout: float, verbs: Verbs) -> None:
    answer = verbs(lambda: gate.call(data, timeout=timeout))
    assert answer is None or len(answer) <= MESSAGE_SIZE
    verbs.refused += answer is not None
    verbs(lambda: gate.call_into(data, bytearray(10), timeout=timeout))


def attack_client(space: Path, numbers: range) -> Outcomes:
    """The server scribbles answers, and everything else, into the channel of a client that calls."""

    def attacks() -> Iterator[tuple[Gate, mmap.mmap]]:
        with overheard(space) as (gate, memory, _):
            while True:
                yield gate, memory

    partner = attacks()

    def attack(seed: int, verbs: Verbs) -> None:
        dice = random.Random(seed)
        gate, memory = next(partner)
        memory[HEADER:] = bytes(len(memory) - HEADER)
        for offset, word in scribbles(dice, len(memory)):
            struct.pack_into("<I", memory, offset, word)
        for _ in range(3):
            call(gate, b"x" * dice.randrange(MESSAGE_SIZE + 2), dice.choice((0, 0, 0.0003)), verbs)

    return survive(attack, numbers)


ATTACKS = [attack_adoption, attack_server, attack_client]


def attacked(attack: Callable[[Path, range], Outcomes], space: Path, count: int) -> None:
    outcomes = attack(space, seeds(count))
    for path in space.iterdir():  # a child ends without closing what it attacks with
        if path.name != ".lives":
            path.unlink()
    assert not outcomes.faults, "\n".join(outcomes.faults)
    # Some of what a hostile partner does is seen by the other, and some is not.
    assert 0 < outcomes.refused < outcomes.used == count


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_partner_does_no_harm(private_space: Path, attack: Callable[[Path, range], Outcomes]) -> None:
    attacked(attack, private_space, SOME)


@pytest.mark.deep
@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_partner_many_times(private_space: Path, attack: Callable[[Path, range], Outcomes]) -> None:
    attacked(attack, private_space, MANY)
