"""Jobs that survive their worker: one is killed in the middle of a job, and another does it."""

import multiprocessing
import os
import signal

import underpass


def work(jobs: underpass.Queue, results: underpass.Queue) -> None:
    """Do jobs until there are none; the first that somebody gets of "b" is the end of him."""
    for job in jobs.leases():  # ends when nothing is queued or leased and nothing will come
        with job:  # leaving the block is done(), an exception puts it back, and so does death
            if bytes(job.value) == b"b" and job.deliveries == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            results.put(b"%b, delivered %d times" % (job.value, job.deliveries))


def main() -> None:
    """Start two workers for five jobs."""
    jobs = underpass.Queue(message_size=64)
    results = underpass.Queue(message_size=64)
    context = multiprocessing.get_context("spawn")  # handles go through spawn as well as through fork
    workers = [context.Process(target=work, args=(jobs, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    jobs.put_many([b"a", b"b", b"c", b"d", b"e"])
    jobs.shutdown()
    jobs.join()
    for worker in workers:
        worker.join()
    print(sum(worker.exitcode == -signal.SIGKILL for worker in workers), "worker was killed")
    # -> 1 worker was killed
    print(*sorted(result.decode() for result in results.get_many()), sep="\n")
    # -> a, delivered 1 times
    # -> b, delivered 2 times
    # -> c, delivered 1 times
    # -> d, delivered 1 times
    # -> e, delivered 1 times


if __name__ == "__main__":
    main()
