//! A pool: blocks of memory of a few fixed sizes, each of which knows the process that owns it.
//!
//! Follows Zephyr's `k_mem_slab`, with an owner in place of a free list: a block is taken, given back, handed on and taken
//! from the dead by one compare-and-swap of its own word, so there is no list that a death could leave torn, and no lock.
//!
//! Invariant: a block belongs to whom its word names, and to nobody else. Whoever gives one back raises `news` after it did,
//! and whoever sleeps has raised its bit there before it looked: so nobody sleeps while a block is free that it could have,
//! or owned by somebody who has died and whom no sleeper watches.

#[cfg(not(loom))]
mod layout;
mod queued;
mod ready;
mod waiting;

use std::ops::Range;

use underpass_shm::layout::pool::{BlockWords, PoolWords, QUEUED};
use underpass_shm::life::Life;
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

#[cfg(not(loom))]
pub use layout::Shape;
pub use ready::ForBlock;

use crate::kernel::{Kernel, Owed};
use crate::wait::{Patience, Sleepers as _};
use crate::{Deadline, Error, Result};

/// The blocks of one size.
#[derive(Debug, Clone)]
pub struct Size {
    /// Their bytes.
    pub bytes: u64,
    /// How many there are.
    pub count: usize,
    /// The number of the first of them, in the whole pool.
    pub first: usize,
    /// Where they are.
    pub blocks: Blocks,
}

impl Size {
    /// The numbers of its blocks.
    #[must_use]
    pub fn numbers(&self) -> Range<usize> {
        self.first..self.first + self.count
    }
}

/// A handle of a pool.
#[derive(Debug)]
pub struct Pool {
    words: Placed<PoolWords>,
    owners: PlacedSlice<BlockWords>,
    /// The smallest first.
    sizes: Vec<Size>,
    waiting: Patience,
    /// 1 + the block that was given back through this handle last: the next to be looked at. 0: none.
    last: AtomicU32,
}

/// The right to one block, until it is given back or handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The number of the block.
    pub block: usize,
    /// Told the caller apart from who had it before.
    pub generation: u32,
    /// Who owns it.
    pub process: Life,
    /// Bytes that were asked for.
    pub length: usize,
}

/// What the word of a block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    generation: u32,
    process: Life,
}

impl Owner {
    fn read(word: u64) -> Self {
        Self { generation: (word >> 32) as u32, process: Life(word as u32) }
    }

    fn word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.process.0)
    }

    /// The next one. 0 is kept for blocks that nobody has ever had.
    fn next(self, process: Life) -> Self {
        Self { generation: self.generation.wrapping_add(1).max(1), process }
    }
}

impl Pool {
    /// A handle over zeroed words, or those of a pool. `sizes` are in order, and their blocks numbered through.
    #[must_use]
    pub fn new(words: Placed<PoolWords>, owners: PlacedSlice<BlockWords>, sizes: Vec<Size>) -> Self {
        Self { words, owners, sizes, waiting: Patience::new(), last: AtomicU32::new(0) }
    }

    /// Its sizes, the smallest first.
    #[must_use]
    pub fn sizes(&self) -> &[Size] {
        &self.sizes
    }

    /// Bytes of its largest blocks.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.sizes.last().map_or(0, |size| size.bytes as usize)
    }

    /// Takes a block of at least `length` bytes for this process, waiting for one: of the smallest size that has one free.
    pub fn alloc(&self, kernel: &dyn Kernel, length: usize, deadline: Deadline) -> Result<Ticket> {
        let me = kernel.me()?.process;
        match self.take_free(me, length) {
            Some(ticket) => Ok(ticket),
            None => self.alloc_slow(kernel, me, length, deadline, &|| Ok(())),
        }
    }

    /// Gives a block back.
    pub fn release(&self, kernel: &dyn Kernel, ticket: &Ticket) -> Result<()> {
        self.is_mine(kernel, ticket)?;
        let owner = Owner { generation: ticket.generation, process: ticket.process };
        // Who falls asleep after this look has seen the caller as an owner, and watches its life.
        let _owed = self.is_waited_for().then(|| Owed::name(kernel, self.words.baton()));
        if !self.change(ticket.block, owner, Owner { process: Life::NOBODY, ..owner }) {
            return Err(Error::Misuse("it was given back before, or another process has taken it over".into()));
        }
        self.last.store(ticket.block as u32 + 1, Relaxed);
        self.tell(kernel);
        Ok(())
    }

    /// Takes a block over that its owner has handed on: from whoever has it, once.
    pub fn receive(&self, kernel: &dyn Kernel, block: usize, generation: u32, length: u64) -> Result<Ticket> {
        let me = kernel.me()?.process;
        self.is_reference(block, length)?;
        let now = Owner::read(self.owners[block].owner.load(Acquire));
        let next = now.next(me);
        // Who sleeps, or is about to, watches the owner that was, and has to watch this one.
        let _owed = Owed::name(kernel, self.words.baton());
        if now.generation != generation || now.process == Life::NOBODY || !self.change(block, now, next) {
            return Err(Error::Misuse(
                "it was received before, given back, or freed when the process had died that handed it on: hand each block on once, \
                 and keep that process alive until it is received"
                    .into(),
            ));
        }
        self.tell(kernel);
        Ok(Ticket { block, generation: next.generation, process: me, length: length as usize })
    }

    /// There is a block of that number which so many bytes fit.
    fn is_reference(&self, block: usize, length: u64) -> Result<()> {
        let Some(size) = self.sizes.iter().find(|size| size.numbers().contains(&block)) else {
            return Err(Error::Misuse(format!("it has {} blocks, and that is no reference to one", self.owners.len())));
        };
        if length <= size.bytes {
            return Ok(());
        }
        Err(Error::Misuse(format!("its blocks have {} bytes, and that is no reference to {length}", size.bytes)))
    }

    /// The caller may do something with that block: it is not a child that was forked meanwhile.
    pub fn is_mine(&self, kernel: &dyn Kernel, ticket: &Ticket) -> Result<()> {
        if kernel.me()?.process == ticket.process {
            return Ok(());
        }
        Err(Error::Misuse("it belongs to the process that this one was forked from".into()))
    }

    /// Where a block starts, for a buffer that its owner has.
    ///
    /// # Panics
    /// If there is no such block.
    #[cfg(not(loom))]
    #[must_use]
    pub fn start(&self, block: usize) -> *mut u8 {
        let size = self.sizes.iter().find(|size| size.numbers().contains(&block));
        let size = size.expect("a block that the pool has given out");
        size.blocks.start(block - size.first)
    }

    /// Copies the start of a block, for a caller who keeps others from freeing it.
    ///
    /// # Panics
    /// If there is no such block, or it is shorter.
    pub fn read(&self, block: usize, out: &mut [u8]) {
        let size = self.sizes.iter().find(|size| size.numbers().contains(&block));
        let size = size.expect("a block that the pool has");
        size.blocks.read(block - size.first, out);
    }

    /// Which processes own blocks, the dead included, and of which number: a peek, not a promise.
    pub fn owned(&self) -> impl Iterator<Item = (usize, Life)> + '_ {
        self.out().filter(|(_, process)| *process != QUEUED)
    }

    /// Blocks whose references stand in queues: a peek.
    pub fn queued(&self) -> impl Iterator<Item = usize> + '_ {
        self.out().filter(|(_, process)| *process == QUEUED).map(|(block, _)| block)
    }

    fn out(&self) -> impl Iterator<Item = (usize, Life)> + '_ {
        let owner = |words: &BlockWords| Owner::read(words.owner.load(Acquire)).process;
        self.owners.iter().map(owner).enumerate().filter(|(_, process)| *process != Life::NOBODY)
    }

    /// Bytes that the owner of a block has asked for.
    #[must_use]
    pub fn asked(&self, block: usize) -> u64 {
        self.owners[block].length.load(Relaxed)
    }

    /// Blocks of that size that somebody has or ever had: the most that were out at once, since a free one that was used before is
    /// always taken first.
    #[must_use]
    pub fn high_water(&self, size: &Size) -> usize {
        self.owners[size.numbers()]
            .iter()
            .filter(|words| Owner::read(words.owner.load(Relaxed)).generation != 0)
            .count()
    }

    /// A free block, if one is large enough: where this handle gave one back last, or the first of the smallest size.
    fn take_free(&self, me: Life, length: usize) -> Option<Ticket> {
        let last = (self.last.load(Relaxed) as usize).wrapping_sub(1);
        let fitting = self.sizes.iter().filter(|size| size.bytes >= length as u64);
        for size in fitting {
            let known = Some(last).filter(|last| size.numbers().contains(last));
            if let Some(ticket) = known.into_iter().chain(size.numbers()).find_map(|block| self.take(block, me, length))
            {
                return Some(ticket);
            }
        }
        None
    }

    #[inline]
    fn take(&self, block: usize, me: Life, length: usize) -> Option<Ticket> {
        let words = &self.owners[block];
        let free = Owner::read(words.owner.load(Relaxed));
        let mine = free.next(me);
        if free.process != Life::NOBODY || !self.change(block, free, mine) {
            return None;
        }
        words.length.store(length as u64, Relaxed);
        Some(Ticket { block, generation: mine.generation, process: me, length })
    }

    /// One block changes hands, if it still is whose it was.
    fn change(&self, block: usize, from: Owner, to: Owner) -> bool {
        let word = &self.owners[block].owner;
        // SYNC(pool-1): pairs with itself: what one owner did to the bytes comes before what the next one does.
        word.compare_exchange(from.word(), to.word(), AcqRel, Relaxed).is_ok()
    }
}
