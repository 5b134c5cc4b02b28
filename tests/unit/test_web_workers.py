"""The example for web workers, under gunicorn, with a worker that is killed inside the lock."""

import contextlib
import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

import underpass

EXAMPLE = Path(__file__).parents[2] / "examples" / "web_workers" / "app.py"
WORKERS, CLIENTS, REQUESTS = 3, 5, 12
SOCKET = "web.sock"  # beneath the test's own directory: a Unix socket's path is short


class Client(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def visit(page: str) -> str | None:
    """Ask for a page; None if the connection broke."""
    with contextlib.closing(Client("localhost")) as client:
        try:
            client.request("GET", page)
            response = client.getresponse()
            answer = response.read().decode()
        except (ConnectionError, http.client.HTTPException):
            return None
    assert response.status == http.HTTPStatus.OK, answer
    return answer


@contextlib.contextmanager
def gunicorn(*arguments: str) -> Generator[None]:
    command = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--bind", f"unix:{SOCKET}"]
    command += ["--worker-tmp-dir", ".", "--no-control-socket", *arguments, "--pythonpath", str(EXAMPLE.parent), "app"]
    with Path("log").open("w+") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            wait_until(lambda: "Listening at" in Path("log").read_text() or server.poll() is not None)
            assert server.poll() is None, Path("log").read_text()
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


@contextlib.contextmanager
def writing(fifo: Path) -> Generator[None]:
    """Open a FIFO as soon as somebody reads from it."""
    while True:
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO  # noqa: PT017 - nobody reads yet
            time.sleep(0.01)
        else:
            break
    try:
        yield
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["each opens", "forked with it"])
def test_killed_worker_neither_loses_a_visit_nor_stops_the_others(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answers: list[str | None] = []

    def client(number: int) -> None:
        for _ in range(REQUESTS):
            answers.append(visit(f"/{number % 2}"))  # noqa: PERF401 - each as it comes

    # The first worker inside the lock reads from this, and stays there: the writer writes nothing.
    pages = Path("pages.json")
    os.mkfifo(pages)
    with gunicorn(*arguments):
        clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        for thread in clients:
            thread.start()
        with writing(pages):
            lock, visits = underpass.Mutex.open("web/pages"), underpass.AtomicInt.open("web/visits")
            victim = lock.owner
            assert victim is not None
            Path("empty").write_text("{}")
            Path("empty").replace(pages)
            os.kill(victim.pid, signal.SIGKILL)
        for thread in clients:
            thread.join()
    assert len(answers) == CLIENTS * REQUESTS
    assert answers.count(None) == 1
    numbers = [int(found) for answer in answers if answer for found in re.findall(r"visit (\d+),", answer)]
    assert len(numbers) == len(set(numbers)) == CLIENTS * REQUESTS - 1
    assert visits.load() == CLIENTS * REQUESTS  # the one who was killed had been counted
    assert sum(json.loads(pages.read_text()).values()) == CLIENTS * REQUESTS - 1  # and had not written
    assert lock.owner is None
    for shared in (lock, visits):
        shared.unlink()


def test_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 60
