"""Typed calls between the lab's processes: deaths and time-outs between any two steps of a call, and what both sides make of it."""

from collections import Counter

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import World

SCHEDULES = 2_000


class Ledger(underpass.Interface):
    """What both sides know."""

    def book(self, entry: int) -> int:
        """Write an entry down; how many there are."""
        raise NotImplementedError

    def refuse(self, entry: int) -> None:
        """Raise."""
        raise NotImplementedError

    @underpass.oneway
    def note(self, entry: int) -> None:
        """Write an entry down, after the reply."""
        raise NotImplementedError


class Book(Ledger):
    """A server whose entries outlive it: they stand in an object that all share.

    Args:
        entries: How often each was booked.
    """

    def __init__(self, entries: list[underpass.AtomicInt]) -> None:
        self._entries = entries

    def book(self, entry: int) -> int:
        """Write it down; how often it was."""
        return self._entries[entry].add(1) + 1

    def refuse(self, entry: int) -> None:
        """Say which one was refused."""
        raise LookupError(f"no entry {entry}")

    def note(self, entry: int) -> None:
        """Write it down."""
        self._entries[entry].add(1)


def entries(count: int) -> list[underpass.AtomicInt]:
    return [underpass.AtomicInt() for _ in range(count)]


def serve(book: list[underpass.AtomicInt]) -> None:
    underpass.serve(Book(book), at="ledger")


def test_two_clients_book_each_entry_once() -> None:
    def program(world: World) -> None:
        book = entries(2)

        def client(entry: int) -> None:
            ledger = underpass.connect(Ledger, "ledger", timeout=None)
            assert ledger.book(entry) == 1
            assert ledger.book(entry) == 2

        world.process(serve, book, servant=True)
        world.process(client, 0)
        world.process(client, 1)
        world.at_end(lambda: [entry.load() for entry in book] == [2, 2])

    lab.explore(program, schedules=SCHEDULES, seed=1, jobs=1)


def test_a_proxy_binds_to_the_successor_and_repeats_no_call() -> None:
    seen: Counter[tuple[str, int]] = Counter()

    def program(world: World) -> None:
        book = entries(4)

        def succeed(book: list[underpass.AtomicInt]) -> None:
            world.join(server)
            serve(book)

        def client(first: int) -> None:
            ledger = underpass.connect(Ledger, "ledger", timeout=None)
            try:
                answer = str(ledger.book(first))
            except underpass.PeerDiedError:
                # It may have been booked, and nobody does it again.
                answer = "lost"
            seen[answer, book[first].load()] += 1
            while True:
                # The same proxy looks the name up anew. It is this loop that may book twice, since it repeats what was lost.
                try:
                    ledger.book(first + 1)
                except underpass.PeerDiedError:
                    continue
                break

        server = world.process(serve, book, servant=True)
        world.process(succeed, book, servant=True, mortal=False)
        world.process(client, 0, mortal=False)
        world.process(client, 2, mortal=False)
        world.at_end(lambda: all(book[entry].load() <= 1 for entry in (0, 2)))
        world.at_end(lambda: all(1 <= book[entry].load() <= 2 for entry in (1, 3)))

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1, jobs=1)
    assert set(seen) == {("1", 1), ("lost", 0), ("lost", 1)}


def test_a_gate_leads_to_one_server_and_no_further() -> None:
    outcomes: Counter[str] = Counter()

    def program(world: World) -> None:
        book = entries(1)

        def succeed(book: list[underpass.AtomicInt]) -> None:
            world.join(server)
            serve(book)

        def client() -> None:
            ledger = underpass.connect(Ledger, underpass.Gate.open("ledger", timeout=None))
            died = 0
            for _ in range(3):
                try:
                    ledger.book(0)
                except underpass.PeerDiedError:
                    died += 1
                else:
                    assert not died
            outcomes["died" if died else "answered"] += 1

        server = world.process(serve, book, servant=True)
        world.process(succeed, book, servant=True, mortal=False)
        world.process(client, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1, jobs=1)
    assert set(outcomes) == {"died", "answered"}


def test_a_client_that_dies_has_booked_at_most_once_and_blocks_nobody() -> None:
    left: Counter[int] = Counter()

    def program(world: World) -> None:
        book = entries(2)

        def client(entry: int) -> None:
            underpass.connect(Ledger, "ledger", timeout=None).book(entry)

        world.process(serve, book, servant=True, mortal=False)
        world.process(client, 0)
        world.process(client, 1, mortal=False)
        world.at_end(lambda: left.update([book[0].load()]))
        world.at_end(lambda: book[1].load() == 1)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1, jobs=1)
    assert set(left) == {0, 1}


def test_an_exception_arrives_with_the_server_s_traceback_and_the_server_goes_on() -> None:
    def program(world: World) -> None:
        book = entries(2)

        def client(entry: int) -> None:
            with underpass.connect(Ledger, "ledger", timeout=None) as ledger:
                with pytest.raises(underpass.RemoteError, match=f"no entry {entry}") as raised:
                    ledger.refuse(entry)
                assert raised.value.type == "LookupError"
                assert 'raise LookupError(f"no entry {entry}")' in raised.value.traceback
                with pytest.raises(TypeError, match="entry"):
                    ledger.book("one")  # pyright: ignore[reportArgumentType]
                assert ledger.book(entry) == 1

        world.process(serve, book, servant=True)
        world.process(client, 0)
        world.process(client, 1)

    lab.explore(program, schedules=SCHEDULES // 2, seed=1)


def test_a_one_way_call_is_carried_out_in_order_unless_the_server_dies() -> None:
    seen: Counter[tuple[str, ...]] = Counter()

    def program(world: World) -> None:
        book = entries(2)
        told: list[str] = []

        def client() -> None:
            ledger = underpass.connect(Ledger, "ledger", timeout=5)
            ledger.note(0)
            told.append("noted")
            # One server, one client: what is answered later was carried out later.
            if ledger.book(1):
                told.append("booked")
                assert book[0].load() == 1

        def try_to() -> None:
            try:
                client()
            except underpass.PeerDiedError:
                told.append("lost")
            except underpass.NotFoundError:
                told.append("absent")

        world.process(serve, book, servant=True)
        world.process(try_to, mortal=False)
        world.at_end(lambda: book[0].load() <= 1)
        world.at_end(lambda: seen.update([(*told, f"{book[0].load()} noted")]))

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1, jobs=1)
    assert {
        ("noted", "booked", "1 noted"),
        ("noted", "lost", "0 noted"),
        ("noted", "lost", "1 noted"),
        ("lost", "0 noted"),
        ("absent", "0 noted"),
    } <= set(seen)
    # Who was not told that it was taken may find it done, all the same; never done twice, and never out of order.
    assert set(seen) <= {
        (*told, noted)
        for told in (("noted", "booked"), ("noted", "lost"), ("lost",), ("absent",))
        for noted in ("0 noted", "1 noted")
    } - {("noted", "booked", "0 noted"), ("absent", "1 noted")}


def test_a_call_ends_by_its_deadline() -> None:
    outcomes: Counter[tuple[str, int]] = Counter()

    def program(world: World) -> None:
        book = entries(1)
        ends: list[str] = []

        def client() -> None:
            ledger = underpass.connect(Ledger, "ledger", timeout=None)
            try:
                with underpass.fail_after(1):
                    ledger.book(0)
            except underpass.TimedOut:
                ends.append("late")
            else:
                ends.append("done")

        world.process(serve, book, servant=True)
        world.process(client)
        world.at_end(lambda: outcomes.update([(ends[0], book[0].load())]))

    lab.explore(program, schedules=SCHEDULES, seed=1, jobs=1)
    assert set(outcomes) == {("done", 1), ("late", 0), ("late", 1)}


def test_a_proxy_travels_and_binds_where_it_arrives() -> None:
    def program(world: World) -> None:
        book = entries(2)

        def introduce() -> None:
            ledger = underpass.connect(Ledger, "ledger", timeout=None)
            ledger.book(0)
            world.process(use, ledger)

        def use(ledger: Ledger) -> None:
            assert "not bound" in repr(ledger)
            assert ledger.book(1) == 1

        world.process(serve, book, servant=True)
        world.process(introduce)
        world.at_end(lambda: [entry.load() for entry in book] == [1, 1])

    lab.explore(program, schedules=SCHEDULES // 2, seed=1)
