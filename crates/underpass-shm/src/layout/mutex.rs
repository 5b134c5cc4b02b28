//! The words of a mutex.

use crate::layout::lock::LockWords;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// In place of an owner: it died, and nobody has repaired what it left. No thread's life, since its generation is 0.
pub const OWNER_DEAD: u32 = 0x7fff;
/// In `inside`: the owner took it from [`OWNER_DEAD`], and its block has not ended.
pub const RECOVERING: u32 = 1 << 31;

/// A robust mutex.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct MutexWords {
    /// The states of a lock, and one more:
    /// ```text
    ///  31          30            0
    /// ┌──────────┬────────────────┐   OWNER_DEAD             held by nobody: its owner died, and nobody has repaired
    /// │ sleepers │  owner thread  │                          what it protects. The sleepers bit is whatever it was
    /// └──────────┴────────────────┘
    /// ```
    /// A thread that has ended stands for the same, until somebody finds it so.
    pub lock: LockWords,
    /// Always 0; every sleeper waits here too.
    pub baton: AtomicU32,
    /// ```text
    ///  31           30             0
    /// ┌────────────┬────────────────┐   written and read by the owner alone;
    /// │ recovering │ further depth  │   0 while it is free
    /// └────────────┴────────────────┘
    /// ```
    pub inside: AtomicU32,
    /// When the first sleeper of this tenure came, in nanoseconds; 0: not known. For people, while SLEEPERS is set.
    pub since: AtomicU64,
    /// The last owner that died: its life << 32 | its pid.
    pub died: AtomicU64,
    /// Nanoseconds for which that one had held it; 0: not known.
    pub held: AtomicU64,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for MutexWords {}

impl MutexWords {
    /// Free.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lock: LockWords::new(),
            baton: AtomicU32::new(0),
            inside: AtomicU32::new(0),
            since: AtomicU64::new(0),
            died: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }
}

impl Default for MutexWords {
    fn default() -> Self {
        Self::new()
    }
}
