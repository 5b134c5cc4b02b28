//! Which message of several is got first: an order is how a key is made, and the smaller key is first.
//!
//! ```text
//!  63          49 48           0
//! ┌──────────────┬──────────────┐   rank: the more urgent, the smaller; one rank for all in a stack
//! │     rank     │    place     │   place: MIDDLE + n behind all who have one, MIDDLE - n ahead of them; never 0
//! └──────────────┴──────────────┘
//! ```
//! Places are numbered by one count for both ends, so that no two are equal: 2**48 last for years at a million a second.

/// The most urgent that a message can be.
pub const MOST_URGENT: u32 = 32_767;

const PLACE_BITS: u32 = 49;
const MIDDLE: u64 = 1 << (PLACE_BITS - 1);

/// The order of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// First in, first out: the ring alone, without a shelf.
    Fifo,
    /// Last in, first out: a stack.
    Lifo,
    /// The most urgent first, of equals the oldest.
    Priority,
}

/// Where among its equals a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is new.
    Arriving,
    /// Next, of its equals.
    Front,
    /// After all its equals.
    Back,
}

impl Order {
    /// How far a message is from being urgent: 0 is the most urgent, and all are alike where nobody asks.
    #[inline]
    #[must_use]
    pub fn rank(self, priority: u32) -> u64 {
        if self == Self::Priority { u64::from(MOST_URGENT - priority.min(MOST_URGENT)) } else { 0 }
    }

    /// Which of those on a shelf is dropped for another: the greatest of these goes. Of a stack the last; by priority the oldest of
    /// the least urgent.
    #[must_use]
    pub fn expendable(self, key: u64) -> u64 {
        if self == Self::Priority { key ^ ((1 << PLACE_BITS) - 1) } else { key }
    }

    /// The key of a message of that priority that goes there, when so many places were given before it.
    #[inline]
    #[must_use]
    pub fn key(self, priority: u32, end: End, places: u64) -> u64 {
        let ahead = end == End::Front || self == Self::Lifo && end == End::Arriving;
        let number = places.wrapping_add(1) % MIDDLE;
        self.rank(priority) << PLACE_BITS | if ahead { MIDDLE - number } else { MIDDLE + number }
    }
}
