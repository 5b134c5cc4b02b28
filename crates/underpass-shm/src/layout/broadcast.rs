//! The words of a broadcast: what one writes and any number read.

use crate::layout::lock::LockWords;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// In `news`: nothing more will be published.
pub const CLOSED: u32 = 1 << 30;
/// In `news`: how often the sleepers were told, modulo this.
pub const CHANGES: u32 = CLOSED - 1;
/// Ends of messages that are known: of the last, and of those that a reader may still look for.
pub const ENDS: usize = 4;
/// Readers of a broadcast whose writer waits for them, at most.
pub const PLACES: usize = 64;

/// What the writer says of its ring.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct BroadcastWords {
    /// Held for one message.
    pub lock: LockWords,
    /// The process that may publish; 0: nobody has.
    pub writer: AtomicU32,
    /// Always 0; everybody who sleeps here waits here too.
    pub baton: AtomicU32,
    /// ```text
    ///  31          30       29          0
    /// ┌──────────┬────────┬──────────────┐   sleepers: some reader may sleep, until it is told
    /// │ sleepers │ closed │   changes    │   closed: nothing more comes
    /// └──────────┴────────┴──────────────┘   changes: raised by whoever tells
    /// ```
    /// Nothing of a message stands here: a futex has 32 bits. Who is told finds it changed, also if another announces itself
    /// in between.
    pub news: AtomicU32,
    /// Messages published: the store that makes one be there.
    pub count: AtomicU64,
    /// Position of the oldest record that is whole.
    pub start: AtomicU64,
    /// Where message `n` ends, at `n % 4`.
    pub ends: [AtomicU64; ENDS],
    /// Of one whose writer waits for its readers: as `news`, without `closed`; the writer's threads sleep on it. On a line of its own,
    /// which only readers look at.
    pub room: AtomicU32,
    /// 1: a message is being written in place behind the last one, by the process in `writer`; nobody else publishes meanwhile.
    pub lent: AtomicU32,
}

/// A reader for whom the writer waits. On a line of its own: readers do not slow each other down.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PlaceWords {
    /// The process that reads, dead or alive; 0: nobody does.
    pub process: AtomicU32,
    /// Where that begins which it has not got, or still reads in place: nothing from there on is overwritten while it lives.
    pub position: AtomicU64,
    /// The number of the message that begins there; for people.
    pub next: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(
    std::mem::offset_of!(BroadcastWords, lock.word) == 0,
    "tests/hostile/subjects.py knows where the lock lies"
);

// SAFETY: S1, atomics only.
unsafe impl Shared for BroadcastWords {}
// SAFETY: S1, atomics only.
unsafe impl Shared for PlaceWords {}

impl BroadcastWords {
    /// Nothing published, as zeroed bytes are: for loom, which cannot cast them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lock: LockWords::new(),
            writer: AtomicU32::new(0),
            baton: AtomicU32::new(0),
            news: AtomicU32::new(0),
            count: AtomicU64::new(0),
            start: AtomicU64::new(0),
            ends: std::array::from_fn(|_| AtomicU64::new(0)),
            room: AtomicU32::new(0),
            lent: AtomicU32::new(0),
        }
    }
}

impl PlaceWords {
    /// Nobody's.
    #[must_use]
    pub fn new() -> Self {
        Self { process: AtomicU32::new(0), position: AtomicU64::new(0), next: AtomicU64::new(0) }
    }
}

impl Default for PlaceWords {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for BroadcastWords {
    fn default() -> Self {
        Self::new()
    }
}
