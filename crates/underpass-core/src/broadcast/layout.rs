//! Where a broadcast's words, its readers' places and its ring lie in its file.

use std::sync::Arc;

use underpass_shm::header::{PARAMETERS, WORDS};
use underpass_shm::layout::broadcast::{BroadcastWords, PLACES, PlaceWords};
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
    /// What a message does that finds no room.
    pub when_full: WhenFull,
}

/// What a message does that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It overwrites the oldest ones.
    Overwrite = 0,
    /// It waits until all who read and live have got the oldest ones.
    Wait = 1,
}

impl Shape {
    /// Refuses what no broadcast can be.
    pub fn new(capacity: u64, when_full: WhenFull) -> Result<Self> {
        if (LEAST..=MOST).contains(&capacity) {
            return Ok(Self { capacity, when_full });
        }
        Err(Error::Invalid(format!("capacity={capacity} is not between {LEAST} and {MOST}")))
    }

    /// What its header says.
    pub fn read(parameters: [u64; PARAMETERS]) -> Result<Self> {
        let wrong = || Error::Corrupted("its parameters are out of range".into());
        let when_full = [WhenFull::Overwrite, WhenFull::Wait].into_iter().find(|mode| *mode as u64 == parameters[1]);
        Self::new(parameters[0], when_full.ok_or_else(wrong)?).map_err(|_| wrong())
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> usize {
        self.ring_at() + self.ring()
    }

    /// A handle over the file's bytes, whose header said this shape.
    pub fn broadcast(&self, region: &Arc<Region>) -> Result<Broadcast> {
        let words = Placed::at(region, WORDS);
        let places = PlacedSlice::at(region, WORDS + size_of::<BroadcastWords>(), self.places());
        let ring = PlacedSlice::at(region, self.ring_at(), self.ring() / size_of::<AtomicU64>());
        let (Some(words), Some(places), Some(ring)) = (words, places, ring) else {
            return Err(Error::Corrupted(format!("{} bytes are too few for {self:?}", region.len())));
        };
        Ok(Broadcast::new(words, places, ring))
    }

    fn places(self) -> usize {
        if self.when_full == WhenFull::Wait { PLACES } else { 0 }
    }

    fn ring_at(self) -> usize {
        WORDS + size_of::<BroadcastWords>() + self.places() * size_of::<PlaceWords>()
    }

    fn ring(self) -> usize {
        self.capacity.next_multiple_of(LINE) as usize
    }
}
