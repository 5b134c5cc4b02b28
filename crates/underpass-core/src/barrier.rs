//! A barrier: so many wait until all have come; then all go, and the next generation may come.
//!
//! Follows Java's `CyclicBarrier` and Python's `threading.Barrier` in what breaks it, and adds the death of a party. Each
//! waiter is told in its own slot how its generation ended, so one that is slow to wake confuses it with no later one.
//!
//! Invariant: a generation is the slots that are WAITING while nobody holds the lock: fewer than `parties`, and none if it
//! is broken. It has ended once `ending` is set; whoever inherits the lock lets the rest of it go. Whoever sleeps here
//! watches all processes that are known, and who becomes known wakes all sleepers after it.

use std::cell::Cell;

use underpass_shm::layout::barrier::{ABORTED, BarrierWords, DIED, PASSED, RESET, TIMED_OUT};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use crate::kernel::{Kernel, Watch};
use crate::planted::{Fault, planted};
use crate::stay::Slotted;
use crate::wait::{Patience, Waiting, wait_until};
use crate::waiters::{AWAITS, Room, UNRANKED, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// Why nobody passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody broke it on purpose.
    Aborted,
    /// Somebody's time ran out.
    TimedOut,
    /// A known process died.
    Died,
}

/// How a barrier was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// Why.
    pub cause: Cause,
    /// The pid of who did it, or died, as its own namespace counted; 0: not known.
    pub pid: u32,
}

impl Break {
    /// What `ending`, `broken` or a slot says, if that is a break.
    fn read(word: u64) -> Option<Self> {
        let cause = match (word >> 32) as u32 {
            ABORTED => Cause::Aborted,
            TIMED_OUT => Cause::TimedOut,
            DIED => Cause::Died,
            _ => return None,
        };
        Some(Self { cause, pid: word as u32 })
    }
}

/// Who has come, and who of those that are known has not: processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll {
    /// Each as often as threads or tasks of it wait.
    pub come: Vec<Life>,
    /// Those that live and have waited before, or joined.
    pub missing: Vec<Life>,
}

const fn word(how: u32, below: u32) -> u64 {
    (how as u64) << 32 | below as u64
}

/// A handle of a barrier.
#[derive(Debug)]
pub struct Barrier {
    words: Placed<BarrierWords>,
    waiters: Waiters,
    parties: u32,
    patience: Patience,
}

impl Barrier {
    /// A handle over zeroed words, or those that others use. `parties` was 1 to the most when it was written.
    #[must_use]
    pub fn new(words: Placed<BarrierWords>, waiters: Waiters, parties: u32) -> Self {
        Self { words, waiters, parties, patience: Patience::new() }
    }

    /// Waits until all have come; how many had come before.
    pub fn wait(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<u32> {
        self.wait_or_tell(kernel, deadline, &mut |_| {})
    }

    /// The same; one whose time runs out tells who had come by then, the caller among them: once it is broken, nobody waits.
    pub fn wait_or_tell(&self, kernel: &dyn Kernel, deadline: Deadline, tell: &mut dyn FnMut(Roll)) -> Result<u32> {
        let me = kernel.me()?;
        let seat = Cell::new(None);
        let come = {
            let _held = self.waiters.enter(kernel, self)?;
            self.arrive(kernel, me, Self::wish(me), &seat)?
        };
        let ended = match come {
            Some(given) => Ok(given),
            None => self.sleep(kernel, me, &seat, deadline),
        };
        ended.or_else(|error| self.leave(kernel, me, seat.get(), error, tell)).and_then(Self::judge)
    }

    /// That of one who waits, by which it does not watch itself.
    #[must_use]
    pub fn wish(me: Me) -> Wish {
        Wish { value: u64::from(me.process.0), how: 0 }
    }

    /// What one is told: how many had come before, or why it does not pass.
    pub fn judge(given: u64) -> Result<u32> {
        match (Break::read(given), (given >> 32) as u32) {
            (Some(broken), _) => Err(Error::Broken(broken)),
            (None, RESET) => Err(Error::Reset),
            (None, PASSED) => Ok(given as u32),
            (None, how) => Err(Error::Corrupted(format!("a generation has ended in way {how}"))),
        }
    }

    /// Makes the calling process known. Again: nothing.
    pub fn join(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let _held = self.waiters.enter(kernel, self)?;
        self.meet(kernel, me.process)
    }

    /// Breaks it: all who wait leave, and nobody passes until a reset. What is broken stays as it is.
    pub fn abort(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let _held = self.waiters.enter(kernel, self)?;
        self.break_(kernel, word(ABORTED, kernel.pid(me.process)));
        Ok(())
    }

    /// Makes it whole and empty: all who wait leave with `Reset`, the dead are forgotten.
    pub fn reset(&self, kernel: &dyn Kernel) -> Result<()> {
        let _held = self.waiters.enter(kernel, self)?;
        self.end(kernel, word(RESET, 0));
        Ok(())
    }

    /// How many wait: a peek, not a promise.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }

    /// Who has come, and whom of those that are known it waits for: a peek, not a promise.
    #[must_use]
    pub fn roll(&self, kernel: &dyn Kernel) -> Roll {
        let come: Vec<_> = self.waiters.waiting().map(|(_, wish)| Life(wish.value as u32)).collect();
        let missing = self.known().filter(|life| !come.contains(life) && kernel.alive(*life)).collect();
        Roll { come, missing }
    }

    /// How it was broken, as far as anybody has found it so: a peek, not a promise.
    #[must_use]
    pub fn broken(&self) -> Option<Break> {
        Break::read(self.words.broken.load(Acquire))
    }

    /// Whoever comes: passes, finds it broken, or takes a slot if one is free. The lock is held.
    fn arrive(&self, kernel: &dyn Kernel, me: Me, wish: Wish, seat: &Cell<Option<usize>>) -> Result<Option<u64>> {
        self.meet(kernel, me.process)?;
        let broken = self.words.broken.load(Relaxed);
        if broken != 0 {
            return Ok(Some(broken));
        }
        if self.waiting() + 1 < self.parties as usize {
            seat.set(self.waiters.seat(kernel, self, wish, UNRANKED)?);
            return Ok(None);
        }
        // One that died in its slot has come, but does not go on.
        if let Some(died) = self.death(kernel) {
            self.end(kernel, died);
            return Ok(Some(died));
        }
        self.end(kernel, word(PASSED, 0));
        Ok(Some(word(PASSED, self.parties - 1)))
    }

    fn sleep(&self, kernel: &dyn Kernel, me: Me, seat: &Cell<Option<usize>>, deadline: Deadline) -> Result<u64> {
        let ready = || seat.get().is_some_and(|index| self.waiters.is_granted(index));
        let waiting = Waiting {
            sleepers: Some(&self.waiters),
            deadline,
            patience: &self.patience,
            partner: 0,
            operation: Operation::Wait,
        };
        wait_until(kernel, waiting, ready, |watch, slept| self.attempt(kernel, me, Self::wish(me), seat, watch, slept))
    }

    fn attempt<'a>(
        &'a self,
        kernel: &dyn Kernel,
        me: Me,
        wish: Wish,
        seat: &Cell<Option<usize>>,
        mut watch: Option<&mut Watch<'a>>,
        slept: bool,
    ) -> Result<Option<u64>> {
        loop {
            if let Some(index) = seat.get() {
                let given = self.waiters.look(kernel, self, index, watch.as_deref_mut(), slept)?;
                if given.is_some() {
                    seat.set(None);
                }
                return Ok(given);
            }
            // More threads than slots: this one has not come yet.
            let _held = self.waiters.enter(kernel, self)?;
            if slept {
                self.mend(kernel);
            }
            if let Some(given) = self.arrive(kernel, me, wish, seat)? {
                return Ok(Some(given));
            }
            if seat.get().is_some() {
                if slept {
                    // The wake of one slot can have been meant for several.
                    self.waiters.open_door(kernel);
                }
                continue;
            }
            let Some(watch) = watch.as_deref_mut() else { return Ok(None) };
            if self.waiters.queue_at_door(watch) {
                self.watch(wish, watch);
                return Ok(None);
            }
        }
    }

    /// Goes without having passed: one whose time is over breaks it, and says why it waited in vain; one whom a signal
    /// takes away has not come.
    #[cold]
    fn leave(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        seat: Option<usize>,
        error: Error,
        tell: &mut dyn FnMut(Roll),
    ) -> Result<u64> {
        let mut error = error;
        if matches!(error, Error::TimedOut(_) | Error::WouldBlock) {
            match self.waiters.enter(kernel, self) {
                Ok(_held) => {
                    if let Some(index) = seat {
                        if let Some(given) = self.waiters.take(kernel, self, index) {
                            return Ok(given);
                        }
                        tell(self.roll(kernel));
                        self.waiters.dismiss(index);
                    }
                    let late = || word(TIMED_OUT, kernel.pid(me.process));
                    self.break_(kernel, self.death(kernel).unwrap_or_else(late));
                    return Err(error);
                }
                Err(other) => error = other,
            }
        }
        match seat {
            Some(index) => self.waiters.leave(kernel, self, index, error),
            None => Err(error),
        }
    }

    /// Makes a process known whose death is to break it. The lock is held.
    fn meet(&self, kernel: &dyn Kernel, process: Life) -> Result<()> {
        let known = &self.words.known;
        if known.iter().any(|entry| entry.load(Relaxed) == process.0) {
            return Ok(());
        }
        let Some(entry) = known.iter().find(|entry| entry.load(Relaxed) == 0) else {
            return Err(Error::Misuse(format!(
                "{} processes have waited at it or joined, and the death of one more would not be seen: once some of \
                 them have ended, reset() forgets those",
                known.len()
            )));
        };
        let _owed = self.waiters.owe(kernel);
        entry.store(process.0, Release);
        if !planted(Fault::UnwatchedParty) {
            self.waiters.call_all(kernel);
        }
        Ok(())
    }

    /// The break by a known process that has died, if one has.
    fn death(&self, kernel: &dyn Kernel) -> Option<u64> {
        let dead = self.known().find(|life| !kernel.alive(*life))?;
        Some(word(DIED, kernel.pid(dead)))
    }

    fn known(&self) -> impl Iterator<Item = Life> + '_ {
        self.words.known.iter().map(|entry| Life(entry.load(Acquire))).filter(|life| *life != Life::NOBODY)
    }

    /// Ends a generation by a break, unless it is broken. The lock is held.
    fn break_(&self, kernel: &dyn Kernel, how: u64) {
        if self.words.broken.load(Relaxed) == 0 {
            self.end(kernel, how);
        }
    }

    /// Ends the generation. The lock is held.
    fn end(&self, kernel: &dyn Kernel, how: u64) {
        if self.waiters.is_empty() {
            self.conclude(kernel, how);
            return;
        }
        let _owed = self.waiters.begin(kernel);
        self.waiters.rank();
        self.words.ending.store(how, Release);
        self.finish(kernel);
        self.waiters.settle(kernel, self);
    }

    /// Tells the generation how it has ended: each one in its slot.
    fn finish(&self, kernel: &dyn Kernel) {
        let how = self.words.ending.load(Relaxed);
        let passed = (how >> 32) as u32 == PASSED;
        for (index, wish) in self.waiters.waiting() {
            self.waiters.grant(index, if passed { how | u64::from(wish.how & !AWAITS) } else { how });
        }
        self.conclude(kernel, how);
        self.waiters.tell_all(kernel);
        self.waiters.open_door(kernel);
        self.words.ending.store(0, Release);
    }

    /// What the barrier is after a generation that ended so.
    fn conclude(&self, kernel: &dyn Kernel, how: u64) {
        if Break::read(how).is_some() {
            self.words.broken.store(how, Release);
        } else if (how >> 32) as u32 == RESET {
            for entry in &self.words.known {
                let life = Life(entry.load(Relaxed));
                if life != Life::NOBODY && !kernel.alive(life) {
                    entry.store(0, Release);
                }
            }
            self.words.broken.store(0, Release);
        }
    }
}

impl Room for Barrier {
    fn ready(&self, _wish: Wish) -> bool {
        false
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        // Whoever comes looks before it takes a slot, under the same lock.
        None
    }

    fn watch<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        for life in self.known().filter(|life| u64::from(life.0) != wish.value) {
            watch.life(life);
        }
    }

    fn mend(&self, kernel: &dyn Kernel) {
        if self.words.ending.load(Acquire) != 0 {
            let _owed = self.waiters.begin(kernel);
            self.finish(kernel);
        }
        if self.words.broken.load(Relaxed) == 0
            && let Some(died) = self.death(kernel)
        {
            self.end(kernel, died);
        }
    }

    fn take_back(&self, _kernel: &dyn Kernel, _index: usize, _given: u64) {
        // That its generation has ended is nothing that another could use.
    }
}

impl Slotted for Barrier {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn is_torn(&self, kernel: &dyn Kernel) -> bool {
        self.words.ending.load(Acquire) != 0 || self.broken().is_none() && self.death(kernel).is_some()
    }

    fn step(&self, kernel: &dyn Kernel, wish: Wish, seat: &Cell<Option<usize>>) -> Result<Option<u64>> {
        self.attempt(kernel, kernel.me()?, wish, seat, Some(&mut Watch::new()), true)
    }
}
