//! A bell that is heard at a descriptor: for who waits for descriptors as well, or has an event loop.
//!
//! Invariant: whoever rings a bell whose [`BellWords::socket`] is armed tells its owner, after that: another process by a
//! message, its own by the poller. What is told late, after the owner has looked, has it look in vain.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use std::sync::atomic::fence;

use crate::layout::bell::{ARMED, BellWords, RUNG, RUNG_HERE};
use crate::life::Life;
use crate::lives::socket_name;
use crate::poller::Poller;
use crate::space::Space;
use crate::{Error, Result, forks, knock};

/// Who rang a bell, and so where it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ringer {
    /// Its own process, at the poller.
    Here,
    /// Another, at the socket.
    Another,
}

/// A bell of this process's.
#[derive(Debug)]
pub struct Bell {
    space: Arc<Space>,
    number: usize,
    owner: Life,
    socket: OwnedFd,
    epoch: u32,
}

impl Bell {
    /// One of that space's; rings by this process are told to the poller instead of the socket.
    pub fn claim(space: &Arc<Space>, poller: &Arc<Poller>) -> Result<Self> {
        let (number, owner) = space.lives().claim_bell_with_socket()?;
        let name = socket_name(owner, number);
        let heard = space.directory().and_then(|directory| {
            let socket = knock::hearing(directory, &name, "a bell")?;
            space.share(&name)?;
            Ok(socket)
        });
        match heard {
            Ok(socket) => {
                let bell = Self { space: space.clone(), number, owner, socket, epoch: forks::epoch() };
                bell.tell(poller);
                bell.words()?.socket.store(ARMED, Release);
                // SYNC(bell-2): pairs with `announce_newcomer`.
                fence(SeqCst);
                Ok(bell)
            }
            Err(error) => {
                space.lives().free_bell(number, owner);
                Err(error)
            }
        }
    }

    /// Its space.
    #[must_use]
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// Which it is, of those of its space.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its words.
    pub fn words(&self) -> Result<&BellWords> {
        let lost = || Error::Corrupted { what: "a bell".into(), why: "its words are nobody's".into() };
        self.space.lives().bell(self.number).ok_or_else(lost)
    }

    /// Has a poller of this process's told of rings by this process, beside those that are.
    pub fn tell(&self, poller: &Arc<Poller>) {
        self.space.lives().hear_here(self.number, self.owner, poller);
    }

    /// By whom it was rung since it was armed, if that is known without a look at the socket.
    pub fn rung(&self) -> Result<Option<Ringer>> {
        Ok(match self.words()?.socket.load(Acquire) {
            RUNG => Some(Ringer::Another),
            RUNG_HERE => Some(Ringer::Here),
            _ => None,
        })
    }

    /// Forgets one message: what else was sent tells again.
    pub fn forget(&self) {
        knock::forget(&self.socket);
    }

    /// Has whoever rings from now on tell: before its owner looks what it was rung for.
    pub fn arm(&self) -> Result<()> {
        self.words()?.arm();
        Ok(())
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        // A forked child has the parent's descriptors, and not its bell.
        if self.epoch == forks::epoch() {
            let _ = self.space.unlink(&socket_name(self.owner, self.number));
            self.space.lives().free_bell(self.number, self.owner);
        }
    }
}
