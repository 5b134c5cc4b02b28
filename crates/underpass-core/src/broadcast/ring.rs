//! The records of a broadcast, in a ring of words.
//!
//! Every word is loaded and stored whole and relaxed, so a copy that races with the writer is defined, if useless: its
//! reader finds out by [`underpass_shm::layout::broadcast::BroadcastWords::start`].

use underpass_shm::place::PlacedSlice;
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::Relaxed;

use crate::{Error, Result};

/// Bytes in front of a message: its length and its number.
pub const HEADER: u64 = 16;
/// Records end at multiples of this, so that a header always fits in front of the ring's end.
pub const STEP: u64 = 16;
/// The length of a filler: go on at the ring's beginning.
const FILLER: u64 = u64::MAX;
/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Beyond this no position comes: a thousand years at the speed of memory.
const MOST: u64 = 1 << 62;

/// What stands in front of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the message; none: it is a filler.
    pub length: Option<u64>,
    /// The message's number; a filler has the one of the next.
    pub number: u64,
}

/// Where records lie.
#[derive(Debug, Clone)]
pub struct Ring {
    words: PlacedSlice<AtomicU64>,
}

/// Bytes that a message takes.
#[must_use]
pub const fn size(length: u64) -> u64 {
    HEADER + length.next_multiple_of(STEP)
}

impl Ring {
    /// Over as many words, whose bytes are a multiple of [`STEP`].
    #[must_use]
    pub fn new(words: PlacedSlice<AtomicU64>) -> Self {
        Self { words }
    }

    /// Bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        (self.words.len() * WORD) as u64
    }

    /// The longest message.
    #[must_use]
    pub fn longest(&self) -> u64 {
        longest(self.capacity())
    }

    /// Bytes from a position to the ring's end.
    #[must_use]
    pub fn rest(&self, position: u64) -> u64 {
        self.capacity() - position % self.capacity()
    }

    /// Refuses what is no position of a record.
    pub fn check(position: u64) -> Result<u64> {
        let is_one = position.is_multiple_of(STEP) && position < MOST;
        is_one.then_some(position).ok_or_else(|| Error::Corrupted(format!("position {position} is none")))
    }

    /// The header at a position that was checked.
    #[inline]
    #[must_use]
    pub fn header(&self, position: u64) -> Header {
        let at = self.index(position);
        let length = self.words[at].load(Relaxed);
        Header { length: (length != FILLER).then_some(length), number: self.words[at + 1].load(Relaxed) }
    }

    /// Writes one.
    #[inline]
    pub fn set_header(&self, position: u64, header: Header) {
        let at = self.index(position);
        self.words[at].store(header.length.unwrap_or(FILLER), Relaxed);
        self.words[at + 1].store(header.number, Relaxed);
    }

    /// Bytes of the record that a header belongs to, which was read at that position and may be anything.
    pub fn extent(&self, position: u64, header: Header) -> Result<u64> {
        let rest = self.rest(position);
        let Some(length) = header.length else { return Ok(rest) };
        let fits = length <= self.longest() && size(length) <= rest;
        fits.then_some(size(length)).ok_or_else(|| Error::Corrupted(format!("a message of {length} bytes")))
    }

    /// Writes the bytes of the record at a position, where there is room for them.
    #[inline]
    pub fn write(&self, position: u64, data: &[u8]) {
        let (whole, rest) = data.as_chunks::<WORD>();
        let first = self.index(position + HEADER);
        for (word, bytes) in self.words[first..].iter().zip(whole) {
            word.store(u64::from_ne_bytes(*bytes), Relaxed);
        }
        if !rest.is_empty() {
            let mut last = [0; WORD];
            last[..rest.len()].copy_from_slice(rest);
            self.words[first + whole.len()].store(u64::from_ne_bytes(last), Relaxed);
        }
    }

    /// Copies the bytes of the record at a position, whose extent was checked.
    #[inline]
    pub fn read(&self, position: u64, out: &mut [u8]) {
        let (whole, rest) = out.as_chunks_mut::<WORD>();
        let first = self.index(position + HEADER);
        for (word, bytes) in self.words[first..].iter().zip(&mut *whole) {
            *bytes = word.load(Relaxed).to_ne_bytes();
        }
        if !rest.is_empty() {
            let last = self.words[first + whole.len()].load(Relaxed).to_ne_bytes();
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }

    /// Where the bytes of the record at a position lie, whose extent was checked or is free.
    #[cfg(not(loom))]
    #[must_use]
    pub fn start(&self, position: u64) -> *mut u8 {
        self.words.start(self.index(position + HEADER))
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        (position % self.capacity()) as usize / WORD
    }
}

/// The longest message of a ring: it and a filler in front of it overwrite nothing that was not there before them.
#[must_use]
pub const fn longest(capacity: u64) -> u64 {
    (capacity / 2 - HEADER) / STEP * STEP
}
