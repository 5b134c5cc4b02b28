//! A latch: a count that goes down to 0 once, and then holds nobody back any more.
//!
//! Follows Java's `CountDownLatch` and C++'s `std::latch` in what it means, and [`crate::semaphore`] in how the word is
//! built.
//!
//! Invariant: the count never grows, so what is open stays open. While somebody sleeps, `sleepers` is set, or the count is
//! 0 and a wake is under way to everybody.

use underpass_shm::layout::latch::LatchWords;
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use crate::kernel::{Kernel, Owed, Watch};
use crate::many::Ready;
use crate::planted::{Fault, planted};
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// The most that can be to come.
pub const MOST: u32 = SLEEPERS - 1;

/// A handle of a latch.
#[derive(Debug, Clone)]
pub struct Latch {
    words: Placed<LatchWords>,
    patience: Patience,
}

impl Latch {
    /// A handle over words that [`Self::format`] has set up.
    #[must_use]
    pub fn new(words: Placed<LatchWords>) -> Self {
        Self { words, patience: Patience::new() }
    }

    /// Sets up zeroed words: before anybody else sees them.
    pub fn format(words: &LatchWords, count: u32) {
        words.word.store(count, Relaxed);
    }

    /// Takes `arrived` from the count, never waiting; more than there are to come: nothing, and `Misuse`.
    #[inline]
    pub fn count_down(&self, kernel: &dyn Kernel, arrived: u32) -> Result<()> {
        let mut word = self.words.word.load(Relaxed);
        loop {
            let left = Self::left(word, arrived)?;
            if left == 0 && word & SLEEPERS != 0 {
                return self.open(kernel, arrived);
            }
            // SYNC(latch-1): what was done before is seen by whoever finds it open, also if others open it.
            match self.words.word.compare_exchange_weak(word, left | word & SLEEPERS, AcqRel, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => word = other,
            }
        }
    }

    /// The last to come, while somebody sleeps.
    #[cold]
    fn open(&self, kernel: &dyn Kernel, arrived: u32) -> Result<()> {
        let words = &*self.words;
        let _owed = Owed::name(kernel, &words.baton);
        let mut word = words.word.load(Relaxed);
        loop {
            let left = Self::left(word, arrived)?;
            let kept = if left == 0 { 0 } else { word & SLEEPERS };
            match words.word.compare_exchange_weak(word, left | kept, AcqRel, Relaxed) {
                Ok(_) if left == 0 && word & SLEEPERS != 0 => {
                    let sleepers = if planted(Fault::WakeOfOne) { 1 } else { u32::MAX };
                    kernel.wake(&words.word, sleepers);
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(other) => word = other,
            }
        }
    }

    #[inline]
    fn left(word: u32, arrived: u32) -> Result<u32> {
        let count = word & !SLEEPERS;
        count.checked_sub(arrived).ok_or_else(|| {
            Error::Misuse(format!("more would arrive than the {count} that it waits for: a latch is for once"))
        })
    }

    /// Waits until it is open.
    #[inline]
    pub fn wait(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        if self.count() == 0 {
            return Ok(());
        }
        if deadline == Deadline::NoWait {
            return Err(Error::WouldBlock);
        }
        self.wait_slow(kernel, deadline)
    }

    #[cold]
    fn wait_slow(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let waiting = Waiting {
            sleepers: Some(&*self.words),
            deadline,
            patience: &self.patience,
            partner: 0,
            operation: Operation::Wait,
        };
        wait_until(kernel, waiting, || self.count() == 0, |watch, _slept| Ok(self.attempt(watch)))
    }

    fn attempt<'a>(&'a self, watch: Option<&mut Watch<'a>>) -> Option<()> {
        let word = &self.words.word;
        let mut seen = word.load(Acquire);
        loop {
            if seen & !SLEEPERS == 0 {
                return Some(());
            }
            if watch.is_none() || seen & SLEEPERS != 0 {
                break;
            }
            match word.compare_exchange_weak(seen, seen | SLEEPERS, Relaxed, Acquire) {
                Ok(_) => seen |= SLEEPERS,
                Err(other) => seen = other,
            }
        }
        watch?.word(word, seen);
        None
    }

    /// How many are still to come; 0: it is open.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        // SYNC(latch-1)
        self.words.word.load(Acquire) & !SLEEPERS
    }
}

impl Ready for Latch {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.words
    }

    /// It is open.
    fn is_ready<'a>(&'a self, _kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        Ok(self.attempt(watch).is_some())
    }
}

impl Sleepers for LatchWords {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        // Who is about to sleep compares the word, and nothing but the word keeps it here.
        kernel.wake(&self.word, u32::MAX);
    }
}
