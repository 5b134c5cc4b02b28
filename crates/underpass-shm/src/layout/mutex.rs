//! The words of a mutex.

use crate::layout::lock::LockWords;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// In place of an owner: it died, and nobody has repaired what it left. No thread's life, since its generation is 0.
pub const OWNER_DEAD: u32 = 0x7fff;
/// In the lower half of `lent`: somebody waits in the kernel (`FUTEX_WAITERS`).
pub const WAITERS: u32 = 1 << 31;
/// In the lower half of `lent`: the kernel took out a thread that died (`FUTEX_OWNER_DIED`).
pub const DIED: u32 = 1 << 30;
/// In the lower half of `lent`: the thread.
pub const TID: u32 = DIED - 1;
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
    /// In place of `lock`, where those who wait lend their priority to the owner:
    /// ```text
    ///  63          62           32 31        30     29     0
    /// ┌───────────┬───────────────┬─────────┬──────┬────────┐   all 0                       free
    /// │ onlookers │ owner thread  │ waiters │ died │  tid   │   owner, its tid              held
    /// └───────────┴───────────────┴─────────┴──────┴────────┘   owner, its tid, waiters     held, and who waits does so in
    ///                                                                                      the kernel: it hands it over
    /// owner = 0, tid                       handed to the thread of that tid, which has not come; or given back by it, and
    ///                                      about to be handed over
    /// owner = OWNER_DEAD, tid = 0          its owner died, and nobody has repaired what it protects
    /// owner = OWNER_DEAD, tid              the same, and that thread is being told, or recovers
    /// tid = 0, waiters or died             whom it was handed to has died: the next who comes through the kernel has it
    /// ```
    /// The lower half is a futex of the kernel's, which writes it too, and compares and exchanges that half alone; everybody
    /// else exchanges both. onlookers: somebody sleeps on `turn`, and whoever changes the owner clears it and wakes them.
    pub lent: AtomicU64,
    /// Counts the changes that onlookers were told of.
    pub turn: AtomicU32,
    /// The pid namespace that the tids are of, by inode; 0: nobody has used it yet.
    pub namespace: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for MutexWords {}

impl MutexWords {
    /// What is named as a baton ([`crate::baton::name`]) by a thread that the kernel may write into `lent`.
    #[must_use]
    pub fn named(&self) -> *const AtomicU32 {
        let lower = if cfg!(target_endian = "little") { 0 } else { size_of::<u32>() };
        std::ptr::from_ref(&self.lent).cast::<AtomicU32>().wrapping_byte_add(lower + 1)
    }

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
            lent: AtomicU64::new(0),
            turn: AtomicU32::new(0),
            namespace: AtomicU32::new(0),
        }
    }
}

impl Default for MutexWords {
    fn default() -> Self {
        Self::new()
    }
}
