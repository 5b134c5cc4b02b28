"""Histories of conditions: no schedule has one that the model does not explain; known ones that it refuses."""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

pytest.importorskip("greenlet")

import underpass
from tests.lab.scenes import Scene
from underpass import MisuseError, OwnerDiedError, TimedOut, WouldBlock, lab
from underpass.lab import World, linearizable, models
from underpass.lab.history import Operation

SCHEDULES = 40


def test_a_notification_is_for_who_waits_already() -> None:
    scene = Scene(models.Condition())
    scene.do(0, "notify", gives=0)
    scene.do(0, "acquire", gives=True)
    sleeper = scene.call(0, "wait")
    scene.do(1, "notify", gives=1)
    scene.end(sleeper, True)  # noqa: FBT003
    scene.do(0, "release")
    assert scene.fits()


def test_one_who_comes_back_without_a_notification_is_refused() -> None:
    scene = Scene(models.Condition())
    scene.do(0, "acquire", gives=True)
    scene.do(0, "wait", gives=True)
    assert not scene.fits()


def test_it_comes_back_with_the_mutex() -> None:
    scene = Scene(models.Condition())
    scene.do(0, "acquire", gives=True)
    sleeper = scene.call(0, "wait")
    scene.do(1, "acquire", gives=True)
    scene.do(1, "notify", gives=1)
    scene.end(sleeper, True)  # noqa: FBT003
    scene.do(1, "release")
    assert not scene.fits()


def test_one_notification_wakes_one() -> None:
    scene = Scene(models.Condition())
    sleepers = list[Operation]()
    for who in (0, 1):
        scene.do(who, "acquire", gives=True)
        sleepers.append(scene.call(who, "wait"))
    scene.do(2, "notify", gives=1)
    scene.end(sleepers[0], True)  # noqa: FBT003
    scene.do(0, "release")
    assert scene.fits()
    scene.end(sleepers[1], True)  # noqa: FBT003
    assert not scene.fits()


def test_who_came_first_is_told_first() -> None:
    scene = Scene(models.Condition())
    sleepers = list[Operation]()
    for who in (0, 1):
        scene.do(who, "acquire", gives=True)
        sleepers.append(scene.call(who, "wait"))
    scene.do(2, "notify", gives=1)
    scene.end(sleepers[1], True)  # noqa: FBT003
    assert not scene.fits()


def visitor(condition: underpass.Condition, seed: int) -> Callable[[], None]:
    """What one process does, drawn."""

    def visit() -> None:
        dice = random.Random(seed)
        for _ in range(2):
            act = dice.choice(["wait", "wait in time", "notify", "notify all", "notify inside", "try"])
            with suppress(TimedOut, WouldBlock, OwnerDiedError, MisuseError):
                if act.startswith("wait"):
                    with condition:
                        condition.wait(timeout=5 if act == "wait in time" else None)
                elif act == "notify":
                    condition.notify()
                elif act == "notify all":
                    condition.notify_all()
                elif act == "notify inside":
                    with condition:
                        condition.notify(2)
                else:
                    condition.acquire_nowait()
                    condition.release()

    return visit


@pytest.mark.parametrize("kills", [0, 1])
@pytest.mark.parametrize("seed", range(8))
def test_every_history_is_a_conditions(seed: int, kills: int) -> None:
    def program(world: World) -> None:
        condition = linearizable(underpass.Condition(), models.Condition())
        for number in range(3):
            # Who is notified by nobody waits on.
            world.process(visitor(condition, 3 * seed + number), servant=True)

    lab.explore(program, schedules=SCHEDULES, kills=kills, seed=seed)
