"""Rings against a list of packets, each open, committed or abandoned, in the order of their claims."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import MisuseError, WouldBlock
from underpass.data import Loan, MpscRing, Packet, SpscRing

LEAST_PACKETS = 15


class Slot:
    """A packet: its place, what is in it, and who fills it."""

    def __init__(self, end: int, taken: int, content: bytes) -> None:
        self.end, self.taken, self.content = end, taken, content
        self.loan: Loan | None = None
        self.gone = False


class RingModel(RuleBasedStateMachine):
    """Packets in the order of their claims; those behind the reader are gone."""

    @initialize(grains=st.integers(8, 20), one=st.booleans())
    def make(self, *, grains: int, one: bool) -> None:
        self.capacity = 8 * grains
        self.slots = list[Slot]()
        self.end = 0
        self.taken: Packet | None = None
        of: Any = SpscRing if one else MpscRing
        self.it = of.create("it", self.capacity)
        self.other = of.open("it")

    def place(self, size: int) -> Slot | None:
        """Where a packet goes, if it finds room."""
        size = max(8, (size + 7) // 8 * 8)
        rest = self.capacity - self.end % self.capacity
        taken = size + (rest if size > rest else 0)
        if len(self.slots) == LEAST_PACKETS or sum(slot.taken for slot in self.slots) + taken > self.capacity:
            return None
        return Slot(self.end + taken, taken, b"")

    def claimed(self, slot: Slot) -> None:
        self.slots.append(slot)
        self.end = slot.end

    @rule(content=st.binary(max_size=32))
    def write(self, content: bytes) -> None:
        slot = self.place(len(content))
        assert outcome(lambda: self.it.write_nowait(content)) is (WouldBlock if slot is None else None)
        if slot is not None:
            slot.content = content
            self.claimed(slot)

    @rule(content=st.binary(max_size=32))
    def claim(self, content: bytes) -> None:
        slot = self.place(len(content))
        loan: Any = outcome(lambda: self.other.claim_nowait(len(content)))
        assert (loan is WouldBlock) == (slot is None)
        if slot is not None:
            loan[:] = content
            slot.content, slot.loan = content, loan
            self.claimed(slot)

    @precondition(lambda self: any(slot.loan for slot in self.slots))
    @rule(pick=st.integers(0), cut=st.integers(0, 32), commits=st.booleans())
    def settle(self, *, pick: int, cut: int, commits: bool) -> None:
        being_filled = [slot for slot in self.slots if slot.loan is not None]
        slot = being_filled[pick % len(being_filled)]
        assert slot.loan is not None
        if commits:
            slot.content = slot.content[:cut]
            slot.loan.commit(len(slot.content))
        else:
            slot.loan.abandon()
            slot.gone = True
        slot.loan = None

    def skip(self) -> Slot | None:
        """Let those go that were abandoned, and return the next one if it is there."""
        while self.slots and self.slots[0].gone:
            del self.slots[0]
        return self.slots[0] if self.slots and self.slots[0].loan is None else None

    @rule()
    def read(self) -> None:
        if self.taken is not None:
            assert outcome(self.it.read_nowait) is MisuseError
            return
        slot = self.skip()
        assert outcome(self.it.read_nowait) == (WouldBlock if slot is None else slot.content)
        del self.slots[: slot is not None]

    @precondition(lambda self: self.taken is None)
    @rule()
    def take(self) -> None:
        slot = self.skip()
        packet: Any = outcome(self.other.take_nowait)
        assert (packet is WouldBlock) == (slot is None)
        if slot is not None:
            assert bytes(packet) == slot.content
            self.taken = packet

    @precondition(lambda self: self.taken is not None)
    @rule(frees=st.booleans())
    def end_packet(self, *, frees: bool) -> None:
        assert self.taken is not None
        if frees:
            self.taken.free()
            del self.slots[0]
        else:
            self.taken.put_back()
        self.taken = None

    @invariant()
    def is_the_same(self) -> None:
        there = next((slot for slot in self.slots if not slot.gone), None)
        for ring in (self.it, self.other):
            assert ring.depth == ring.statistics().depth == len(self.slots)
            assert ring.next_size == (len(there.content) if there is not None and there.loan is None else None)

    def teardown(self) -> None:
        self.taken = None
        self.slots.clear()
        self.other.close()
        self.it.unlink()
        self.it.close()


@profiles
def test_ring_is_a_list_of_packets(profile: settings) -> None:
    compare(RingModel, profile)
