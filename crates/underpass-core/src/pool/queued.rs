//! Blocks whose references stand in a queue of objects: nobody's but the message's.

use underpass_shm::layout::pool::QUEUED;
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::Acquire;

use super::{Owner, Pool, Ticket};
use crate::kernel::{Kernel, Owed};
use crate::wait::Sleepers as _;
use crate::{Deadline, Result};

impl Pool {
    /// As [`Self::alloc`], while `going_on` raises nothing: whoever makes it raise calls [`Self::recall`] afterwards.
    pub fn alloc_while(
        &self,
        kernel: &dyn Kernel,
        length: usize,
        deadline: Deadline,
        going_on: &dyn Fn() -> Result<()>,
    ) -> Result<Ticket> {
        let me = kernel.me()?.process;
        match self.take_free(me, length) {
            Some(ticket) => Ok(ticket),
            None => self.alloc_slow(kernel, me, length, deadline, going_on),
        }
    }

    /// Has all look who sleep for a block.
    pub fn recall(&self, kernel: &dyn Kernel) {
        self.words.recall(kernel);
    }

    /// The block is its message's from now on, whoever had it and dies; false: the message is void.
    ///
    /// Its putter does that once the message has arrived, and whoever leases the message before it reads.
    pub fn queue(&self, block: usize, generation: u32, length: u64) -> Result<bool> {
        self.is_reference(block, length)?;
        loop {
            let now = Owner::read(self.owners[block].owner.load(Acquire));
            if now.generation != generation || now.process == Life::NOBODY {
                return Ok(false);
            }
            if now.process == QUEUED || self.change(block, now, Owner { process: QUEUED, ..now }) {
                return Ok(true);
            }
        }
    }

    /// Frees the block of a message that nobody will get, which is void from then on: before it leaves the queue.
    pub fn end(&self, kernel: &dyn Kernel, block: usize, generation: u32, length: u64) -> Result<()> {
        self.is_reference(block, length)?;
        let _owed = self.is_waited_for().then(|| Owed::name(kernel, self.words.baton()));
        loop {
            let now = Owner::read(self.owners[block].owner.load(Acquire));
            if now.generation != generation || now.process == Life::NOBODY {
                return Ok(());
            }
            if self.change(block, now, Owner { process: Life::NOBODY, ..now }) {
                self.tell(kernel);
                return Ok(());
            }
        }
    }
}
