//! The waiting half of a pool: sleepers, those who wake them, and blocks of the dead.

use std::collections::HashSet;

use underpass_shm::layout::pool::{CHANGE, PoolWords, WAITED_FOR};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use super::{Owner, Pool, Ticket};
use crate::kernel::{Kernel, Owed, Watch};
use crate::planted::{Fault, planted};
use crate::wait::{Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

impl Pool {
    #[cold]
    pub(super) fn alloc_slow(
        &self,
        kernel: &dyn Kernel,
        me: Life,
        length: usize,
        deadline: Deadline,
        going_on: &dyn Fn() -> Result<()>,
    ) -> Result<Ticket> {
        if length > self.largest() {
            let why = format!("size={length} is more than the {} bytes of its largest blocks", self.largest());
            return Err(Error::Invalid(why));
        }
        let (patience, operation) = (&self.waiting, Operation::Alloc);
        let waiting = Waiting { sleepers: Some(&*self.words), deadline, patience, partner: 0, operation };
        // A look at one word, however many blocks there are: whoever gives one back changes it.
        let seen = self.words.news.load(Relaxed);
        let ready = || self.words.news.load(Acquire) != seen;
        wait_until(kernel, waiting, ready, |mut watch, slept| {
            if let Some(watch) = watch.as_deref_mut() {
                self.announce(watch);
            }
            going_on()?;
            let taken = loop {
                let taken = self.take_free(me, length);
                // To ask who lives is a system call: not after a spin that has just seen a block.
                let ask = watch.is_some() || deadline == Deadline::NoWait;
                if taken.is_some() || !ask || !self.reap(kernel, me, watch.as_deref_mut()) {
                    break taken;
                }
            };
            if taken.is_some() && slept {
                // A death wakes one of those who sleep, and there may be more that it has left.
                self.tell(kernel);
            }
            Ok(taken)
        })
    }

    /// Some block of so many bytes is free: a peek.
    pub(super) fn has_free(&self, length: usize) -> bool {
        let is_free = |block: usize| Owner::read(self.owners[block].owner.load(Acquire)).process == Life::NOBODY;
        self.sizes.iter().filter(|size| size.bytes >= length as u64).any(|size| size.numbers().any(is_free))
    }

    /// Says that somebody is about to sleep. Before it looks at any block: whoever gives one back afterwards changes the word.
    pub(super) fn announce<'a>(&'a self, watch: &mut Watch<'a>) {
        let news = &self.words.news;
        // SYNC(pool-2): pairs with `tell`: of the two exchanges the later one sees what came before the other.
        watch.word(news, news.fetch_or(WAITED_FOR, AcqRel) | WAITED_FOR);
    }

    /// Frees the blocks of those who have died; `watch` is told of the others. True if there were any.
    pub(super) fn reap(&self, kernel: &dyn Kernel, me: Life, mut watch: Option<&mut Watch<'_>>) -> bool {
        if planted(Fault::BlocksOfTheDead) {
            return false;
        }
        let mut dead = HashSet::new();
        let mut known = HashSet::from([me]);
        for (_, process) in self.owned() {
            if !known.insert(process) {
                continue;
            }
            if kernel.alive(process) {
                if let Some(watch) = watch.as_deref_mut() {
                    watch.life(process);
                }
            } else {
                dead.insert(process);
            }
        }
        if dead.is_empty() {
            return false;
        }
        // Of those who watched the dead one the kernel wakes one: if that dies here, the baton wakes the next.
        let _owed = Owed::name(kernel, self.words.baton());
        for block in 0..self.owners.len() {
            let owner = Owner::read(self.owners[block].owner.load(Acquire));
            if dead.contains(&owner.process) {
                // Or else it was handed on, or another was faster.
                self.change(block, owner, Owner { process: Life::NOBODY, ..owner });
            }
        }
        self.tell(kernel);
        true
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.words.news.load(Relaxed) & WAITED_FOR != 0
    }

    /// A block was given back: has all look who sleep, or are about to. Each knows itself how large a block it needs.
    pub(super) fn tell(&self, kernel: &dyn Kernel) {
        tell(&self.words, kernel);
    }
}

fn tell(words: &PoolWords, kernel: &dyn Kernel) {
    // SYNC(pool-2): pairs with `announce`.
    if words.news.fetch_add(CHANGE, AcqRel) & WAITED_FOR == 0 {
        return;
    }
    let _owed = Owed::name(kernel, &words.baton);
    if words.news.fetch_and(!WAITED_FOR, AcqRel) & WAITED_FOR != 0 {
        kernel.wake(&words.news, u32::MAX);
    }
}

/// All who sleep for a block.
impl Sleepers for PoolWords {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, &self.baton);
        // The bit may be gone though somebody sleeps, whom one who has died was to wake.
        self.news.fetch_add(CHANGE, AcqRel);
        self.news.fetch_and(!WAITED_FOR, AcqRel);
        kernel.wake(&self.news, u32::MAX);
    }
}
