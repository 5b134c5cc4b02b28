//! The words of those who wait for something of their own: a slot each, and the lock under which they are served.

use crate::layout::lock::LockWords;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Slots of a row: as many as a word has bits.
pub const ROW: usize = 64;
/// Rows behind the first.
pub const ROWS: usize = 63;
/// Slots of an object; number 63 is none, its bit stands for the rows behind the first.
pub const SLOTS: usize = ROW * (1 + ROWS);

/// Nobody has used it since it was cleared.
pub const FREE: u32 = 0;
/// Somebody waits in it.
pub const WAITING: u32 = 1;
/// What it waited for was given to it.
pub const GRANTED: u32 = 2;
/// It has taken what it was given.
pub const TAKEN: u32 = 3;
/// It went without.
pub const GONE: u32 = 4;
/// It was given something and died, or a signal took it away: whoever enters next takes that back.
pub const RETURNED: u32 = 5;

/// One who waits.
#[derive(Debug)]
#[repr(C, align(8))]
pub struct SlotWords {
    /// ```text
    ///                    ┌─ grant ─▶ GRANTED ─ it comes ─▶ TAKEN ──┐
    /// FREE ─▶ WAITING ──┤              └─ dead, signal ─▶ RETURNED ─┤
    ///   ▲                └─ time-out ─▶ GONE ──────────────────────┤
    ///   └──────────── the next who waits, or who holds the lock ───┘
    /// ```
    /// The waiter sleeps on it. Into WAITING and GRANTED it goes under the lock only; out of both by compare-and-swap.
    pub state: AtomicU32,
    /// Who waits: a thread.
    pub life: AtomicU32,
    /// What for; the object says what it means.
    pub wish: AtomicU64,
    /// What it was given.
    pub given: AtomicU64,
    /// How it waits; the object says what it means, but for the highest bit: a task waits, and sleeps elsewhere.
    pub how: AtomicU32,
    /// Its number in the order of arrival.
    pub ticket: AtomicU32,
    /// How urgent it is, as a signed number: higher is more urgent.
    pub priority: AtomicU32,
}

#[cfg(not(loom))]
const _: () =
    assert!(std::mem::offset_of!(WaitersWords, lock.word) == 8, "tests/hostile/subjects.py knows where the lock is");

// SAFETY: S1, atomics only.
unsafe impl Shared for SlotWords {}

impl SlotWords {
    /// Free.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(FREE),
            life: AtomicU32::new(0),
            wish: AtomicU64::new(0),
            given: AtomicU64::new(0),
            how: AtomicU32::new(0),
            ticket: AtomicU32::new(0),
            priority: AtomicU32::new(0),
        }
    }
}

impl Default for SlotWords {
    fn default() -> Self {
        Self::new()
    }
}

/// What the slots of an object have in common.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct WaitersWords {
    /// ```text
    ///   63    62                                     0
    /// ┌───────┬───────────────────────────────────────┐   crowd = 1: slots behind this row may be in use
    /// │ crowd │ a bit for each slot that may be in use │   0: nobody waits, and nobody is owed anything
    /// └───────┴───────────────────────────────────────┘
    /// ```
    /// Each row behind the first has such a word too, behind the slots: its lowest bit is that of the row's first slot, and it has
    /// no crowd.
    pub occupied: AtomicU64,
    /// Under which slots are filled and served.
    pub lock: LockWords,
    /// Raised before anything is given: who looked before falls asleep no more, but looks again.
    pub posts: AtomicU32,
    /// Numbers the arrivals.
    pub tickets: AtomicU32,
    /// ```text
    ///  31          30          29            0
    /// ┌──────────┬───────────┬────────────────┐   sleepers = 1: somebody found no slot and may sleep here
    /// │ sleepers │ onlookers │     count      │   onlookers = 1: somebody looks on, whose bell is rung, and who sleeps elsewhere
    /// └──────────┴───────────┴────────────────┘
    /// ```
    /// Who frees a slot, or changes what is waited for, clears both bits, raises the count, wakes all, and rings; with `sleepers` = 0
    /// it only rings.
    pub door: AtomicU32,
    /// Always 0; every sleeper waits here too.
    pub baton: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for WaitersWords {}

impl WaitersWords {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            occupied: AtomicU64::new(0),
            lock: LockWords::new(),
            posts: AtomicU32::new(0),
            tickets: AtomicU32::new(0),
            door: AtomicU32::new(0),
            baton: AtomicU32::new(0),
        }
    }
}

impl Default for WaitersWords {
    fn default() -> Self {
        Self::new()
    }
}
