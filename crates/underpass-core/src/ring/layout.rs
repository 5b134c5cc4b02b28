//! Where a ring's parts lie in its file: the words, a word for each packet, then the bytes.

use std::sync::Arc;

use underpass_shm::header::{PARAMETERS, WORDS};
use underpass_shm::layout::ring::{GRAIN, LEAST_CAPACITY, MOST_CAPACITY, RingWords};
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::region::Region;

use super::{Ring, Writers};
use crate::{Error, Result};

/// Where the packets' words start.
const PACKETS: usize = WORDS + size_of::<RingWords>();
/// Bytes of a cache line, where the bytes start.
const LINE: usize = 64;
/// Packets that every ring has room for, at least.
const LEAST_PACKETS: u64 = 15;
/// A longer ring has room for one packet of so many bytes at least.
const BYTES_OF_A_PACKET: u64 = 64;

/// What a ring is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes, as they were asked for.
    pub capacity: u64,
}

impl Shape {
    /// Refuses what no ring can be.
    pub fn new(capacity: u64) -> Result<Self> {
        if (LEAST_CAPACITY..=MOST_CAPACITY).contains(&capacity) {
            return Ok(Self { capacity });
        }
        Err(Error::Invalid(format!("capacity={capacity} is not between {LEAST_CAPACITY} and {MOST_CAPACITY}")))
    }

    /// What its header says.
    pub fn read(parameters: [u64; PARAMETERS]) -> Result<Self> {
        Self::new(parameters[0]).map_err(|_| Error::Corrupted("its parameters are out of range".into()))
    }

    /// What its header says.
    #[must_use]
    pub fn parameters(self) -> [u64; PARAMETERS] {
        [self.capacity, 0, 0, 0, 0, 0, 0, 0]
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(self) -> usize {
        self.bytes_start() + self.bytes() as usize
    }

    /// A handle over the file's bytes, whose header said this shape. Zeroed bytes are an empty ring.
    pub fn ring(self, region: &Arc<Region>, writers: Writers) -> Result<Ring> {
        let grains = (self.bytes() / GRAIN) as usize;
        let words = Placed::at(region, WORDS);
        let packets = PlacedSlice::at(region, PACKETS, self.packets());
        let bytes = Blocks::at(region, self.bytes_start(), GRAIN as usize, grains);
        let (Some(words), Some(packets), Some(bytes)) = (words, packets, bytes) else {
            return Err(Error::Corrupted(format!("{} bytes are too few for {self:?}", region.len())));
        };
        Ok(Ring::new(words, packets, bytes, self.bytes(), writers))
    }

    fn bytes(self) -> u64 {
        self.capacity.next_multiple_of(GRAIN)
    }

    /// A power of two, since numbers wrap.
    fn packets(self) -> usize {
        ((self.capacity / BYTES_OF_A_PACKET).max(LEAST_PACKETS) + 1).next_power_of_two() as usize
    }

    fn bytes_start(self) -> usize {
        (PACKETS + self.packets() * size_of::<u64>()).next_multiple_of(LINE)
    }
}
