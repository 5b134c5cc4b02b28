//! The words of those who wait for many objects at once: a bell each, and in each object who is to be rung.

use crate::life::Life;
use crate::place::Shared;
use crate::sync::Ordering::{AcqRel, Acquire};
use crate::sync::{AtomicU32, AtomicU64};

/// Bells of a space: as many as [`WatchersWords::bells`] has bits. Loom has as few words as will do.
pub const BELLS: usize = if cfg!(loom) { 64 } else { 1024 };
/// Bits of [`BellWords::ready`].
pub const MARKS: u64 = if cfg!(loom) { 64 } else { 2048 };

/// Who is to be rung when the sleepers of an object are woken.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct WatchersWords {
    /// A bit for each bell.
    pub bells: [AtomicU64; BELLS / 64],
}

// SAFETY: S1, atomics only.
unsafe impl Shared for WatchersWords {}

impl WatchersWords {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self { bells: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Default for WatchersWords {
    fn default() -> Self {
        Self::new()
    }
}

/// [`BellWords::socket`]: whoever rings next sends to it.
pub const ARMED: u32 = 1;
/// [`BellWords::socket`]: somebody has, since its owner looked.
pub const RUNG: u32 = 2;
/// [`BellWords::socket`]: its owner's own process has rung, and told it without the socket.
pub const RUNG_HERE: u32 = 3;

/// A bell.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct BellWords {
    /// Whose it is: a thread's life, or with a socket a process's; 0: nobody's.
    pub owner: AtomicU32,
    /// How often it was rung. Its owner sleeps here, if it is a thread.
    pub rings: AtomicU32,
    /// 0: its owner sleeps on `rings`. Otherwise at a socket: [`ARMED`], [`RUNG`] or [`RUNG_HERE`].
    pub socket: AtomicU32,
    /// How often its owner was called to look at all, for no object's sake.
    pub calls: AtomicU32,
    /// A bit for each object that may be ready, by its nonce.
    pub ready: [AtomicU64; MARKS as usize / 64],
    /// How many waits have begun with it. The owner's own.
    pub waits: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for BellWords {}

impl BellWords {
    /// Nobody's.
    #[must_use]
    pub fn new() -> Self {
        Self {
            owner: AtomicU32::new(0),
            rings: AtomicU32::new(0),
            socket: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            ready: std::array::from_fn(|_| AtomicU64::new(0)),
            waits: AtomicU32::new(0),
        }
    }
}

impl BellWords {
    /// Leaves word, as [`RUNG`] or [`RUNG_HERE`], that it was rung, after the marks; the owner that has to be told, if nobody
    /// else was first since it looked: whoever armed it, or has taken it over since. One without a socket stays so: a thread may
    /// have made it its own meanwhile.
    pub fn strike(&self, word: u32) -> Option<Life> {
        // SYNC(bell-1): pairs with `arm`: it is told, or its owner takes the mark that was left before.
        let before = self.socket.fetch_update(AcqRel, Acquire, |before| (before != 0).then_some(word));
        // Not before: who has taken it over and armed it since would be deaf, and the dead be told.
        (before == Ok(ARMED)).then(|| Life(self.owner.load(Acquire)))
    }

    /// Has whoever rings from now on tell: before its owner takes the marks.
    pub fn arm(&self) {
        if self.socket.load(Acquire) != ARMED {
            // SYNC(bell-1): pairs with `strike`.
            self.socket.swap(ARMED, AcqRel);
        }
    }
}

impl Default for BellWords {
    fn default() -> Self {
        Self::new()
    }
}
