//! A counting semaphore: Dijkstra's, barging, with Zephyr's limit and reset.
//!
//! Follows Zephyr's `k_sem` in what it means and `parking_lot` in how the word is built.
//!
//! Invariant: while somebody sleeps, `sleepers` is set or a wake is under way to one of them; who has slept and
//! succeeds sets it again, and wakes the next if units are left.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::semaphore::SemaphoreWords;
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::kernel::{Kernel, Owed, Watch};
use crate::many::Ready;
use crate::planted::{Fault, planted};
use crate::since::Resets;
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

pub mod fair;
pub mod leased;

/// Given to a waiter: a unit.
const UNIT: u64 = 1;
/// Given to a waiter: it was reset.
const RESET: u64 = 2;

/// The most units a semaphore can hold.
pub const MOST: u32 = SLEEPERS - 1;

/// A handle of a semaphore.
#[derive(Debug, Clone)]
pub struct Semaphore {
    words: Placed<SemaphoreWords>,
    limit: u32,
    saturate: bool,
    patience: Patience,
}

impl Semaphore {
    /// A handle over words that [`Self::format`] has set up. `limit` was 1 to [`MOST`] when it was written.
    #[must_use]
    pub fn new(words: Placed<SemaphoreWords>, limit: u32, saturate: bool) -> Self {
        Self { words, limit, saturate, patience: Patience::new() }
    }

    /// Sets up zeroed words: before anybody else sees them.
    pub fn format(words: &SemaphoreWords, value: u32) {
        words.word.store(value, Relaxed);
    }

    /// Takes a unit, waiting for it.
    #[inline]
    pub fn acquire(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        if self.try_acquire() {
            return Ok(());
        }
        if deadline == Deadline::NoWait {
            return Err(Error::WouldBlock);
        }
        self.acquire_slow(kernel, deadline)
    }

    #[inline]
    fn try_acquire(&self) -> bool {
        let mut word = self.words.word.load(Relaxed);
        while word & !SLEEPERS != 0 {
            match self.words.word.compare_exchange_weak(word, word - 1, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(other) => word = other,
            }
        }
        false
    }

    #[cold]
    fn acquire_slow(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let words = &*self.words;
        let resets = words.resets.load(Acquire);
        let ready = || words.word.load(Relaxed) & !SLEEPERS != 0;
        let waiting = Waiting {
            sleepers: Some(words),
            deadline,
            patience: &self.patience,
            partner: 0,
            operation: Operation::Acquire,
        };
        wait_until(kernel, waiting, ready, |mut watch, slept| {
            loop {
                if words.resets.load(Acquire) != resets {
                    return Err(Error::Reset);
                }
                let word = words.word.load(Relaxed);
                if word & !SLEEPERS == 0 {
                    let Some(watch) = watch.as_deref_mut() else { return Ok(None) };
                    if word == SLEEPERS || words.word.compare_exchange(0, SLEEPERS, Relaxed, Relaxed).is_ok() {
                        watch.word(&words.word, SLEEPERS);
                        // Between this and the sleep a reset clears the bit, and who comes next sets it again.
                        watch.word(&words.resets, resets);
                        return Ok(None);
                    }
                    continue;
                }
                let left = (word & !SLEEPERS) - 1;
                let kept = if slept { SLEEPERS } else { word & SLEEPERS };
                if words.word.compare_exchange(word, left | kept, Acquire, Relaxed).is_ok() {
                    if slept && left > 0 {
                        kernel.wake(&words.word, 1);
                    }
                    return Ok(Some(()));
                }
            }
        })
    }

    /// Gives `count` units, never waiting. Above the limit: nothing with `saturate`, `Misuse` without.
    #[inline]
    pub fn release(&self, kernel: &dyn Kernel, count: u32) -> Result<()> {
        let mut word = self.words.word.load(Relaxed);
        loop {
            if word & SLEEPERS != 0 {
                return self.release_slow(kernel, count);
            }
            match self.words.word.compare_exchange_weak(word, self.sum(word, count)?, Release, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => word = other,
            }
        }
    }

    #[cold]
    fn release_slow(&self, kernel: &dyn Kernel, count: u32) -> Result<()> {
        let _owed = (!planted(Fault::MissingBaton)).then(|| Owed::name(kernel, &self.words.baton));
        if planted(Fault::WakeBeforeStore) {
            kernel.wake(&self.words.word, count);
        }
        let resets = self.words.resets.load(Acquire);
        let mut word = self.words.word.load(Relaxed);
        loop {
            let sum = self.sum(word & !SLEEPERS, count)?;
            match self.words.word.compare_exchange_weak(word, sum, AcqRel, Relaxed) {
                Ok(_) if word & SLEEPERS != 0 && !planted(Fault::WakeBeforeStore) => {
                    kernel.wake(&self.words.word, count);
                    if self.words.resets.load(Acquire) != resets {
                        // A reset meanwhile left the sleepers to this wake, and one who came after it may have got it.
                        kernel.wake(&self.words.word, u32::MAX);
                    }
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(other) => word = other,
            }
        }
    }

    #[inline]
    fn sum(&self, value: u32, count: u32) -> Result<u32> {
        sum(value, count, self.limit, self.saturate)
    }

    /// Sets the value to 0; whoever waits leaves with `Reset`.
    pub fn reset(&self, kernel: &dyn Kernel) {
        let words = &*self.words;
        let _owed = Owed::name(kernel, &words.baton);
        // The waiters' sign goes first: they leave one after the other even if this process dies here.
        words.resets.fetch_add(1, AcqRel);
        // Without it, whoever sleeps is owed a wake by somebody else, and passes it on when it leaves.
        if words.word.swap(0, AcqRel) & SLEEPERS != 0 {
            kernel.wake(&words.word, u32::MAX);
        }
    }

    /// Units that are free now.
    #[must_use]
    pub fn value(&self) -> u32 {
        self.words.word.load(Relaxed) & !SLEEPERS
    }
}

impl Ready for Semaphore {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.words
    }

    /// A unit is free.
    fn is_ready<'a>(&'a self, _kernel: &dyn Kernel, mut watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let words = &*self.words;
        loop {
            let word = words.word.load(Acquire);
            if word & !SLEEPERS != 0 {
                return Ok(true);
            }
            let Some(watch) = watch.as_deref_mut() else { return Ok(false) };
            if word == SLEEPERS || words.word.compare_exchange(0, SLEEPERS, Relaxed, Relaxed).is_ok() {
                watch.word(&words.word, SLEEPERS);
                return Ok(false);
            }
        }
    }
}

impl Resets for Semaphore {
    fn resets(&self) -> &AtomicU32 {
        &self.words.resets
    }
}

/// What one is told who waited in a slot: it has a unit, or it was reset.
pub fn judge(given: u64) -> Result<()> {
    if given == RESET { Err(Error::Reset) } else { Ok(()) }
}

/// What a release makes of a value.
#[inline]
fn sum(value: u32, count: u32, limit: u32, saturate: bool) -> Result<u32> {
    let sum = value.saturating_add(count);
    if sum <= limit {
        return Ok(sum);
    }
    if saturate {
        return Ok(value.max(limit));
    }
    Err(Error::Misuse(format!(
        "that would raise it from {value} above its limit of {limit}: acquire first, or pass saturate=True"
    )))
}

impl Sleepers for SemaphoreWords {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        self.word.fetch_and(!SLEEPERS, AcqRel);
        kernel.wake(&self.word, u32::MAX);
    }
}
