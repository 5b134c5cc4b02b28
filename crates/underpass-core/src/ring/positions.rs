//! Where packets lie in a ring of bytes.
//!
//! A position counts bytes modulo twice the capacity, so that a full ring and an empty one differ. A packet is in one piece: where it would go
//! beyond the ring's end it begins at the ring's start, and nothing marks the gap, since an end in another lap tells.

use underpass_shm::layout::ring::GRAIN;

use crate::{Error, Result};

/// The positions of a ring of so many bytes.
#[derive(Debug, Clone, Copy)]
pub struct Positions {
    /// A multiple of [`GRAIN`].
    pub capacity: u64,
}

/// Where a packet lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first of its bytes, in the ring.
    pub start: u64,
    /// Bytes that it has.
    pub size: u64,
    /// Its end, a position.
    pub end: u32,
    /// Bytes from the end of the one before to its own.
    pub taken: u64,
}

impl Positions {
    /// The longest packet.
    pub fn longest(self) -> u64 {
        self.capacity / 2 / GRAIN * GRAIN
    }

    /// Refuses what is no position.
    pub fn check(self, position: u32) -> Result<u32> {
        let (at, capacity) = (u64::from(position), self.capacity);
        let is_one = at < 2 * capacity && at.is_multiple_of(GRAIN);
        is_one.then_some(position).ok_or_else(|| Error::Corrupted(format!("position {at} in {capacity} bytes")))
    }

    /// Bytes from one position forwards to another.
    pub fn distance(self, from: u32, to: u32) -> u64 {
        let (from, to) = (u64::from(from), u64::from(to));
        if to >= from { to - from } else { to + 2 * self.capacity - from }
    }

    /// Where a packet of at most [`Self::longest`] bytes goes behind one that ends there.
    pub fn place(self, before: u32, size: u64) -> Span {
        let size = size.max(1).next_multiple_of(GRAIN);
        let rest = self.rest(before);
        let gap = if rest < size { rest } else { 0 };
        self.span(before, gap, size)
    }

    /// Where the packet lies that ends there, behind one that ends at `before`; both were checked.
    pub fn between(self, before: u32, end: u32) -> Result<Span> {
        let (taken, rest) = (self.distance(before, end), self.rest(before));
        let gap = if taken > rest { rest } else { 0 };
        if taken == 0 || taken - gap > self.longest() {
            return Err(Error::Corrupted(format!("a packet from {before} to {end} in {} bytes", self.capacity)));
        }
        Ok(self.span(before, gap, taken - gap))
    }

    fn span(self, before: u32, gap: u64, size: u64) -> Span {
        let first = u64::from(before) + gap;
        let end = (first + size) % (2 * self.capacity);
        Span { start: first % self.capacity, size, end: end as u32, taken: gap + size }
    }

    /// Bytes from a position to the ring's end.
    fn rest(self, position: u32) -> u64 {
        self.capacity - u64::from(position) % self.capacity
    }
}
