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
}

#[cfg(not(loom))]
const _: () = assert!(
    std::mem::offset_of!(BroadcastWords, lock.word) == 0,
    "tests/hostile/subjects.py knows where the lock lies"
);

// SAFETY: S1, atomics only.
unsafe impl Shared for BroadcastWords {}

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
        }
    }
}

impl Default for BroadcastWords {
    fn default() -> Self {
        Self::new()
    }
}
