"""Who sleeps is no fact to build on: a sleep can end without a cause, and begin again."""

from tests.lab.planted.catalogue import planted
from underpass import AtomicInt, Semaphore
from underpass.lab import World


@planted("spurious wake", oracle="deadlock", schedules=2_000)
def woken_if_it_sleeps(world: World, fixed: bool) -> None:
    """Who is seen asleep once is told only if it is seen asleep again."""
    bell = Semaphore(0)

    def tell() -> None:
        while bell.statistics().waiters == 0:
            world.step()
        world.step()
        if fixed or bell.statistics().waiters:
            bell.release()

    world.process(bell.acquire, name="wait")
    world.process(tell)


@planted("spurious wake", oracle="assertion", schedules=1_000)
def started_when_all_sleep(world: World, fixed: bool) -> None:
    """Those who sleep are counted, instead of those who have come."""
    gun, come = Semaphore(0), AtomicInt()

    def run() -> None:
        come.add(1)
        gun.acquire()

    def start() -> None:
        while gun.statistics().waiters == 0:
            world.step()
        world.step()
        there = come.load() if fixed else gun.statistics().waiters
        assert there == 1, "a false start"
        gun.release()

    world.process(run)
    world.process(start)
