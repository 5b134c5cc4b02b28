//! Where a pool's parts lie in its file: the words, a word for each block, then the blocks, size by size.

use std::sync::Arc;

use underpass_shm::header::{Header, Kind, PARAMETERS, WORDS};
use underpass_shm::layout::pool::{ALIGNMENT, BlockWords, MOST_BLOCK_BYTES, MOST_BLOCKS, MOST_SIZES, PoolWords};
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::region::Region;

use super::{Pool, Size};
use crate::queue::Objects;
use crate::{Error, Result};

/// Where blocks start: at a page.
const PAGE: usize = 4096;

/// What a pool is made with: how many blocks of how many bytes, by rising bytes; what is not used is (0, 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Blocks and their bytes.
    pub sizes: [(u32, u64); MOST_SIZES],
}

impl Shape {
    /// Of so many blocks of so many bytes each, in any order.
    pub fn new(mut sizes: Vec<(u32, u64)>) -> Result<Self> {
        if sizes.is_empty() || sizes.len() > MOST_SIZES {
            return Err(Error::Invalid(format!("a pool has 1 to {MOST_SIZES} sizes of blocks, not {}", sizes.len())));
        }
        sizes.sort_unstable_by_key(|(_, bytes)| *bytes);
        let mut shape = Self { sizes: [(0, 0); MOST_SIZES] };
        shape.sizes[..sizes.len()].copy_from_slice(&sizes);
        shape.check()?;
        Ok(shape)
    }

    /// What a pool's header says.
    pub fn read(parameters: [u64; PARAMETERS]) -> Result<Self> {
        let wrong = || Error::Corrupted("its parameters are out of range".into());
        let mut shape = Self { sizes: [(0, 0); MOST_SIZES] };
        for (size, pair) in shape.sizes.iter_mut().zip(parameters.chunks(2)) {
            *size = (u32::try_from(pair[0]).map_err(|_| wrong())?, pair[1]);
        }
        shape.check().map_err(|_| wrong())?;
        Ok(shape)
    }

    /// What its header says.
    #[must_use]
    pub fn parameters(&self) -> [u64; PARAMETERS] {
        let mut parameters = [0; PARAMETERS];
        for (pair, (count, bytes)) in parameters.chunks_mut(2).zip(self.sizes) {
            pair.copy_from_slice(&[u64::from(count), bytes]);
        }
        parameters
    }

    /// Refuses what no pool can be.
    fn check(&self) -> Result<()> {
        let (mut before, mut blocks) = (0, 0_u64);
        let used = self.sizes.iter().take_while(|size| **size != (0, 0)).count();
        for (count, bytes) in &self.sizes[..used] {
            if !(1..=MOST_BLOCK_BYTES).contains(bytes) || *bytes == before {
                let why = format!("block_size={bytes} is not between 1 and {MOST_BLOCK_BYTES}, or is there twice");
                return Err(Error::Invalid(why));
            }
            blocks += u64::from(*count);
            if *count == 0 || blocks > u64::from(MOST_BLOCKS) {
                let why = format!("blocks={count}: a pool has 1 to {MOST_BLOCKS} blocks, of each size one or more");
                return Err(Error::Invalid(why));
            }
            if *bytes < before {
                return Err(Error::Invalid("the sizes are not in order".into()));
            }
            before = *bytes;
        }
        if used == 0 || self.sizes[used..].iter().any(|size| *size != (0, 0)) {
            return Err(Error::Invalid("a pool has blocks of one size or more".into()));
        }
        Ok(())
    }

    /// Blocks and their bytes, of those sizes that it has.
    pub fn used(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.sizes.iter().filter(|size| **size != (0, 0)).map(|(count, bytes)| (*count as usize, *bytes))
    }

    /// The pool of an object: it is one, or a queue of objects with blocks of its own behind its messages.
    pub fn pool_of(header: &Header, region: &Arc<Region>) -> Result<Pool> {
        if header.kind != Kind::ObjectQueue {
            return Self::read(header.parameters)?.pool(region);
        }
        let shape = Objects::read(header.parameters)?;
        let blocks = shape.blocks.ok_or_else(|| Error::Misuse("its blocks are another pool's".into()))?;
        blocks.pool_at(region, shape.blocks_at())
    }

    /// Bytes of the file; an error if no file can be that long.
    pub fn size(&self) -> Result<usize> {
        self.end(WORDS)
    }

    /// Where it ends if its words start there.
    pub fn end(&self, start: usize) -> Result<usize> {
        let too_many = || Error::Invalid("so many blocks of that size are more bytes than a process can map".into());
        let all = self.used().try_fold(self.blocks_start(start), |end, (count, bytes)| {
            end.checked_add(stride(bytes).checked_mul(count)?)
        });
        all.filter(|all| *all < 1 << 46).ok_or_else(too_many)
    }

    /// A handle over the file's bytes, whose header said this shape. Zeroed bytes are a pool whose blocks are all free.
    pub fn pool(&self, region: &Arc<Region>) -> Result<Pool> {
        self.pool_at(region, WORDS)
    }

    /// The same, if its words start there.
    pub fn pool_at(&self, region: &Arc<Region>, words_start: usize) -> Result<Pool> {
        self.check()?;
        let short = || Error::Corrupted(format!("{} bytes are too few for {self:?}", region.len()));
        let words = Placed::at(region, words_start).ok_or_else(short)?;
        let owners: PlacedSlice<BlockWords> =
            PlacedSlice::at(region, owners_start(words_start), self.count()).ok_or_else(short)?;
        let (mut start, mut first, mut sizes) = (self.blocks_start(words_start), 0, Vec::new());
        for (count, bytes) in self.used() {
            let blocks = Blocks::at(region, start, stride(bytes), count).ok_or_else(short)?;
            sizes.push(Size { bytes, count, first, blocks });
            start += stride(bytes) * count;
            first += count;
        }
        Ok(Pool::new(words, owners, sizes))
    }

    fn count(&self) -> usize {
        self.used().map(|(count, _)| count).sum()
    }

    fn blocks_start(&self, words_start: usize) -> usize {
        (owners_start(words_start) + self.count() * size_of::<BlockWords>()).next_multiple_of(PAGE)
    }
}

/// Where the words of the blocks start.
fn owners_start(words_start: usize) -> usize {
    words_start + size_of::<PoolWords>()
}

/// From one block to the next.
fn stride(bytes: u64) -> usize {
    (bytes as usize).next_multiple_of(ALIGNMENT)
}
