"""A semaphore that any process can find by its name: at most two at a time."""

import multiprocessing
import os

import underpass

NAME = "example/ovens"
OVENS = 2


def bake(loaves: int) -> None:
    """Use an oven for each loaf; who comes when both are in use sleeps."""
    ovens = underpass.Semaphore.open_or_create(NAME, OVENS, limit=OVENS)
    inside = underpass.Semaphore.open(NAME + ".inside")
    for _ in range(loaves):
        with ovens.holding(timeout=30):
            inside.release()
            assert inside.value <= OVENS, "one too many"
            inside.acquire()


def main() -> None:
    """Let six bakers share two ovens."""
    with_ovens = underpass.Semaphore.create(NAME, OVENS, limit=OVENS)
    inside = underpass.Semaphore.create(NAME + ".inside", 0)
    bakers = [multiprocessing.get_context("spawn").Process(target=bake, args=(500,)) for _ in range(6)]
    for baker in bakers:
        baker.start()
    for baker in bakers:
        baker.join()
    print(sum(baker.exitcode == os.EX_OK for baker in bakers), "bakers are done,", with_ovens.value, "ovens are free")
    # -> 6 bakers are done, 2 ovens are free
    try:
        with_ovens.release()
    except underpass.MisuseError:
        print("there is no third oven")
        # -> there is no third oven
    for semaphore in (with_ovens, inside):
        semaphore.unlink()  # a name lives until then


if __name__ == "__main__":
    main()
