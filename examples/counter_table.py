"""Counters of web workers in one table: a row for each worker, so that counting takes no lock, and sums are exact."""

import multiprocessing
import os
import signal

import numpy as np

import underpass

NAME = "example/counters"
ROUTES = ["/", "/login", "/search"]
WORKERS = 4


class Application:
    """Counts what it is asked, and says what all of them were."""

    def __init__(self) -> None:
        """Lease a row for as long as this process lives: if it is killed, its successor goes on with its counts."""
        self.row = underpass.Queue.open(NAME + ".rows").take()
        self.all = underpass.Region.open(NAME).array((WORKERS, len(ROUTES)), np.int64)
        self.mine = self.all[self.row.value[0]]

    def hello(self, route: str) -> str:
        """Count, and answer."""
        self.mine[ROUTES.index(route)] += 1  # nobody else writes here
        return "hello"

    def counters(self) -> str:
        """Sum over all rows, those of the dead included."""
        return ", ".join(f"{route} {count}" for route, count in zip(ROUTES, self.all.sum(axis=0), strict=True))


def work(requests: int) -> None:
    """Answer requests as a web server's worker would, and be killed."""
    application = Application()
    for number in range(requests):
        application.hello(ROUTES[number % len(ROUTES)])
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Let eight workers count, four at a time, in four rows."""
    table = underpass.Region.create(NAME, WORKERS * len(ROUTES) * 8)
    rows = underpass.Queue.create(NAME + ".rows", capacity=WORKERS, message_size=8)
    rows.put_many([bytes([row]) for row in range(WORKERS)])
    workers = [multiprocessing.get_context("spawn").Process(target=work, args=(3000,)) for _ in range(2 * WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(Application().counters())
    # -> / 8000, /login 8000, /search 8000
    table.unlink()
    rows.unlink()


if __name__ == "__main__":
    main()
