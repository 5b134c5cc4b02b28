//! Where the words of waiters lie: at the end of their object, first those that all have in common, then the slots, then
//! the bits of the crowd. What is behind the first row of slots is a hole in the file until somebody needs it.

use std::sync::Arc;

use underpass_shm::layout::waiters::{ROW, ROWS, SLOTS, SlotWords, WaitersWords};
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::region::{Extent, Region};
use underpass_shm::sync::AtomicU64;

use super::Waiters;
use crate::Result;

const FIRST_ROW_END: usize = size_of::<WaitersWords>() + ROW * size_of::<SlotWords>();
const SLOTS_END: usize = size_of::<WaitersWords>() + SLOTS * size_of::<SlotWords>();
const END: usize = SLOTS_END + ROWS * size_of::<AtomicU64>();

/// Bytes of waiters that have one row.
pub const ONE_ROW: usize = FIRST_ROW_END.next_multiple_of(align_of::<WaitersWords>());

/// How long an object is whose waiters' words start at `offset`.
#[must_use]
pub const fn extent(offset: usize) -> Extent {
    Extent { length: offset + END, hole: END - FIRST_ROW_END }
}

impl Waiters {
    /// Those whose words start at `offset` of an object; none if they do not lie inside it.
    #[must_use]
    pub fn at(region: &Arc<Region>, offset: usize) -> Option<Self> {
        let slots = PlacedSlice::at(region, offset + size_of::<WaitersWords>(), SLOTS)?;
        let rows = PlacedSlice::at(region, offset + SLOTS_END, ROWS)?;
        Some(Self::new(Placed::at(region, offset)?, slots, rows))
    }

    /// The same of one row of slots, all of them there from the beginning: [`ONE_ROW`] bytes.
    #[must_use]
    pub fn of_one_row(region: &Arc<Region>, offset: usize) -> Option<Self> {
        let slots = PlacedSlice::at(region, offset + size_of::<WaitersWords>(), ROW)?;
        let rows = PlacedSlice::at(region, offset, 0)?;
        Some(Self::new(Placed::at(region, offset)?, slots, rows))
    }

    /// Has the system find room for a slot, where it may lie in the hole, and for the bits of all such slots: so whoever
    /// finds a bit set finds the slot. The lock is held.
    pub(super) fn furnish(&self, index: usize) -> Result<()> {
        if self.occupancy.is_of_the_crowd(index) {
            self.slots.furnish(index..index + 1, "a further waiter")?;
            self.occupancy.rows.furnish(0..ROWS, "a further waiter")?;
        }
        Ok(())
    }
}
