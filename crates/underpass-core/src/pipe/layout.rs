//! Where a pipe's parts lie in its file: the words, then the ring.

use std::sync::Arc;

use underpass_shm::header::{PARAMETERS, WORDS};
use underpass_shm::layout::pipe::{MOST_CAPACITY, PipeWords};
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::region::Region;

use super::Pipe;
use crate::{Error, Result};

/// What a pipe is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes it can hold.
    pub capacity: u32,
}

impl Shape {
    /// What a pipe's header says.
    pub fn read(parameters: [u64; PARAMETERS]) -> Result<Self> {
        let wrong = || Error::Corrupted("its parameters are out of range".into());
        let shape = Self { capacity: u32::try_from(parameters[0]).map_err(|_| wrong())? };
        shape.check().map_err(|_| wrong())?;
        Ok(shape)
    }

    /// Refuses what no pipe can be.
    pub fn check(&self) -> Result<()> {
        if (1..=MOST_CAPACITY).contains(&self.capacity) {
            return Ok(());
        }
        Err(Error::Invalid(format!("capacity={} is not between 1 and {MOST_CAPACITY}", self.capacity)))
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> usize {
        WORDS + size_of::<PipeWords>() + self.ring()
    }

    /// A handle over the file's bytes, whose header said this shape. Zeroed bytes are an empty pipe.
    pub fn pipe(&self, region: &Arc<Region>) -> Result<Pipe> {
        self.check()?;
        let short = || Error::Corrupted(format!("{} bytes are too few for {self:?}", region.len()));
        let words = Placed::at(region, WORDS).ok_or_else(short)?;
        let bytes = Blocks::at(region, WORDS + size_of::<PipeWords>(), 1, self.ring()).ok_or_else(short)?;
        Ok(Pipe::new(words, bytes, self.capacity))
    }

    fn ring(self) -> usize {
        (self.capacity as usize).next_power_of_two()
    }
}
