//! Which slots are in use.
//!
//! Of the first row of slots the bits stand in one word, which says that nobody waits with one look. Its last bit stands
//! for the crowd: all slots behind that row, which have rows of bits of their own, and are touched by nobody while the
//! first row is enough.
//!
//! Invariant: while nobody holds the lock, and nobody died with it, a slot in which somebody waits or is owed something
//! has its bit, and if that is one of the crowd's, [`WaitersWords::occupied`] has CROWD. Bits without such a slot do no
//! harm: whoever settles next removes them.

use underpass_shm::layout::waiters::WaitersWords;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

/// The bits of all slots.
#[derive(Debug, Clone)]
pub(super) struct Occupancy {
    words: Placed<WaitersWords>,
    pub(super) rows: PlacedSlice<AtomicU64>,
    /// Slots of a row, of which the first has one less: fewer only where loom looks at a crowd of two.
    row: usize,
}

impl Occupancy {
    pub(super) fn new(words: Placed<WaitersWords>, rows: PlacedSlice<AtomicU64>, row: usize) -> Self {
        Self { words, rows, row }
    }

    /// The bit for all slots behind the first row.
    fn crowd(&self) -> u64 {
        1 << (self.row - 1)
    }

    /// There is a slot of that number: the first row ends one earlier.
    pub(super) fn has(&self, index: usize) -> bool {
        index != self.row - 1
    }

    /// It is one of the slots behind the first row.
    pub(super) fn is_of_the_crowd(&self, index: usize) -> bool {
        index >= self.row
    }

    /// Where a slot has its bit; nothing for one that does not exist.
    fn place(&self, index: usize) -> Option<(&AtomicU64, u64)> {
        let word = match index / self.row {
            0 => &self.words.occupied,
            row => self.rows.get(row - 1)?,
        };
        Some((word, 1 << (index % self.row)))
    }

    /// Says that a slot is in use. The lock is held.
    pub(super) fn announce(&self, index: usize) {
        let Some((word, bit)) = self.place(index) else { return };
        // SYNC(waiters-1): pairs with `is_empty_after_a_change`; a slot of the crowd is announced by the second of the two.
        word.fetch_or(bit, AcqRel);
        if self.is_of_the_crowd(index) {
            self.words.occupied.fetch_or(self.crowd(), AcqRel);
        }
    }

    /// Says that a slot is in use no more. The lock is held.
    pub(super) fn forget(&self, index: usize) {
        let Some((word, bit)) = self.place(index) else { return };
        word.fetch_and(!bit, AcqRel);
        let is_deserted = || self.rows.iter().all(|row| row.load(Relaxed) == 0);
        if self.is_of_the_crowd(index) && is_deserted() {
            self.words.occupied.fetch_and(!self.crowd(), AcqRel);
        }
    }

    /// A slot was announced: whoever died while it filled one has not come that far.
    pub(super) fn is_announced(&self, index: usize) -> bool {
        let is_seen = !self.is_of_the_crowd(index) || self.words.occupied.load(Relaxed) & self.crowd() != 0;
        is_seen && self.place(index).is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    /// The slots that were announced.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let first = self.words.occupied.load(Acquire);
        let further: &[AtomicU64] = if first & self.crowd() == 0 { &[] } else { &self.rows };
        let rows = std::iter::once(first & !self.crowd()).chain(further.iter().map(|row| row.load(Acquire)));
        rows.enumerate().flat_map(move |(row, bits)| ones(bits).map(move |bit| row * self.row + bit))
    }
}

/// The numbers of the bits that are set.
fn ones(mut left: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        (bit < u64::BITS as usize).then_some(bit)
    })
}
