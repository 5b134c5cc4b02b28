//! Who is let in: clients that have connected introduce themselves, and the server decides about each.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use underpass_shm::layout::port::PortWords;
use underpass_shm::socket::{self, Credentials, Introduction, Met};
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{Acquire, Relaxed},
};

use super::badge::Badge;
use super::channel::Channel;
use crate::Result;

/// So many are met at one look; the others at the next.
const AT_ONCE: usize = 4096;
/// So many may have connected and say nothing.
const SILENT: usize = 64;

/// Somebody who has introduced himself.
#[derive(Debug)]
pub struct Newcomer {
    /// The memory that he shares, and who he is.
    pub channel: Channel,
    /// By which right he comes.
    pub badge: Badge,
}

/// A port's policy. Asked while no lock is held.
pub trait Admission: Send + Sync + std::fmt::Debug {
    /// Lets a client in. An error ends the `receive` under way, and lets nobody in.
    fn admits(&self, client: &Channel) -> Result<bool>;
}

/// The policy of a port without one: the same user, or root.
#[derive(Debug)]
pub struct SameUser;

impl Admission for SameUser {
    fn admits(&self, client: &Channel) -> Result<bool> {
        let Credentials { uid, .. } = client.peer;
        Ok(uid == underpass_shm::space::uid() || uid == 0)
    }
}

/// The port's door: its socket, and who stands there.
#[derive(Debug)]
pub struct Door {
    message_size: usize,
    waiting: Mutex<Waiting>,
    /// How many introductions have been looked at.
    introduced: AtomicU32,
}

#[derive(Debug, Default)]
struct Waiting {
    /// None: the port was closed.
    listener: Option<OwnedFd>,
    /// Connected, and not introduced yet.
    strangers: Vec<OwnedFd>,
    /// Introduced, and not decided about yet.
    newcomers: Vec<Newcomer>,
    /// Two descriptors for the day on which there are no others: one for a socket, one for the memory that comes with it.
    spare: Option<[OwnedFd; 2]>,
}

impl Door {
    /// At that socket.
    pub fn new(listener: OwnedFd, message_size: usize) -> Self {
        let waiting = Waiting { spare: socket::spare(&listener), listener: Some(listener), ..Waiting::default() };
        Self { message_size, waiting: Mutex::new(waiting), introduced: AtomicU32::new(0) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has introduced himself since the last look.
    #[inline]
    pub fn has_news(&self, words: &PortWords) -> bool {
        words.introductions.load(Acquire) != self.introduced.load(Relaxed)
    }

    /// Looks for newcomers, so that [`Self::next`] finds them.
    pub fn look(&self, words: &PortWords) {
        let introductions = words.introductions.load(Acquire);
        let mut waiting = self.waiting();
        let Waiting { listener, strangers, newcomers, spare } = &mut *waiting;
        let Some(listener) = listener else { return };
        let all = Cell::new(true);
        let mut hear = |stranger: OwnedFd| match socket::introduction(&stranger) {
            Introduction::Complete(memory, bytes, peer, foreign) => {
                let line = foreign.then(|| Arc::new(stranger));
                let channel = Channel::adopt(&memory, self.message_size, peer, line);
                newcomers.extend(channel.map(|channel| Newcomer { channel, badge: Badge::from_bytes(bytes) }));
                None
            }
            // He is about to speak, and raises the count after that.
            Introduction::Awaited => Some(stranger),
            Introduction::NoRoom => {
                all.set(false);
                Some(stranger)
            }
            Introduction::Void => None,
        };
        let mut still = Vec::new();
        for _ in 0..AT_ONCE {
            match socket::accept(&*listener) {
                Met::Socket(stranger) => still.extend(hear(stranger)),
                Met::Nobody => break,
                Met::Later if spare.take().is_some() => {}
                Met::Later => {
                    all.set(false);
                    break;
                }
            }
        }
        still.extend(strangers.drain(..).filter_map(&mut hear));
        if still.len() > SILENT {
            // Those of this user are about to speak; nobody else may keep descriptors by being silent.
            still.retain(|stranger| socket::peer(stranger).is_some_and(|peer| peer.uid == underpass_shm::space::uid()));
        }
        *strangers = still;
        if spare.is_none() {
            *spare = socket::spare(&*listener);
        }
        if all.get() {
            self.introduced.store(introductions, Relaxed);
        }
    }

    /// Somebody is there, whatever the count of introductions says. A system call.
    pub fn has_visitors(&self) -> bool {
        let waiting = self.waiting();
        waiting.listener.is_some() && socket::any_readable(waiting.listener.iter().chain(&waiting.strangers))
    }

    /// The next one to decide about.
    pub fn next(&self) -> Option<Newcomer> {
        self.waiting().newcomers.pop()
    }

    /// Nobody comes in any more.
    pub fn shut(&self) {
        *self.waiting() = Waiting::default();
    }

    /// There is more to decide about: whoever comes by looks again.
    pub fn insist(&self) {
        self.introduced.fetch_sub(1, Relaxed);
    }
}
