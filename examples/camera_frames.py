"""A camera and its detectors: frames are written once and read in place, and a detector that is killed loses none."""

import multiprocessing
import os
import signal

import numpy as np

import underpass

SLOTS, HEIGHT, WIDTH = 4, 480, 640
FRAMES, FATAL = 60, 20


def detect(pictures: underpass.Region, ready: underpass.Queue, free: underpass.Queue, found: underpass.Queue) -> None:
    """Look for the bright spot of each frame. Whoever gets frame FATAL first dies of it."""
    slots = pictures.array((SLOTS, HEIGHT, WIDTH), np.uint8)
    for frame in ready.leases():
        with frame:  # if this process dies here, the frame goes to another, before all others
            number, slot = frame.value[0], frame.value[1]
            if number == FATAL and frame.deliveries == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            row, column = divmod(int(slots[slot].argmax()), WIDTH)  # numpy reads where the camera wrote
            found.put(b"%d %d %d" % (number, row, column))
            free.put(bytes([slot]))


def film(pictures: underpass.Region, ready: underpass.Queue, free: underpass.Queue) -> None:
    """Take frames, each with a bright spot that wanders; wait where the detectors are behind."""
    slots = pictures.array((SLOTS, HEIGHT, WIDTH), np.uint8)
    for number in range(FRAMES):
        slot = free.get(timeout=30)[0]
        slots[slot] = 10
        slots[slot, number * 7, number * 10] = 255
        ready.put(bytes([number, slot]))
    ready.shutdown()


def main() -> None:
    """Film here; two detectors look."""
    pictures = underpass.Region(SLOTS * HEIGHT * WIDTH)
    ready, free, found = (underpass.Queue(capacity=FRAMES, message_size=32) for _ in range(3))
    free.put_many([bytes([slot]) for slot in range(SLOTS)])
    context = multiprocessing.get_context("spawn")
    detectors = [context.Process(target=detect, args=(pictures, ready, free, found)) for _ in range(2)]
    for detector in detectors:
        detector.start()
    film(pictures, ready, free)
    ready.join()  # nothing is queued, and nobody looks at anything
    for detector in detectors:
        detector.join()
    spots = {tuple(map(int, spot.split())) for spot in found.get_many()}
    right = spots == {(number, number * 7, number * 10) for number in range(FRAMES)}
    killed = sum(detector.exitcode == -signal.SIGKILL for detector in detectors)
    print(f"{len(spots)} frames, {'all right' if right else 'wrong'}; {killed} detector was killed")
    # -> 60 frames, all right; 1 detector was killed


if __name__ == "__main__":
    main()
