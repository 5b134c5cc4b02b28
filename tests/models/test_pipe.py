"""Pipe against a bytearray: what is in it, and how it ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import EndOfStream, Pipe, TimedOut, UnderpassError, WouldBlock

if TYPE_CHECKING:
    from collections.abc import Callable


class PipeModel(RuleBasedStateMachine):
    """Everything that one process can do with a pipe without waiting, through two handles of it."""

    @initialize(capacity=some.integers(1, 12))
    def make(self, capacity: int) -> None:
        self.it = Pipe.create("it", capacity)
        self.other = Pipe.open("it")
        self.capacity, self.bytes = capacity, bytearray()
        self.writers = ExitStack()
        self.registered = 0
        self.left = self.shut = False

    @rule(data=some.binary(max_size=16), wait=some.booleans())
    def write(self, data: bytes, *, wait: bool) -> None:
        room, late = self.capacity - len(self.bytes), TimedOut if wait else WouldBlock
        if len(data) > self.capacity and not wait:
            return
        write = (lambda: self.it.write(data, timeout=0)) if wait else (lambda: self.it.write_nowait(data))
        ended = outcome(write)
        if self.shut:
            assert ended is EndOfStream
            return
        assert ended is (None if len(data) <= room else late)
        # What the pipe can hold is written at once or not at all, and more as far as it goes.
        if len(data) <= room or len(data) > self.capacity:
            self.bytes += data[:room]

    @rule(size=some.integers(0, 16), wait=some.booleans(), into=some.booleans())
    def read(self, size: int, *, wait: bool, into: bool) -> None:
        if size > self.capacity and not wait:
            return
        late = EndOfStream if self.shut or self.left else TimedOut if wait else WouldBlock
        there = bytes(self.bytes[:size])
        got = bytearray(size)
        if len(there) == size:
            got[:] = self.bytes_of(size, got, wait=wait, into=into)
            assert bytes(got) == there
            del self.bytes[:size]
            return
        with pytest.raises((EndOfStream, TimedOut, WouldBlock)) as caught:
            self.bytes_of(size, got, wait=wait, into=into)
        error = caught.value
        assert type(error) is late
        # What the pipe can hold is read at once or not at all, and more as far as it goes.
        if size > self.capacity:
            assert not isinstance(error, WouldBlock)
            assert error.transferred == len(there)
            assert (bytes(got[: len(there)]) if into else error.data) == there
            self.bytes.clear()

    def bytes_of(self, size: int, into_this: bytearray, *, wait: bool, into: bool) -> bytes:
        if wait and into:
            assert self.other.read_into(into_this, timeout=0) == size
            return bytes(into_this)
        return self.other.read(size, timeout=0) if wait else self.other.read_nowait(size)

    @rule(limit=some.integers(1, 16), wait=some.booleans())
    def read_some(self, limit: int, *, wait: bool) -> None:
        read: Callable[[], bytes] = (
            (lambda: self.it.read_some(limit, timeout=0)) if wait else (lambda: self.it.read_some_nowait(limit))
        )
        late: type[UnderpassError] = EndOfStream if self.shut or self.left else TimedOut if wait else WouldBlock
        there = bytes(self.bytes[:limit])
        assert outcome(read) == (there or late)
        del self.bytes[:limit]

    @rule()
    def register(self) -> None:
        self.writers.enter_context(self.it.putting())
        self.registered += 1
        self.left = False

    @precondition(lambda self: self.registered)
    @rule()
    def leave(self) -> None:
        self.writers.close()
        self.registered = 0
        self.left = True

    @rule()
    def reset(self) -> None:
        self.other.reset()
        self.bytes.clear()

    @precondition(lambda self: len(self.bytes) > 3)
    @rule()
    def shutdown(self) -> None:
        self.it.shutdown()
        self.shut = True

    @invariant()
    def tells(self) -> None:
        told = self.it.statistics()
        assert (told.depth, told.capacity, told.shut_down) == (len(self.bytes), self.capacity, self.shut)
        assert told.writers == (self.registered > 0)

    def teardown(self) -> None:
        if hasattr(self, "it"):
            self.writers.close()
            self.it.unlink()
            self.it.close()
            self.other.close()


@profiles
def test_pipe_is_a_bytearray_with_ends(profile: settings) -> None:
    compare(PipeModel, profile)
