//! Since when and where something was taken, for people: the line of the program.
//!
//! A sequence lock (Lameter's, of Linux) whose count is the time itself: the writer is whoever has it, and so alone; readers
//! try once, and know nothing if the writer is at it, or died there.

#[cfg(not(loom))]
use std::sync::Arc;

#[cfg(not(loom))]
use underpass_shm::header;
use underpass_shm::layout::site::{FILE_WORDS, OWN, SiteWords, TenureWords, WRITING};
use underpass_shm::life::Life;
#[cfg(not(loom))]
use underpass_shm::region::Region;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

/// Bytes of a file's name that are kept: its end.
pub const FILE: usize = FILE_WORDS * size_of::<u64>();

/// Objects begin and find tenures. In loom beside no object: they decide nothing, and would double its schedules; it looks at
/// them alone.
pub const TOLD: bool = !cfg!(loom);

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
        let end = end_of(file.as_bytes(), FILE);
        kept[..end.len()].copy_from_slice(end);
        Self { line, since, file: kept }
    }

    /// The file's name, with what is no letter in it escaped: the bytes are another process's.
    #[must_use]
    pub fn file(&self) -> String {
        String::from_utf8_lossy(self.name()).escape_debug().to_string()
    }

    fn name(&self) -> &[u8] {
        let length = self.file.iter().position(|byte| *byte == 0).unwrap_or(FILE);
        &self.file[..length]
    }

    /// Writes down that this thread, which has the object, took it here.
    pub fn note(&self, words: &SiteWords, thread: Life) {
        words.tenure.since.store(WRITING, Relaxed);
        // SYNC(site-1)
        words.thread.store(thread.0, Release);
        self.write(&words.tenure);
    }

    /// Writes down that the caller, who alone may write there, took it here; of a long name the end.
    pub fn write<const WORDS: usize>(&self, words: &TenureWords<WORDS>) {
        // One who died here left it so.
        words.since.store(WRITING, Relaxed);
        // SYNC(site-1): pairs with `read`: who sees any of these sees that they are being written.
        words.line.store(self.line, Release);
        let mut bytes = end_of(self.name(), WORDS * size_of::<u64>()).iter().copied();
        for word in &words.file {
            let next: [u8; size_of::<u64>()] = std::array::from_fn(|_| bytes.next().unwrap_or(0));
            word.store(u64::from_le_bytes(next), Release);
        }
        words.since.store(OWN | self.since.max(1), Release);
    }

    /// The same, where several threads may write: the first one of a tenure does.
    pub fn write_first<const WORDS: usize>(&self, words: &TenureWords<WORDS>) {
        let since = words.since.load(Relaxed);
        if since & OWN == 0 && words.since.compare_exchange(since, WRITING, Relaxed, Relaxed).is_ok() {
            self.write(words);
        }
    }

    /// What its holder wrote down, whole: a peek, not a promise.
    fn read<const WORDS: usize>(words: &TenureWords<WORDS>) -> Option<Self> {
        let since = words.since.load(Acquire);
        if since & OWN == 0 || since == WRITING {
            return None;
        }
        let line = words.line.load(Acquire);
        let mut file = [0; FILE];
        for (bytes, word) in file.chunks_exact_mut(size_of::<u64>()).zip(&words.file) {
            bytes.copy_from_slice(&word.load(Acquire).to_le_bytes());
        }
        // SYNC(site-1).
        (words.since.load(Relaxed) == since).then_some(Self { line, since: since & !OWN, file })
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
        let site = Self::read(&words.tenure)?;
        // Between two looks at the time that agree the thread was the same.
        let is_its = thread != Life::NOBODY && words.thread.load(Acquire) == thread.0;
        (is_its && words.tenure.since.load(Relaxed) == OWN | site.since).then_some(site)
    }

    /// Forgets where that thread took it: it is about to give it back.
    pub fn forget(words: &SiteWords, thread: Life) {
        if words.thread.load(Relaxed) == thread.0 {
            words.thread.store(0, Relaxed);
        }
    }
}

/// What is known of how long, and since which line, somebody has something: a peek, not a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tenure {
    /// Since then, in nanoseconds; without a site for at least as long.
    pub since: Option<u64>,
    /// Where it took it, if it wrote that down.
    pub site: Option<Site>,
}

impl Tenure {
    /// What the words tell.
    #[must_use]
    pub fn of<const WORDS: usize>(words: &TenureWords<WORDS>) -> Self {
        match Site::read(words) {
            Some(site) => Self { since: Some(site.since), site: Some(site) },
            // SYNC(site-2): pairs with `found`, and with `write`: who looks again then sees who has it by now.
            None => Self { since: Some(words.since.load(Acquire) & !OWN).filter(|since| *since != 0), site: None },
        }
    }

    /// A new one begins, of which nothing is known: before anybody can see who has it.
    #[inline]
    pub fn begin<const WORDS: usize>(words: &TenureWords<WORDS>) {
        words.since.store(0, Relaxed);
    }

    /// Who comes to wait for it finds it taken.
    pub fn found<const WORDS: usize>(words: &TenureWords<WORDS>, now: u64) {
        if words.since.load(Relaxed) == 0 {
            // SYNC(site-2)
            let _ = words.since.compare_exchange(0, now & !OWN, Release, Relaxed);
        }
    }
}

/// The end of a text in UTF-8 that is at most so long, from a letter on.
fn end_of(text: &[u8], most: usize) -> &[u8] {
    let is_inside = |byte: &&u8| **byte & 0xc0 == 0x80;
    let end = &text[text.len().saturating_sub(most)..];
    if end.len() == text.len() { end } else { &end[end.iter().take_while(is_inside).count()..] }
}
