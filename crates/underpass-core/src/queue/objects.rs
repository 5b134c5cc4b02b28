//! Where the parts of a queue of objects lie in its file: a queue, and behind it the blocks of its own, if it has some.

use underpass_shm::header::PARAMETERS;
use underpass_shm::layout::pool::ALIGNMENT;

use super::Shape;
use crate::{Error, Result, pool};

/// What a queue of objects is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects {
    /// Of its messages.
    pub messages: Shape,
    /// Of its own blocks; none: they are another pool's.
    pub blocks: Option<pool::Shape>,
    /// Which other pool's, by its nonce; 0: they are its own.
    pub pool: u64,
}

impl Objects {
    /// What its header says: four words of its messages, the blocks and their bytes, and the other pool.
    pub fn read(parameters: [u64; PARAMETERS]) -> Result<Self> {
        let wrong = || Error::Corrupted("its parameters are out of range".into());
        let [capacity, message_size, most, order, blocks, block_size, pool, _] = parameters;
        let messages = Shape::read([capacity, message_size, most, order, 0, 0, 0, 0])?;
        let own = match (u32::try_from(blocks).map_err(|_| wrong())?, pool) {
            (0, 1..) => None,
            (count @ 1.., 0) => Some(pool::Shape::new(vec![(count, block_size)]).map_err(|_| wrong())?),
            _ => return Err(wrong()),
        };
        Ok(Self { messages, blocks: own, pool })
    }

    /// What its header says.
    #[must_use]
    pub fn parameters(&self) -> [u64; PARAMETERS] {
        let [capacity, message_size, most, order, ..] = self.messages.parameters();
        let (count, bytes) = self.blocks.map_or((0, 0), |blocks| blocks.sizes[0]);
        [capacity, message_size, most, order, u64::from(count), bytes, self.pool, 0]
    }

    /// Where the words of its own blocks start.
    #[must_use]
    pub fn blocks_at(&self) -> usize {
        self.messages.size().next_multiple_of(ALIGNMENT)
    }

    /// Bytes of the file; an error if no file can be that long.
    pub fn size(&self) -> Result<usize> {
        self.blocks.map_or(Ok(self.messages.size()), |blocks| blocks.end(self.blocks_at()))
    }
}
