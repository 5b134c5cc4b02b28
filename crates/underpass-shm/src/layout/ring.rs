//! The words of a ring: who has claimed what of it, and how far its reader is.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Least bytes of a ring.
pub const LEAST_CAPACITY: u64 = 64;
/// Most: a packet's length, half of it at most, has 30 bits.
pub const MOST_CAPACITY: u64 = 1 << 30;
/// Packets begin at a multiple of so many bytes, and take at least as many.
pub const GRAIN: u64 = 8;

/// In a packet's upper half: committed, and its length in the bits below.
pub const COMMITTED: u32 = 1 << 30;
/// In a packet's upper half: abandoned.
pub const GONE: u32 = 1;
/// In `reader`: a thread of that process reads, or has a packet.
pub const BUSY: u64 = 1 << 32;

/// What all writers and the reader share. Beside it there is a word for each packet:
///
/// ```text
///  63        62        61  32 31        0
/// ┌─────────┬─────────┬──────┬───────────┐   0, 0, 0, lap         nobody has it: it is packet lap · N + its index
/// │ process │committed│ rest │    low    │   a life, end           claimed by that process
/// └─────────┴─────────┴──────┴───────────┘   0, 1, length, end     committed
///                                            0, 0, 1, end          gone: the reader skips it
/// ```
/// An end is where its bytes end, modulo twice the capacity. It changes by one exchange: free → claimed by whoever claims, claimed →
/// committed or gone by its owner; and back to free by the reader.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct RingWords {
    /// The number of the next packet to claim; it may be one behind.
    pub claims: AtomicU32,
    /// Of a ring of one writer: the process that writes; 0: nobody has.
    pub writer: AtomicU32,
    /// The number in front of which all are free, in the upper half; where the last of these ended, in the lower.
    pub freed: AtomicU64,
    /// The process that reads, in the lower half, and [`BUSY`]; 0: nobody has.
    pub reader: AtomicU64,
    /// Packets that the reader has skipped.
    pub skipped: AtomicU64,
    /// The reader sleeps on it: a bit that says that it may, and a count of the changes.
    pub news: AtomicU32,
    /// Writers sleep on it: the same.
    pub room: AtomicU32,
    /// Always 0; everybody who sleeps here waits here too.
    pub baton: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for RingWords {}

impl RingWords {
    /// An empty ring, as zeroed bytes are: for loom, which cannot cast them.
    #[must_use]
    pub fn new() -> Self {
        let word = || AtomicU32::new(0);
        let wide = || AtomicU64::new(0);
        Self {
            claims: word(),
            writer: word(),
            freed: wide(),
            reader: wide(),
            skipped: wide(),
            news: word(),
            room: word(),
            baton: word(),
        }
    }
}

impl Default for RingWords {
    fn default() -> Self {
        Self::new()
    }
}
