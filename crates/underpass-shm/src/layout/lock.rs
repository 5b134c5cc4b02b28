//! The words of the lock inside an object.

use crate::place::Shared;
use crate::sync::AtomicU32;

/// Somebody may sleep: in the words that have this bit, whoever changes them owes a wake.
pub const SLEEPERS: u32 = 1 << 31;
/// Somebody is told by its bell, and sleeps elsewhere: beside [`SLEEPERS`], where who looks on announces itself apart from those who
/// sleep there.
pub const ONLOOKERS: u32 = 1 << 30;

/// A robust lock.
#[derive(Debug)]
#[repr(C)]
pub struct LockWords {
    /// ```text
    ///  31          30            0
    /// ┌──────────┬────────────────┐   0                      free
    /// │ sleepers │  owner thread  │   owner, sleepers = 0    held, nobody sleeps
    /// └──────────┴────────────────┘   owner, sleepers = 1    held, somebody may sleep: the release owes a wake
    /// ```
    /// Who has slept takes the lock with sleepers = 1, since it cannot know whether it was the last.
    pub word: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for LockWords {}

impl LockWords {
    /// Free.
    #[must_use]
    pub fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }
}

impl Default for LockWords {
    fn default() -> Self {
        Self::new()
    }
}
