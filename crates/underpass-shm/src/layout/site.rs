//! The words of where an object was taken: the line of the program that did.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Words of a file's name in [`SiteWords`]. Loom has as few as will do.
pub const FILE_WORDS: usize = if cfg!(loom) { 1 } else { 12 };

/// In [`TenureWords::since`]: its holder wrote it down itself, and with it the line.
pub const OWN: u64 = 1 << 63;
/// Its holder is writing, or has died there.
pub const WRITING: u64 = OWN;

/// Since when somebody has something, and on which line it took it: for people. Its holder writes it; who comes to wait
/// may write `since` where nothing is known.
#[derive(Debug)]
#[repr(C)]
pub struct TenureWords<const FILE: usize> {
    /// ```text
    ///  63    62         0
    /// ┌─────┬────────────┐   own = 0, time = 0   nothing is known
    /// │ own │    time    │   own = 0, time > 0   who came to wait found it taken then, in nanoseconds
    /// └─────┴────────────┘   own = 1, time = 0   its holder is writing the line, or has died there
    ///                        own = 1, time > 0   its holder took it then, on that line
    /// ```
    /// While the others are being written it is [`WRITING`]; so who sees the same time before and after has read one tenure.
    pub since: AtomicU64,
    /// The line; 0: of no file.
    pub line: AtomicU32,
    /// The end of the file's name, in UTF-8; the rest is 0.
    pub file: [AtomicU64; FILE],
}

// SAFETY: S1, atomics only.
unsafe impl<const FILE: usize> Shared for TenureWords<FILE> {}

impl<const FILE: usize> TenureWords<FILE> {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self { since: AtomicU64::new(0), line: AtomicU32::new(0), file: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<const FILE: usize> Default for TenureWords<FILE> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the thread that has an object took it. Whoever has the object alone writes them.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct SiteWords {
    /// Who took it: a thread's life; 0: nobody wrote it down.
    pub thread: AtomicU32,
    /// When and where.
    pub tenure: TenureWords<FILE_WORDS>,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for SiteWords {}

impl SiteWords {
    /// Nowhere.
    #[must_use]
    pub fn new() -> Self {
        Self { thread: AtomicU32::new(0), tenure: TenureWords::new() }
    }
}

impl Default for SiteWords {
    fn default() -> Self {
        Self::new()
    }
}
