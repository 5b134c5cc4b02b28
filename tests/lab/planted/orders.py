"""Services made of several steps: each client sees what no order of whole operations explains."""

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass

from tests.lab.planted.catalogue import planted
from underpass import AtomicInt, Mutex
from underpass.lab import World, linearizable, models
from underpass.lab.history import Operation, Task


@dataclass(frozen=True)
class Clock(models.Model):
    """Hours and minutes."""

    time: tuple[int, int] = (0, 59)

    def set(self, _who: Task, *time: int) -> models.Step:
        yield None, Clock((time[0], time[1]))

    def read(self, _who: Task) -> models.Step:
        yield self.time, self


@planted("order", oracle="not linearizable")
def torn_clock(world: World, fixed: bool) -> None:
    """Hours and minutes are read one after the other."""
    hours, minutes, lock = AtomicInt(0), AtomicInt(59), Mutex()

    class Service:
        def set(self, hour: int, minute: int) -> None:
            with lock if fixed else ExitStack():
                hours.store(hour)
                minutes.store(minute)

        def read(self) -> tuple[int, int]:
            with lock if fixed else ExitStack():
                return hours.load(), minutes.load()

    clock = linearizable(Service(), Clock())
    world.process(clock.set, 1, 0, name="tick")
    world.process(clock.read, name="look")


@dataclass(frozen=True)
class Entry(models.Model):
    """One key of a dictionary."""

    value: int = 0

    def partition(self, operation: Operation) -> Hashable:
        return operation.arguments[0]

    def add(self, _who: Task, _key: int, value: int) -> models.Step:
        yield self.value + value, Entry(self.value + value)


@planted("order", oracle="not linearizable")
def dictionary_locked_by_halves(world: World, fixed: bool) -> None:
    """Every key has a lock, but that of the wrong key is taken."""
    values, locks = [AtomicInt() for _ in range(2)], [Mutex() for _ in range(4)]

    class Service:
        def add(self, key: int, value: int) -> int:
            with locks[key if fixed else key * 2 + value % 2]:
                total = values[key].load() + value
                values[key].store(total)
                return total

    service = linearizable(Service(), Entry())

    def work(first: int) -> None:
        service.add(0, first)
        service.add(1, 1)

    world.process(work, 1)
    world.process(work, 2)


@dataclass(frozen=True)
class Highest(models.Model):
    """The highest that was told."""

    value: int = 0

    def tell(self, _who: Task, value: int) -> models.Step:
        yield None, Highest(max(self.value, value))

    def load(self, _who: Task) -> models.Step:
        yield self.value, self


@planted("order", oracle="not linearizable")
def highest_goes_down(world: World, fixed: bool) -> None:
    """Compares, and then stores what is no longer the highest."""
    word = AtomicInt()

    class Service:
        def tell(self, value: int) -> None:
            while (now := word.load()) < value:
                if not fixed:
                    word.store(value)
                    return
                if word.compare_exchange(now, value) == now:
                    return

        def load(self) -> int:
            return word.load()

    highest = linearizable(Service(), Highest())

    def report(value: int) -> None:
        highest.tell(value)
        highest.load()

    world.process(report, 1)
    world.process(report, 2)


@planted("kill", oracle="not linearizable")
def finished_by_another(world: World, fixed: bool) -> None:
    """What a dead one has announced, a successor does: whoever looks in between sees it undone, after the death."""
    wish, word = AtomicInt(), AtomicInt()

    class Service:
        def tell(self, value: int) -> None:
            if fixed:
                word.store(value)
            else:
                wish.store(value)
                self.finish()

        def finish(self) -> None:
            if value := wish.exchange(0):
                word.store(value)

        def load(self) -> int:
            return word.load()

    service = Service()
    highest = linearizable(service, Highest())

    def look() -> None:
        highest.load()
        service.finish()
        highest.load()

    world.process(highest.tell, 5, name="tell")
    world.process(look, mortal=False)
