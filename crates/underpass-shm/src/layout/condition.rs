//! The words of a condition, between its own mutex and its waiters.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Words that the file name of a given mutex fills: the longest that a file system allows.
#[cfg(not(loom))]
pub const NAME_WORDS: usize = 32;

/// In `pending`: it is for all, and none of it is handed on to one who comes later.
pub const ALL: u64 = 1 << 31;

/// Those who wait until something may have become true.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ConditionWords {
    /// ```text
    ///  63        32   31   30         0
    /// ┌────────────┬─────┬─────────────┐   0: nobody is being notified. Once it is not, so many are to be granted a
    /// │    left    │ all │ slot + 1, 0 │   wake-up; the slot is the one whose turn it is. Whoever inherits the lock
    /// └────────────┴─────┴─────────────┘   grants what is left
    /// ```
    pub pending: AtomicU64,
    /// Numbers the wake-ups that were granted: they are taken in this order.
    pub turns: AtomicU64,
    /// The thread that was told to take its wake-up, and tells the next one once it has the mutex again; 0: nobody.
    pub runner: AtomicU32,
    /// Raised by whoever notifies more than have slots: who queues at the door was meant, too.
    pub calls: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for ConditionWords {}

impl ConditionWords {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pending: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            runner: AtomicU32::new(0),
            calls: AtomicU32::new(0),
        }
    }
}

impl Default for ConditionWords {
    fn default() -> Self {
        Self::new()
    }
}

/// Which mutex was given to it, in the same space; its nonce is in the header. Written once, before the file has a name.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(C, align(64))]
pub struct MutexPlace {
    /// The life and the pid of the process that made it.
    pub creator: AtomicU64,
    /// Its file's name, padded with zeros.
    pub file: [AtomicU64; NAME_WORDS],
}

#[cfg(not(loom))]
// SAFETY: S1, atomics only.
unsafe impl Shared for MutexPlace {}

#[cfg(not(loom))]
const _: () = assert!(
    size_of::<MutexPlace>() == 320 && size_of::<ConditionWords>() == 64,
    "tests/crash/stepping/conditions.py and tests/hostile/subjects.py know where the words are"
);
