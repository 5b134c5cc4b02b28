//! The descriptor of one object, for loops that are somebody else's: readable while the object may be ready.
//!
//! A bell, the ends of processes, and a reminder, behind one `epoll`. What they tell stays there until its owner looks: before each of
//! its operations, and so before the one that finds nothing to take.
//!
//! Invariant: who leaves a look without a reminder has emptied it, then armed the bell, then been announced at the object that
//! was not ready: what makes it ready from then on makes the descriptor readable.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use underpass_shm::forks;
use underpass_shm::layout::bell::WatchersWords;
use underpass_shm::place::Placed;
use underpass_shm::poller::Polled;
use underpass_shm::space::Space;

use crate::Result;
use crate::hearing::{Heard, Hearing, Verb};
use crate::kernel::{Kernel, Watch};
use crate::many::{Ready, announce, unwatch, watch};

/// The descriptor of an object, of the process that made it.
#[derive(Debug)]
pub struct Outlet {
    hearing: Hearing,
    watchers: Placed<WatchersWords>,
    bell: usize,
    /// It is readable by what its owner found.
    reminded: bool,
    epoch: u32,
}

impl Outlet {
    /// One that is told of an object of that space; its first look follows.
    pub fn new(space: &Arc<Space>, watchers: Placed<WatchersWords>) -> Result<Self> {
        let mut hearing = Hearing::new()?;
        let (_, bell) = hearing.place(space)?;
        watch(&watchers, bell);
        Ok(Self { hearing, watchers, bell, reminded: false, epoch: forks::epoch() })
    }

    /// Leaves it readable if the object is ready, and otherwise empty until it may be. What cannot be asked counts as ready:
    /// whoever takes it is told why not.
    pub fn look(&mut self, object: &dyn Ready, kernel: &dyn Kernel) -> Result<()> {
        let is_told = self.reminded || self.hearing.known()?.is_some();
        if is_told && object.is_ready(kernel, None).unwrap_or(true) {
            return Ok(());
        }
        let told = match self.hearing.poller(Verb::Wait, std::iter::empty())?.wait(0)? {
            Polled::Keys(keys) => keys,
            Polled::Interrupted => Vec::new(),
        };
        let mut heard = Heard::nothing();
        self.hearing.hear(Verb::Wait, &told, &mut heard)?;
        if heard.all {
            // Whoever rings for one that has died takes its bit back, and may die before it sees whose the bell is now.
            watch(&self.watchers, self.bell);
        }
        self.reminded = announce(object, kernel, &mut Watch::new()).unwrap_or(true);
        if self.reminded {
            self.hearing.remind(Verb::Wait);
        }
        Ok(())
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.hearing.as_fd()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // A forked child has the parent's descriptors, and not its bell.
        if self.epoch == forks::epoch() {
            unwatch(&self.watchers, self.bell);
        }
    }
}
