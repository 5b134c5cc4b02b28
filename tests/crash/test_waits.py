"""SIGKILL at random instants of sleeping and waking: the dead are never told as waiters, and the living always are."""

import random
import time

from tests.conformance.backends import ProcessActor, Processes, until
from underpass import Queue, Semaphore, Space

KILLS = 25
# The longest time a victim lives after it has begun, in seconds.
SPAN = 0.01


def test_the_dead_do_not_wait(processes: Processes, dice: random.Random) -> None:
    balls, never, space = Queue(64, 16), Semaphore(0), Space.default()
    sleeper = processes.start(never.acquire)
    sleeper.until_asleep()

    def play() -> None:
        while True:
            balls.put(balls.get())

    balls.put(b"one for all")
    running: list[ProcessActor[None]] = [processes.start(play) for _ in range(3)]
    for _ in range(KILLS):
        running.append(processes.start(play))
        time.sleep(dice.random() * SPAN)
        victim = running.pop(0)
        victim.kill()
        told = space.waits()
        assert victim.pid not in {waiter.pid for waiter in told}
        assert {waiter.pid for waiter in told} <= {actor.pid for actor in (sleeper, *running)}
        # A player waits for the ball, for room, or for another player in the middle of a step.
        for waiter in told:
            assert waiter.operation in ({"acquire"} if waiter.pid == sleeper.pid else {"get", "put", "lock"})
        if balls.depth == 0:
            # The ball went with the dead, or is on its way.
            balls.put(b"another", timeout=10)
    for left in running:
        left.kill()
    until(lambda: [waiter.pid for waiter in space.waits()] == [sleeper.pid], "the one that sleeps")
    assert never.statistics().waiters == 1
    never.release()
    assert sleeper.result()
