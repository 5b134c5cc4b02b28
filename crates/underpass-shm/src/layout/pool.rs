//! The words of a pool: who owns which block, and where those sleep who wait for one.

use crate::life::Life;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Sizes of blocks that one pool can have.
pub const MOST_SIZES: usize = 4;
/// Most blocks, of all sizes together.
pub const MOST_BLOCKS: u32 = 1 << 24;
/// Most bytes of a block.
pub const MOST_BLOCK_BYTES: u64 = 1 << 40;
/// Blocks start at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;

/// Who owns a block whose reference stands in a queue: no process, so that no death frees it. Generations of lives start at 1.
pub const QUEUED: Life = Life(1 << 31);

/// In [`PoolWords::news`]: somebody sleeps, or is about to.
pub const WAITED_FOR: u32 = 1;
/// What one change adds to [`PoolWords::news`].
pub const CHANGE: u32 = 2;

/// Those who wait for a block.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PoolWords {
    /// ```text
    ///  31           1       0
    /// ┌──────────────┬────────────┐   changes: raised by everyone who gives a block back, after it did; sleepers sleep on it.
    /// │   changes    │ waited for │   waited for: a change owes all of them a wake, and clears it
    /// └──────────────┴────────────┘
    /// ```
    /// A carry out of the changes falls off the top.
    pub news: AtomicU32,
    /// Always 0; everybody who sleeps here waits here too.
    pub baton: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for PoolWords {}

impl PoolWords {
    /// Nobody waits, as zeroed bytes are: for loom, which cannot cast them.
    #[must_use]
    pub fn new() -> Self {
        Self { news: AtomicU32::new(0), baton: AtomicU32::new(0) }
    }
}

impl Default for PoolWords {
    fn default() -> Self {
        Self::new()
    }
}

/// One block.
#[derive(Debug)]
#[repr(C)]
pub struct BlockWords {
    /// ```text
    ///  63          32 31           0
    /// ┌──────────────┬──────────────┐   owner = 0     free
    /// │  generation  │    owner     │   owner ≠ 0     that process's, and of nobody alive once that has died
    /// └──────────────┴──────────────┘   generation 0  nobody has ever had it
    /// ```
    /// Whoever becomes the owner raises the generation in the same exchange: an owner that was is refused by it.
    pub owner: AtomicU64,
    /// Bytes that the owner asked for: for people to read.
    pub length: AtomicU64,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for BlockWords {}

impl BlockWords {
    /// Nobody has ever had it, as zeroed bytes are.
    #[must_use]
    pub fn new() -> Self {
        Self { owner: AtomicU64::new(0), length: AtomicU64::new(0) }
    }
}

impl Default for BlockWords {
    fn default() -> Self {
        Self::new()
    }
}
