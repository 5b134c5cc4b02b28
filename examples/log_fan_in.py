"""Lines of many processes come together: whole, in each process's order, and complete, also those of one that is killed."""

import logging
import multiprocessing
import os
import signal
from collections import Counter

import underpass

NAME, LINES = "example/log", 200


class QueueHandler(logging.Handler):
    """Puts each line, complete, where its reader finds it. Nothing is flushed, no thread helps."""

    def __init__(self) -> None:
        """Open the queue that all share."""
        super().__init__()
        self.lines = underpass.Queue.open(NAME)

    def emit(self, record: logging.LogRecord) -> None:
        """Put one line, and wait where the reader is behind."""
        self.lines.put(self.format(record).encode())


def work(name: str) -> None:
    """Log; worker 1 is killed after half of its lines, with no time to say good-bye."""
    log = logging.getLogger(name)
    log.addHandler(QueueHandler())
    for number in range(LINES):
        log.warning("%s: line %d", name, number)
        if name == "worker 1" and number == LINES // 2 - 1:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Collect what three workers log."""
    lines = underpass.Queue.create(NAME, capacity=64, message_size=512)
    spawn = multiprocessing.get_context("spawn").Process
    workers = [spawn(target=work, args=(f"worker {number}",)) for number in range(3)]
    for worker in workers:
        worker.start()
    seen: Counter[str] = Counter()
    while seen.total() < 2 * LINES + LINES // 2:
        for line in lines.get_many(timeout=30):
            name, number = line.decode().split(": line ")
            assert seen[name] == int(number), "out of order"
            seen[name] += 1
    print(*(f"{name}: {count} lines" for name, count in sorted(seen.items())), sep="\n")
    # -> worker 0: 200 lines
    # -> worker 1: 100 lines
    # -> worker 2: 200 lines
    for worker in workers:
        worker.join()
    lines.unlink()


if __name__ == "__main__":
    main()
