"""SpinLock against an owner, and whether what may wait is refused."""

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import MisuseError, Semaphore
from underpass.sync import SpinLock, atomic_section

which = some.integers(0, 1)


class SpinLockModel(RuleBasedStateMachine):
    """Two locks of one thread, and blocks around."""

    @initialize()
    def make(self) -> None:
        self.units = Semaphore(1)
        self.locks = [SpinLock.create("it"), SpinLock.create("other")]
        self.handles = [SpinLock.open("it"), SpinLock.open("other")]
        self.held = [False, False]
        self.blocks = list[object]()

    @property
    def is_inside(self) -> bool:
        return any(self.held) or bool(self.blocks)

    @rule(lock=which)
    def acquire(self, lock: int) -> None:
        taken = outcome(self.locks[lock].acquire)
        assert taken is (MisuseError if self.is_inside else True)
        self.held[lock] = self.held[lock] or taken is True

    @rule(lock=which)
    def acquire_nowait(self, lock: int) -> None:
        assert outcome(self.handles[lock].acquire_nowait) is (MisuseError if self.held[lock] else True)
        self.held[lock] = True

    @rule(lock=which)
    def release(self, lock: int) -> None:
        assert outcome(self.handles[lock].release) is (None if self.held[lock] else MisuseError)
        self.held[lock] = False

    @rule()
    def enter(self) -> None:
        block = atomic_section()
        block.__enter__()
        self.blocks.append(block)

    @rule(data=some.data())
    def leave(self, data: some.DataObject) -> None:
        if self.blocks:
            # In any order.
            self.blocks.pop(data.draw(some.integers(0, len(self.blocks) - 1)))

    @invariant()
    def waits_or_is_refused(self) -> None:
        assert outcome(self.units.acquire) is (MisuseError if self.is_inside else True)
        if not self.is_inside:
            self.units.release()

    @invariant()
    def is_the_same(self) -> None:
        for lock, held in zip(self.locks, self.held, strict=True):
            assert lock.statistics().state == ("held" if held else "free")

    def teardown(self) -> None:
        self.blocks.clear()
        for lock, held in zip(self.locks, self.held, strict=True):
            if held:
                lock.release()
            lock.unlink()
        for handle in (*self.locks, *self.handles, self.units):
            handle.close()


@profiles
def test_spin_locks_make_sections(profile: settings) -> None:
    compare(SpinLockModel, profile)
