//! The words of a barrier; its waiters follow.

use crate::layout::waiters::SLOTS;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Most parties: each has a slot of its own.
pub const MOST_PARTIES: u32 = SLOTS as u32 - 1;
/// Processes that are known: each who waits watches all others.
#[cfg(not(loom))]
pub const KNOWN: usize = 64;
/// Loom explores every look at every entry.
#[cfg(loom)]
pub const KNOWN: usize = 3;

/// In the upper half of how a generation ends, and of what a waiter is given. Everybody has come; below it stands who
/// was the how many-th.
pub const PASSED: u32 = 1;
/// It was reset.
pub const RESET: u32 = 2;
/// It was broken on purpose. Of this and what follows, the pid of whoever it was stands below.
pub const ABORTED: u32 = 3;
/// A waiter's time ran out.
pub const TIMED_OUT: u32 = 4;
/// A known process died.
pub const DIED: u32 = 5;

/// Processes that wait for each other.
///
/// A generation is those who wait in slots: it has no number and no count beside them.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct BarrierWords {
    /// ```text
    ///  63          32 31           0
    /// ┌──────────────┬──────────────┐   0: none is being ended. Once it is not, the generation has ended so, and whoever
    /// │     how      │   pid or 0   │   inherits the lock lets the rest of it go
    /// └──────────────┴──────────────┘
    /// ```
    pub ending: AtomicU64,
    /// How it was broken, in the same way; 0: it is whole. Then nobody waits while nobody holds the lock.
    pub broken: AtomicU64,
    /// Processes that have waited or joined; 0: nobody.
    pub known: [AtomicU32; KNOWN],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<BarrierWords>() == 320, "tests/hostile/subjects.py knows where the waiters are");

// SAFETY: S1, atomics only.
unsafe impl Shared for BarrierWords {}

impl BarrierWords {
    /// Whole, and nobody is known.
    #[must_use]
    pub fn new() -> Self {
        let known = std::array::from_fn(|_| AtomicU32::new(0));
        Self { ending: AtomicU64::new(0), broken: AtomicU64::new(0), known }
    }
}

impl Default for BarrierWords {
    fn default() -> Self {
        Self::new()
    }
}
