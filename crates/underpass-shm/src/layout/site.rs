//! The words of where an object was taken: the line of the program that did.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Words of [`SiteWords::file`]. Loom has as few as will do.
pub const FILE_WORDS: usize = if cfg!(loom) { 1 } else { 12 };

/// Where the thread that has an object took it. Whoever has the object alone writes them.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct SiteWords {
    /// Odd: the others are being written.
    pub turn: AtomicU32,
    /// Who took it: a thread's life; 0: nobody wrote it down.
    pub thread: AtomicU32,
    /// The line; 0: of no file.
    pub line: AtomicU32,
    /// When, in nanoseconds.
    pub since: AtomicU64,
    /// The end of the file's name, in UTF-8; the rest is 0.
    pub file: [AtomicU64; FILE_WORDS],
}

// SAFETY: S1, atomics only.
unsafe impl Shared for SiteWords {}

impl SiteWords {
    /// Nowhere.
    #[must_use]
    pub fn new() -> Self {
        Self {
            turn: AtomicU32::new(0),
            thread: AtomicU32::new(0),
            line: AtomicU32::new(0),
            since: AtomicU64::new(0),
            file: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Default for SiteWords {
    fn default() -> Self {
        Self::new()
    }
}
