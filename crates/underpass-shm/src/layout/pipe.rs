//! The words of a pipe: two sides that copy at the same time.

use crate::layout::lock::LockWords;
use crate::layout::queue::{Gauge, ROSTER, RosterEntry};
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Most bytes: half of what the counts tell apart.
pub const MOST_CAPACITY: u32 = 1 << 28;

/// What only the holder of the writers' lock writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct WriteSide {
    /// The writers' lock.
    pub lock: LockWords,
    /// Whether writers are registered, and how the last one went: as a queue's putters.
    pub registered: AtomicU32,
    /// The pid of the last registered writer, once it died.
    pub died_pid: AtomicU32,
    /// Where the last writer that waited may run; 0: not known.
    pub cpus: AtomicU64,
}

/// What only the holder of the readers' lock writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ReadSide {
    /// The readers' lock.
    pub lock: LockWords,
    /// Where the last reader that waited may run; 0: not known.
    pub cpus: AtomicU64,
}

/// The words of a pipe. The gauges are as a queue's: a count, `CLOSED` in `written` alone, and `SLEEPERS`, which every move of
/// the count clears in the same exchange.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PipeWords {
    /// The writers' side.
    pub write: WriteSide,
    /// Bytes written; readers sleep on it.
    pub written: Gauge,
    /// The readers' side.
    pub read: ReadSide,
    /// Bytes taken out; writers sleep on it.
    pub taken: Gauge,
    /// Always 0; everybody who sleeps here, on whichever word, waits here too.
    pub baton: AtomicU32,
    /// Raised by whoever changes what no count tells; everybody who sleeps at a gauge sleeps here too.
    pub calls: AtomicU32,
    /// Raised twice by each reset: odd while one is under way.
    pub resets: AtomicU32,
    /// Registered writers; readers that sleep watch them.
    pub writers: [RosterEntry; ROSTER],
}

#[cfg(not(loom))]
const _: () = assert!(
    std::mem::offset_of!(PipeWords, write.lock.word) == 0 && std::mem::offset_of!(PipeWords, read.lock.word) == 128,
    "tests/hostile/subjects.py knows where the locks lie"
);

// SAFETY: S1, atomics only.
unsafe impl Shared for PipeWords {}

fn zero() -> AtomicU32 {
    AtomicU32::new(0)
}

impl PipeWords {
    /// An empty pipe, as zeroed bytes are: for loom, which cannot cast them.
    #[must_use]
    pub fn new() -> Self {
        let gauge = || Gauge { word: zero() };
        Self {
            write: WriteSide { lock: LockWords::new(), registered: zero(), died_pid: zero(), cpus: AtomicU64::new(0) },
            written: gauge(),
            read: ReadSide { lock: LockWords::new(), cpus: AtomicU64::new(0) },
            taken: gauge(),
            baton: zero(),
            calls: zero(),
            resets: zero(),
            writers: std::array::from_fn(|_| RosterEntry { process: zero(), count: zero() }),
        }
    }
}

impl Default for PipeWords {
    fn default() -> Self {
        Self::new()
    }
}
