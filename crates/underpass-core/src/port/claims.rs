//! Which A-stacks of a channel are in use, among the threads of the client's process.

use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::stack::{STACKS, Stack};
use crate::error::Phase;
use crate::kernel::{Kernel, Watch};
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// An A-stack of ours is free.
pub const FREE: u32 = 0;
/// It carries a call of ours.
const BUSY: u32 = 1;
/// Its caller went away: it is free again when the server has answered.
pub const ABANDONED: u32 = 2;

/// What each A-stack of a channel is at, of its client.
#[derive(Debug)]
pub struct Claims {
    states: [AtomicU32; STACKS],
    /// Changes when an A-stack becomes free; threads that want one sleep here.
    released: AtomicU32,
    /// Threads that want one.
    claimants: AtomicU32,
    baton: AtomicU32,
    patience: Patience,
}

impl Claims {
    /// All free.
    #[must_use]
    pub fn new() -> Self {
        Self {
            states: std::array::from_fn(|_| AtomicU32::new(FREE)),
            released: AtomicU32::new(0),
            claimants: AtomicU32::new(0),
            baton: AtomicU32::new(0),
            patience: Patience::new(),
        }
    }

    /// Threads that wait for one.
    pub fn claimants(&self) -> u32 {
        self.claimants.load(Relaxed)
    }

    /// A-stacks that are not free: calls in progress, and calls that were given up and are not answered yet.
    pub fn taken(&self, stacks: &[Stack; STACKS]) -> (usize, usize) {
        let count = |state: u32| self.states.iter().filter(|claim| claim.load(Relaxed) == state).count();
        let settled = self
            .states
            .iter()
            .zip(stacks)
            .filter(|(claim, stack)| claim.load(Relaxed) == ABANDONED && stack.is_settled());
        (count(BUSY), count(ABANDONED).saturating_sub(settled.count()))
    }

    /// An A-stack for one call, waiting while other threads of this process use them all. `check` asks for the server.
    #[inline]
    pub fn claim(
        &self,
        kernel: &dyn Kernel,
        stacks: &[Stack; STACKS],
        server: Life,
        deadline: Deadline,
        check: impl Fn() -> Result<()>,
    ) -> Result<usize> {
        match self.try_claim(stacks) {
            Some(stack) => Ok(stack),
            None => self.claim_slow(kernel, stacks, server, deadline, check),
        }
    }

    #[cold]
    fn claim_slow(
        &self,
        kernel: &dyn Kernel,
        stacks: &[Stack; STACKS],
        server: Life,
        deadline: Deadline,
        check: impl Fn() -> Result<()>,
    ) -> Result<usize> {
        let ready = || self.states.iter().any(|claim| claim.load(Relaxed) == FREE);
        let waiting = Waiting {
            sleepers: Some(self),
            deadline,
            patience: &self.patience,
            partner: 0,
            operation: Operation::Send,
        };
        self.claimants.fetch_add(1, Relaxed);
        let claimed = wait_until(kernel, waiting, ready, |watch, _| {
            // SYNC(client-1): pairs with `unclaim`.
            let before = self.released.fetch_add(0, AcqRel);
            if let Some(watch) = watch {
                self.watch(stacks, server, before, watch);
            }
            match self.try_claim(stacks) {
                Some(stack) => Ok(Some(stack)),
                None => check().map(|()| None),
            }
        });
        self.claimants.fetch_sub(1, Relaxed);
        claimed.map_err(|error| match error {
            Error::TimedOut(_) | Error::WouldBlock => Error::TimedOut(Phase::Send),
            other => other,
        })
    }

    fn watch<'a>(&'a self, stacks: &'a [Stack; STACKS], server: Life, released: u32, watch: &mut Watch<'a>) {
        watch.word(&self.released, released);
        watch.life(server);
        // A late answer to a call that was given up makes room, too.
        for (stack, claim) in stacks.iter().zip(&self.states) {
            if claim.load(Relaxed) == ABANDONED {
                watch.word(&stack.reply.word, stack.announce());
            }
        }
    }

    /// Somebody wants one who does not sleep here: from now on it is rung for.
    pub fn enter(&self) {
        self.claimants.fetch_add(1, Relaxed);
    }

    /// It wants none any more.
    pub fn leave(&self) {
        self.claimants.fetch_sub(1, Relaxed);
    }

    /// Announces one who wants one, before it looks.
    pub fn announce<'a>(&'a self, stacks: &'a [Stack; STACKS], server: Life, watch: &mut Watch<'a>) {
        // SYNC(client-1): pairs with `unclaim`.
        let released = self.released.fetch_add(0, AcqRel);
        self.watch(stacks, server, released, watch);
    }

    /// One is free, or could be used again: a peek.
    pub fn has_room(&self, stacks: &[Stack; STACKS]) -> bool {
        self.states.iter().zip(stacks).any(|(claim, stack)| match claim.load(Relaxed) {
            BUSY => false,
            ABANDONED => stack.is_settled(),
            _ => true,
        })
    }

    #[inline]
    fn try_claim(&self, stacks: &[Stack; STACKS]) -> Option<usize> {
        (0..STACKS).find(|stack| {
            let claim = &self.states[*stack];
            let free = match claim.load(Relaxed) {
                BUSY => false,
                ABANDONED => {
                    stacks[*stack].is_settled() && claim.compare_exchange(ABANDONED, FREE, Relaxed, Relaxed).is_ok()
                }
                _ => true,
            };
            free && claim.compare_exchange(FREE, BUSY, Acquire, Relaxed).is_ok()
        })
    }

    /// Ends a claim: the A-stack is [`FREE`] or [`ABANDONED`].
    #[inline]
    pub fn unclaim(&self, kernel: &dyn Kernel, stack: usize, state: u32) {
        self.states[stack].store(state, Release);
        // SYNC(client-1): pairs with `claim`, both on this word, so that one of the two sees the other.
        self.released.fetch_add(1, AcqRel);
        if self.claimants.load(Relaxed) > 0 {
            kernel.wake(&self.released, 1);
        }
    }
}

/// The threads that wait for an A-stack.
impl Sleepers for Claims {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        // SYNC(client-1): who is about to sleep finds the count changed.
        self.released.fetch_add(1, AcqRel);
        kernel.wake(&self.released, u32::MAX);
    }
}
