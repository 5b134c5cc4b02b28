//! The words of a latch.

use crate::place::Shared;
use crate::sync::AtomicU32;

/// A count that goes down to 0, once.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct LatchWords {
    /// ```text
    ///  31          30            0
    /// ┌──────────┬────────────────┐   0                         open, for ever
    /// │ sleepers │     count      │   count > 0, sleepers = 0   shut, nobody sleeps
    /// └──────────┴────────────────┘   count > 0, sleepers = 1   shut, somebody may sleep: who opens it owes all a wake
    /// ```
    /// Both change in one compare-and-swap, on the very word that sleepers sleep on. Nothing follows 0.
    pub word: AtomicU32,
    /// Always 0; every sleeper waits here too.
    pub baton: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for LatchWords {}

impl LatchWords {
    /// With so many to come.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self { word: AtomicU32::new(count), baton: AtomicU32::new(0) }
    }
}
