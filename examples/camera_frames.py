"""A camera and its detectors: frames are written once and read in place, and a detector that is killed loses none."""

import multiprocessing
import os
import signal

import numpy as np

import underpass

SLOTS, HEIGHT, WIDTH, FRAMES, FATAL = 4, 480, 640, 60, 20


def detect(pictures: underpass.Region, ready: underpass.Queue, found: underpass.Queue) -> None:
    """Look for the bright spot of each frame. Whoever gets frame FATAL first dies of it."""
    slots = pictures.array((SLOTS, HEIGHT, WIDTH), np.uint8)
    for frame in ready.leases():
        with frame:  # if this process dies here, the frame goes to another, before all others
            number, slot = frame.value
            if number == FATAL and frame.deliveries == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            row, column = divmod(int(slots[slot].argmax()), WIDTH)  # numpy reads where the camera wrote
            found.put(b"%d %d %d %d" % (number, slot, row, column))


def film(pictures: underpass.Region, ready: underpass.Queue, found: underpass.Queue) -> dict[int, list[int]]:
    """Take frames, each with a bright spot that wanders, where an earlier one was looked at. Return the spots."""
    slots = pictures.array((SLOTS, HEIGHT, WIDTH), np.uint8)
    free, spots = list(range(SLOTS)), dict[int, list[int]]()
    for number in range(FRAMES + SLOTS):  # the last rounds wait for the last frames
        while not free:
            seen, slot, *spot = map(int, found.get(timeout=30).split())
            free += [slot] if seen not in spots else []  # told again: by another, after one had told it and died
            spots.setdefault(seen, spot)
        slot = free.pop()
        if number < FRAMES:
            slots[slot], slots[slot, number * 7, number * 10] = 10, 255
            ready.put(bytes([number, slot]))
    ready.shutdown()
    return spots


def main() -> None:
    """Film here; two detectors look."""
    shared = (underpass.Region(SLOTS * HEIGHT * WIDTH), underpass.Queue(SLOTS, 2), underpass.Queue(message_size=32))
    spawn = multiprocessing.get_context("spawn").Process
    detectors = [spawn(target=detect, args=shared) for _ in range(2)]
    for detector in detectors:
        detector.start()
    spots = film(*shared)
    for detector in detectors:
        detector.join()
    right = spots == {number: [number * 7, number * 10] for number in range(FRAMES)}
    killed = [detector.exitcode for detector in detectors].count(-signal.SIGKILL)
    print(f"{len(spots)} frames, {'all right' if right else 'wrong'}; {killed} detector was killed")
    # -> 60 frames, all right; 1 detector was killed


if __name__ == "__main__":
    main()
