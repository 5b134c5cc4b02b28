//! The words of a semaphore.

use crate::place::Shared;
use crate::sync::AtomicU32;

/// A counting semaphore.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct SemaphoreWords {
    /// ```text
    ///  31          30            0
    /// ┌──────────┬────────────────┐   value > 0, sleepers = 0   free
    /// │ sleepers │     value      │   value = 0, sleepers = 0   taken
    /// └──────────┴────────────────┘   value = 0, sleepers = 1   taken, somebody may sleep: a release owes a wake
    ///                                 value > 0, sleepers = 1   released; whoever was woken has not come yet
    /// ```
    /// Both change in one compare-and-swap on the very word that sleepers sleep on, so a release misses nobody.
    pub word: AtomicU32,
    /// Raised by every reset: who waits since before it leaves with an error.
    pub resets: AtomicU32,
    /// Always 0; every sleeper waits here too.
    pub baton: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for SemaphoreWords {}

impl SemaphoreWords {
    /// With `value` units.
    #[must_use]
    pub fn new(value: u32) -> Self {
        Self { word: AtomicU32::new(value), resets: AtomicU32::new(0), baton: AtomicU32::new(0) }
    }
}
