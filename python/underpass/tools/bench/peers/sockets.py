"""The kernel's own: a pair of pipes, a Unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Generator
from pathlib import Path

from underpass.tools.bench.peers.shapes import MESSAGE, Echo, Flow

Pipes = tuple[int, int, int, int]
Sockets = tuple[socket.socket, socket.socket]


@contextlib.contextmanager
def _pipes(_place: Path) -> Generator[Pipes]:
    ends = (*os.pipe(), *os.pipe())
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _echo_pipes(ends: Pipes) -> None:
    requests, _, _, replies = ends
    while True:
        os.write(replies, os.read(requests, len(MESSAGE)))


@contextlib.contextmanager
def _trip_pipes(ends: Pipes) -> Generator[Callable[[], object]]:
    _, requests, replies, _ = ends

    def trip() -> None:
        os.write(requests, MESSAGE)
        os.read(replies, len(MESSAGE))

    yield trip


@contextlib.contextmanager
def _write_pipe(ends: Pipes) -> Generator[Callable[[int], object]]:
    def produce(count: int) -> None:
        for _ in range(count):
            os.write(ends[1], MESSAGE)

    yield produce


@contextlib.contextmanager
def _read_pipe(ends: Pipes) -> Generator[Callable[[int], object]]:
    def consume(count: int) -> None:
        for _ in range(count):
            os.read(ends[0], len(MESSAGE))

    yield consume


@contextlib.contextmanager
def _pair(_place: Path) -> Generator[Sockets]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        yield here, there


def _echo_socket(pair: Sockets) -> None:
    while True:
        pair[1].send(pair[1].recv(len(MESSAGE)))


@contextlib.contextmanager
def _trip_socket(pair: Sockets) -> Generator[Callable[[], object]]:
    def trip() -> None:
        pair[0].send(MESSAGE)
        pair[0].recv(len(MESSAGE))

    yield trip


@contextlib.contextmanager
def _send(pair: Sockets) -> Generator[Callable[[int], object]]:
    def produce(count: int) -> None:
        for _ in range(count):
            pair[1].send(MESSAGE)

    yield produce


@contextlib.contextmanager
def _receive(pair: Sockets) -> Generator[Callable[[int], object]]:
    def consume(count: int) -> None:
        for _ in range(count):
            pair[0].recv(len(MESSAGE))

    yield consume


PIPE_ECHO = Echo("os.pipe", "", _pipes, _echo_pipes, _trip_pipes)
SOCKET_ECHO = Echo("Unix socket, seqpacket", "", _pair, _echo_socket, _trip_socket)
PIPE_FLOW = Flow("os.pipe", "", _pipes, _write_pipe, _read_pipe)
SOCKET_FLOW = Flow("Unix socket, seqpacket", "", _pair, _send, _receive)
