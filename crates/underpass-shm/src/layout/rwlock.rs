//! The words of a lock of readers and writers; its waiters follow.

use crate::layout::site::TenureWords;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Places of readers, and a last one that is kept for whoever writes: it reads there once it is downgraded.
#[cfg(not(loom))]
pub const PLACES: usize = 64;
/// Loom explores every look at every place.
#[cfg(loom)]
pub const PLACES: usize = 3;

/// In `gate`: readers do not come in without the lock.
pub const CLOSED: u64 = 1 << 31;
/// In place of a writer: it died, and nobody has repaired what it left. No thread's life, since its generation is 0.
pub const WRITER_DEAD: u32 = 0x7fff;

/// Who writes, and what is known of one who died.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct RWLockWords {
    /// ```text
    ///  63    32    31     30      0   0             nobody writes or waits: a reader needs nothing but its place
    /// ┌────────┬────────┬─────────┐  task, writer  a thread that writes, or its task; from the dead it goes to WRITER_DEAD
    /// │  task  │ closed │ writer  │  WRITER_DEAD   nobody is inside until somebody writes who repairs
    /// └────────┴────────┴─────────┘  closed = 1    somebody waits, or whoever has the lock is about to look
    /// ```
    /// All changes but one are made under the lock: a writer that leaves takes itself away without it.
    pub gate: AtomicU64,
    /// 1: a writer died, and what it left has not been repaired; whoever writes meanwhile repairs.
    pub unrepaired: AtomicU32,
    /// 1: whoever writes has upgraded, and has its place still; 0: it has none. Its own.
    pub upgraded: AtomicU32,
    /// When the first one came who waits for this writer, in nanoseconds; 0: not known. For people.
    pub since: AtomicU64,
    /// The last writer that died: its life << 32 | its pid.
    pub died: AtomicU64,
    /// Nanoseconds for which that one had held it; 0: not known.
    pub held: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RWLockWords>() == 64, "tests/hostile/subjects.py knows where the places are");

// SAFETY: S1, atomics only.
unsafe impl Shared for RWLockWords {}

impl RWLockWords {
    /// Free.
    #[must_use]
    pub fn new() -> Self {
        Self {
            gate: AtomicU64::new(0),
            unrepaired: AtomicU32::new(0),
            upgraded: AtomicU32::new(0),
            since: AtomicU64::new(0),
            died: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }
}

impl Default for RWLockWords {
    fn default() -> Self {
        Self::new()
    }
}

/// Words of a file's name beside a reader: as many as its cache line has room for.
pub const READER_FILE_WORDS: usize = if cfg!(loom) { 1 } else { 4 };

/// Where one reads: in a cache line of its own, so that readers do not slow each other down.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PlaceWords {
    /// The thread, and above it the number of its task; 0: nobody. One that has ended reads no more, and whoever finds it
    /// empties the place.
    pub reader: AtomicU64,
    /// How often it reads there; written and read by itself.
    pub depth: AtomicU32,
    /// Since when it reads, and where it came to. Nothing is known of who comes, until it or one who waits for it says more.
    pub tenure: TenureWords<READER_FILE_WORDS>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<PlaceWords>() == 64, "a cache line, as long as nobody waits the only one of a reader");

// SAFETY: S1, atomics only.
unsafe impl Shared for PlaceWords {}

impl PlaceWords {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self { reader: AtomicU64::new(0), depth: AtomicU32::new(0), tenure: TenureWords::new() }
    }
}

impl Default for PlaceWords {
    fn default() -> Self {
        Self::new()
    }
}
