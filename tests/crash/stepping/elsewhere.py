"""What another process has, until somebody tells it not to."""

import mmap
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Generic, TypeVar

from tests.crash.stepping.children import Child, directory, state, until

T = TypeVar("T")
# Between two looks whether it is to let go, in seconds: others need its processor.
PAUSE = 0.0005


class Elsewhere(Generic[T]):
    """An object that another process has: inside the block that ``having`` makes."""

    def __init__(self, it: T, having: Callable[[], AbstractContextManager[object]]) -> None:
        self.it = it
        self._page = mmap.mmap(-1, 2)

        def have() -> None:
            with having():
                self._page[0] = 1
                # It is for whoever asks to lose patience. Who started it takes it along (PR_SET_PDEATHSIG).
                while not self._page[1]:
                    time.sleep(PAUSE)
            self._page[0] = 0

        self._holder = Child("holder", have)
        until(lambda: self._page[0] == 1, "the holder does not come to have it")

    def ask(self) -> None:
        """Have it let go: it may have to wait for a lock that the victim holds, where it is held."""
        self._page[1] = 1

    def let_go(self) -> None:
        """Have it let go, and wait for that."""
        self.ask()
        until(lambda: self._page[0] == 0, "the holder does not let go")

    def lose(self) -> None:
        """Have it die with what it has, whoever asks for that."""
        pid = self._holder.pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until(lambda: state(directory(pid)) in {"Z", "X"}, "the holder does not die")

    def close(self) -> None:
        """End the holder."""
        self._holder.close()
        self._page.close()
