//! The words of a semaphore; of one that hands its units over, whose waiters follow; and of one that knows its holders,
//! whose roster and waiters follow.

use crate::layout::site::TenureWords;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

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

/// In [`FairWords::word`]: somebody waits in a slot, or did.
pub const QUEUED: u32 = 1 << 31;

/// A semaphore whose units are handed over.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct FairWords {
    /// ```text
    ///  31         30            0
    /// ┌─────────┬────────────────┐   queued = 0   as in a semaphore that barges: anybody adds and takes
    /// │ queued  │     value      │   queued = 1   only who holds the waiters' lock changes it; value = 0 while nobody
    /// └─────────┴────────────────┘                holds that and somebody waits in a slot
    /// ```
    pub word: AtomicU32,
    /// Raised by every reset: who waits since before it leaves with an error.
    pub resets: AtomicU32,
    /// ```text
    ///  63         62       47    40 39    32 31            0
    /// ┌─────────┬───────┬──┬────────┬────────┬──────────────┐   0: nothing is being handed over. Once it is not, the
    /// │ serving │ reset │  │ source │  slot  │     left     │   release, the return or the reset has happened, and who
    /// └─────────┴───────┴──┴────────┴────────┴──────────────┘   inherits the lock ends it
    /// ```
    /// Units that nobody was given yet, 1 + the slot that is being served, 1 + the slot from which a unit came back: of
    /// these the next store tells whether it was given and counted, both or neither.
    pub handing: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<FairWords>() == 64, "tests/hostile/subjects.py knows where the waiters are");

// SAFETY: S1, atomics only.
unsafe impl Shared for FairWords {}

impl FairWords {
    /// With `value` units.
    #[must_use]
    pub fn new(value: u32) -> Self {
        Self { word: AtomicU32::new(value), resets: AtomicU32::new(0), handing: AtomicU64::new(0) }
    }
}

/// Processes that a leased semaphore tells apart.
#[cfg(not(loom))]
pub const HOLDERS: usize = 1024;
/// Loom explores every look at every entry.
#[cfg(loom)]
pub const HOLDERS: usize = 3;

/// A semaphore that knows who holds its units. What is free is stored nowhere: it is `total` less what is held, so that
/// each operation is one store.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct LeasedWords {
    /// Units, free or held.
    pub total: AtomicU32,
    /// Raised by every reset: who waits since before it leaves with an error.
    pub resets: AtomicU32,
    /// Entries that were ever used: none above these is.
    pub used: AtomicU32,
    /// ```text
    ///  63 62   56 48      32 31            0
    /// ┌─────┬──┬────┬───────┬──────────────┐   0: no waiter's slot and its process's count are to change together.
    /// │ how │  │slot│ entry │ count before │   how = 1: the slot is given a unit; 2: its unit is taken back. Whether it
    /// └─────┴──┴────┴───────┴──────────────┘   was, the slot tells, and who inherits the lock makes the count agree
    /// ```
    pub step: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<LeasedWords>() == 64, "tests/hostile/subjects.py knows where the roster is");

// SAFETY: S1, atomics only.
unsafe impl Shared for LeasedWords {}

impl LeasedWords {
    /// With `total` units, all free.
    #[must_use]
    pub fn new(total: u32) -> Self {
        let zero = || AtomicU32::new(0);
        Self { total: AtomicU32::new(total), resets: zero(), used: zero(), step: AtomicU64::new(0) }
    }
}

/// Words of a file's name beside a process that holds units.
pub const HOLDER_FILE_WORDS: usize = if cfg!(loom) { 1 } else { 3 };

/// Since when each process of the roster holds units, and where it took the first, in a table of their own: who counts the
/// units passes them by.
pub type HolderTenureWords = TenureWords<HOLDER_FILE_WORDS>;

/// One process that holds units, or has.
#[derive(Debug)]
#[repr(C)]
pub struct HolderWords {
    /// Its life; 0: nobody.
    pub process: AtomicU32,
    /// Units that it holds.
    pub count: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for HolderWords {}

impl HolderWords {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self { process: AtomicU32::new(0), count: AtomicU32::new(0) }
    }
}

impl Default for HolderWords {
    fn default() -> Self {
        Self::new()
    }
}
