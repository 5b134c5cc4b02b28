//! Where a broadcast's words and its ring lie in its file.

use std::sync::Arc;

use underpass_shm::header::{PARAMETERS, WORDS};
use underpass_shm::layout::broadcast::BroadcastWords;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::region::Region;
use underpass_shm::sync::AtomicU64;

use super::Broadcast;
use crate::{Error, Result};

/// Least bytes of a ring.
pub const LEAST: u64 = 64;
/// Most.
pub const MOST: u64 = 1 << 31;
/// Rings have a multiple of so many bytes: a cache line.
const LINE: u64 = 64;

/// What a broadcast is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the ring, as they were asked for.
    pub capacity: u64,
}

impl Shape {
    /// Refuses what no broadcast can be.
    pub fn new(capacity: u64) -> Result<Self> {
        if (LEAST..=MOST).contains(&capacity) {
            return Ok(Self { capacity });
        }
        Err(Error::Invalid(format!("capacity={capacity} is not between {LEAST} and {MOST}")))
    }

    /// What its header says.
    pub fn read(parameters: [u64; PARAMETERS]) -> Result<Self> {
        Self::new(parameters[0]).map_err(|_| Error::Corrupted("its parameters are out of range".into()))
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> usize {
        WORDS + size_of::<BroadcastWords>() + self.ring()
    }

    /// A handle over the file's bytes, whose header said this shape.
    pub fn broadcast(&self, region: &Arc<Region>) -> Result<Broadcast> {
        let words = Placed::at(region, WORDS);
        let ring = PlacedSlice::at(region, WORDS + size_of::<BroadcastWords>(), self.ring() / size_of::<AtomicU64>());
        let (Some(words), Some(ring)) = (words, ring) else {
            return Err(Error::Corrupted(format!("{} bytes are too few for {self:?}", region.len())));
        };
        Ok(Broadcast::new(words, ring))
    }

    fn ring(self) -> usize {
        self.capacity.next_multiple_of(LINE) as usize
    }
}
