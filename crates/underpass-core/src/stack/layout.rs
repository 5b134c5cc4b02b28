//! Where a stack's parts lie in its file: the words, the places, then its waiters.

use std::sync::Arc;

use underpass_shm::header::{PARAMETERS, WORDS};
use underpass_shm::layout::stack::{MOST_CAPACITY, SPARE, StackWords};
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::region::{Extent, Region};

use super::Stack;
use crate::waiters::{self, Waiters};
use crate::{Error, Result};

const PLACES: usize = WORDS + size_of::<StackWords>();
const LINE: usize = 64;

/// What a stack is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Words it can hold.
    pub capacity: u32,
}

impl Shape {
    /// What a stack's header says.
    pub fn read(parameters: [u64; PARAMETERS]) -> Result<Self> {
        let wrong = || Error::Corrupted("its parameters are out of range".into());
        let shape = Self { capacity: u32::try_from(parameters[0]).map_err(|_| wrong())? };
        shape.check().map_err(|_| wrong())?;
        Ok(shape)
    }

    /// Refuses what no stack can be.
    pub fn check(&self) -> Result<()> {
        if (1..=MOST_CAPACITY).contains(&self.capacity) {
            return Ok(());
        }
        Err(Error::Invalid(format!("capacity={} is not between 1 and {MOST_CAPACITY}", self.capacity)))
    }

    /// Bytes of the file.
    #[must_use]
    pub fn extent(&self) -> Extent {
        waiters::extent(self.waiters())
    }

    /// A handle over the file's bytes, whose header said this shape. Zeroed bytes are an empty stack.
    pub fn stack(&self, region: &Arc<Region>) -> Result<Stack> {
        self.check()?;
        let short = || Error::Corrupted(format!("{} bytes are too few for {self:?}", region.len()));
        let words = Placed::at(region, WORDS).ok_or_else(short)?;
        let places = PlacedSlice::at(region, PLACES, self.places()).ok_or_else(short)?;
        let waiters = Waiters::at(region, self.waiters()).ok_or_else(short)?;
        Ok(Stack::new(words, places, waiters, self.capacity))
    }

    fn places(self) -> usize {
        self.capacity as usize + SPARE
    }

    fn waiters(self) -> usize {
        (PLACES + self.places() * size_of::<u64>()).next_multiple_of(LINE)
    }
}
