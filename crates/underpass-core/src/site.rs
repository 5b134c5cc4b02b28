//! Where an object was taken, for people: the line of the program, and since when.
//!
//! A sequence lock (Lameter's, of Linux) whose writer is whoever has the object, and so alone; readers try once, and
//! know nothing if the writer is at it, or died there.

#[cfg(not(loom))]
use std::sync::Arc;

#[cfg(not(loom))]
use underpass_shm::header;
use underpass_shm::layout::site::{FILE_WORDS, SiteWords};
use underpass_shm::life::Life;
#[cfg(not(loom))]
use underpass_shm::region::Region;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

/// Bytes of a file's name that are kept: its end.
pub const FILE: usize = FILE_WORDS * size_of::<u64>();

/// Where and when a thread took an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// The line.
    pub line: u32,
    /// When, in nanoseconds.
    pub since: u64,
    /// The end of the file's name in UTF-8, with 0 behind.
    file: [u8; FILE],
}

impl Site {
    /// That line of that file.
    #[must_use]
    pub fn new(file: &str, line: u32, since: u64) -> Self {
        let mut kept = [0; FILE];
        let mut from = file.len().saturating_sub(FILE);
        while !file.is_char_boundary(from) {
            from += 1;
        }
        let end = &file.as_bytes()[from..];
        kept[..end.len()].copy_from_slice(end);
        Self { line, since, file: kept }
    }

    /// The file's name, with what is no letter in it escaped: the bytes are another process's.
    #[must_use]
    pub fn file(&self) -> String {
        let length = self.file.iter().position(|byte| *byte == 0).unwrap_or(FILE);
        String::from_utf8_lossy(&self.file[..length]).escape_debug().to_string()
    }

    /// Writes down that this thread, which has the object, took it here.
    pub fn note(&self, words: &SiteWords, thread: Life) {
        // One who died here left it odd.
        let turn = words.turn.load(Relaxed) | 1;
        words.turn.store(turn, Relaxed);
        // SYNC(site-1): pairs with `of`: who sees any of these sees that they are being written.
        words.thread.store(thread.0, Release);
        words.line.store(self.line, Release);
        words.since.store(self.since, Release);
        for (word, bytes) in words.file.iter().zip(self.file.chunks_exact(size_of::<u64>())) {
            word.store(u64::from_le_bytes(bytes.try_into().unwrap_or_default()), Release);
        }
        words.turn.store(turn.wrapping_add(1), Release);
    }

    /// Where that thread took the object of that region, if it wrote that down: a peek, not a promise.
    #[cfg(not(loom))]
    #[must_use]
    pub fn look(region: &Arc<Region>, thread: Life) -> Option<Self> {
        Self::of(&*header::site(region)?, thread)
    }

    /// Where that thread took it, if it wrote that down: a peek, not a promise.
    #[must_use]
    pub fn of(words: &SiteWords, thread: Life) -> Option<Self> {
        let turn = words.turn.load(Acquire);
        if turn & 1 != 0 || words.thread.load(Acquire) != thread.0 || thread == Life::NOBODY {
            return None;
        }
        let (line, since) = (words.line.load(Acquire), words.since.load(Acquire));
        let mut file = [0; FILE];
        for (bytes, word) in file.chunks_exact_mut(size_of::<u64>()).zip(&words.file) {
            bytes.copy_from_slice(&word.load(Acquire).to_le_bytes());
        }
        // SYNC(site-1).
        (words.turn.load(Relaxed) == turn).then_some(Self { line, since, file })
    }

    /// Forgets where that thread took it: it is about to give it back.
    pub fn forget(words: &SiteWords, thread: Life) {
        if words.thread.load(Relaxed) == thread.0 {
            words.thread.store(0, Relaxed);
        }
    }
}
