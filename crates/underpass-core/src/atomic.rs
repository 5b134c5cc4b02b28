//! A number of 64 bits on which threads can sleep: C++'s `atomic<int64_t>` with `wait`, Zephyr's `k_futex`.
//!
//! Every change is one read-modify-write, and wakes whoever it lets go; `wake` lets go regardless of the value, the
//! most urgent first.
//!
//! Invariant: whoever changes the value sees each waiter that has not seen the change, and serves it or leaves its baton
//! to another waiter; one that is about to sleep looks at the value itself.

use std::cell::Cell;

use underpass_shm::layout::atomic::AtomicWords;
use underpass_shm::place::Placed;
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::stay::Slotted;
use crate::wait::Sleepers;
use crate::waiters::{Room, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// Given to those whom a change lets go.
const CHANGED: u64 = 0;
/// Given to those whom a wake has chosen.
const CHOSEN: u64 = 1;

/// A handle of an atomic integer.
#[derive(Debug, Clone)]
pub struct AtomicInt {
    words: Placed<AtomicWords>,
    waiters: Waiters,
}

impl AtomicInt {
    /// A handle over words that [`Self::format`] has set up.
    #[must_use]
    pub fn new(words: Placed<AtomicWords>, waiters: Waiters) -> Self {
        Self { words, waiters }
    }

    /// Sets up zeroed words: before anybody else sees them.
    pub fn format(words: &AtomicWords, value: i64) {
        words.value.store(value.cast_unsigned(), Relaxed);
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn load(&self) -> i64 {
        self.words.value.load(Acquire).cast_signed()
    }

    /// Makes it `value`; the value before.
    #[inline]
    pub fn exchange(&self, kernel: &dyn Kernel, value: i64) -> Result<i64> {
        self.change(kernel, |word| word.swap(value.cast_unsigned(), AcqRel))
    }

    /// Makes it `value` if it is `expected`; the value before.
    #[inline]
    pub fn compare_exchange(&self, kernel: &dyn Kernel, expected: i64, value: i64) -> Result<i64> {
        self.change(kernel, |word| {
            let (expected, value) = (expected.cast_unsigned(), value.cast_unsigned());
            word.compare_exchange(expected, value, AcqRel, Acquire).unwrap_or_else(|other| other)
        })
    }

    /// Adds, modulo 2**64; the value before.
    #[inline]
    pub fn add(&self, kernel: &dyn Kernel, value: i64) -> Result<i64> {
        self.change(kernel, |word| word.fetch_add(value.cast_unsigned(), AcqRel))
    }

    /// Subtracts, modulo 2**64; the value before.
    #[inline]
    pub fn sub(&self, kernel: &dyn Kernel, value: i64) -> Result<i64> {
        self.change(kernel, |word| word.fetch_sub(value.cast_unsigned(), AcqRel))
    }

    /// Keeps the bits that `value` has too; the value before.
    #[inline]
    pub fn and(&self, kernel: &dyn Kernel, value: i64) -> Result<i64> {
        self.change(kernel, |word| word.fetch_and(value.cast_unsigned(), AcqRel))
    }

    /// Sets the bits that `value` has; the value before.
    #[inline]
    pub fn or(&self, kernel: &dyn Kernel, value: i64) -> Result<i64> {
        self.change(kernel, |word| word.fetch_or(value.cast_unsigned(), AcqRel))
    }

    /// Flips the bits that `value` has; the value before.
    #[inline]
    pub fn xor(&self, kernel: &dyn Kernel, value: i64) -> Result<i64> {
        self.change(kernel, |word| word.fetch_xor(value.cast_unsigned(), AcqRel))
    }

    #[inline]
    fn change(&self, kernel: &dyn Kernel, change: impl Fn(&AtomicU64) -> u64) -> Result<i64> {
        if !self.waiters.is_empty() {
            return self.change_slow(kernel, &change);
        }
        // A waiter can come between the change and the look, so the wake may be owed from the change on.
        let _owed = self.waiters.owe(kernel);
        let before = change(&self.words.value).cast_signed();
        if !self.waiters.is_quiet_after_a_change() {
            self.changed(kernel)?;
        }
        Ok(before)
    }

    /// With waiters the lock comes first: who waits for it owes nothing yet.
    #[cold]
    fn change_slow(&self, kernel: &dyn Kernel, change: &dyn Fn(&AtomicU64) -> u64) -> Result<i64> {
        let _held = self.waiters.enter(kernel, self)?;
        let _owed = self.waiters.begin(kernel);
        let before = change(&self.words.value).cast_signed();
        self.mend(kernel);
        self.waiters.settle(kernel, self);
        Ok(before)
    }

    #[cold]
    fn changed(&self, kernel: &dyn Kernel) -> Result<()> {
        match self.waiters.enter(kernel, self) {
            Ok(_held) => {
                let _owed = self.waiters.begin(kernel);
                self.mend(kernel);
                self.waiters.settle(kernel, self);
                Ok(())
            }
            Err(error) => {
                // The value has changed: each looks for itself.
                self.waiters.recall(kernel);
                Err(error)
            }
        }
    }

    /// That of one who waits while the value is `expected`.
    #[inline]
    #[must_use]
    pub fn wish(expected: i64) -> Wish {
        Wish { value: expected.cast_unsigned(), how: 0 }
    }

    /// Sleeps while the value is `expected`, until a wake.
    #[inline]
    pub fn wait(&self, kernel: &dyn Kernel, expected: i64, deadline: Deadline) -> Result<()> {
        let wish = Self::wish(expected);
        if self.ready(wish) {
            return Ok(());
        }
        if deadline == Deadline::NoWait {
            return Err(Error::WouldBlock);
        }
        self.waiters.wait(kernel, self, wish, deadline).map(drop)
    }

    /// Lets up to `count` waiters go, the most urgent, and of those who waited for longest, whatever the value is; how many there
    /// were.
    pub fn wake(&self, kernel: &dyn Kernel, count: u64) -> Result<u64> {
        if self.waiters.is_empty_after_a_change() {
            return Ok(0);
        }
        let _held = self.waiters.enter(kernel, self)?;
        let _owed = self.waiters.begin(kernel);
        self.mend(kernel);
        let mut woken = 0;
        while woken < count
            && let Some(index) = self.waiters.first_by_priority()
        {
            if !self.waiters.grant(index, CHOSEN) {
                continue;
            }
            if self.tell_chosen(kernel, index) {
                woken += 1;
            } else {
                // In place of the dead the next is chosen here.
                self.waiters.dismiss(index);
            }
        }
        self.waiters.open_door(kernel);
        Ok(woken)
    }

    /// Tells one who was chosen; false if it is dead. The lock is held.
    fn tell_chosen(&self, kernel: &dyn Kernel, index: usize) -> bool {
        if self.waiters.rouse(kernel, index) {
            return true;
        }
        let comes = self.waiters.will_come(kernel, index);
        if comes {
            // It did not sleep, so its death would tell nobody but those who watch it.
            self.waiters.call_one(kernel);
        }
        comes
    }

    /// How many have a slot in which they wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }
}

/// An atomic integer as those see it who wait for another value than one, and for other things besides.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose value.
    pub atomic: AtomicInt,
    /// That of one who waits while the value is what it was.
    pub wish: Wish,
}

impl Ready for Change {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.atomic.waiters
    }

    /// The value is another.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let Self { atomic, wish } = self;
        if atomic.ready(*wish) {
            return Ok(true);
        }
        let Some(watch) = watch else { return Ok(false) };
        let _held = atomic.waiters.enter(kernel, atomic)?;
        atomic.waiters.reap(kernel, atomic);
        atomic.watch(*wish, watch);
        atomic.waiters.announce_onlooker_of_changes(watch);
        // SYNC(waiters-1): whoever changed it before finds nobody announced, and is seen here.
        Ok(atomic.ready(*wish))
    }
}

impl Room for AtomicInt {
    fn ready(&self, wish: Wish) -> bool {
        self.words.value.load(Acquire) != wish.value
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        self.ready(wish).then_some(CHANGED)
    }

    fn watch<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        watch.wide = Some((&self.words.value, wish.value));
    }

    fn mend(&self, kernel: &dyn Kernel) {
        let _owed = self.waiters.owe(kernel);
        // Whoever has slept mends. If that called the others each time, those about to sleep would call each other for ever.
        if self.waiters.waiting().any(|(_, wish)| self.ready(wish)) {
            let _owed = self.waiters.begin(kernel);
            for (index, wish) in self.waiters.waiting() {
                if self.ready(wish) {
                    self.waiters.grant(index, CHANGED);
                }
            }
        }
        // Also those whom a dead waker had chosen and not told.
        self.waiters.tell_all(kernel);
        self.waiters.open_door(kernel);
    }

    fn take_back(&self, kernel: &dyn Kernel, _index: usize, given: u64) {
        if given != CHOSEN {
            return;
        }
        let _owed = self.waiters.begin(kernel);
        while let Some(index) = self.waiters.first_by_priority() {
            if self.waiters.grant(index, CHOSEN) {
                self.tell_chosen(kernel, index);
                return;
            }
        }
    }
}

impl Slotted for AtomicInt {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn is_torn(&self, _kernel: &dyn Kernel) -> bool {
        self.waiters.waiting().any(|(_, wish)| self.ready(wish))
    }

    fn step(&self, kernel: &dyn Kernel, wish: Wish, seat: &Cell<Option<usize>>) -> Result<Option<u64>> {
        if seat.get().is_none() && self.ready(wish) {
            return Ok(Some(CHANGED));
        }
        let mut mine = seat.get();
        let given = self.waiters.attempt(kernel, self, wish, &mut mine, Some(&mut Watch::new()), true);
        seat.set(mine);
        given
    }
}
