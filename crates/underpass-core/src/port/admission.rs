//! Who is let in: clients that have connected introduce themselves, and the server decides about each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use underpass_shm::layout::port::PortWords;
use underpass_shm::socket::Credentials;
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{Acquire, Relaxed},
};

use super::badge::Badge;
use super::channel::{Channel, channel_size};
use super::rendezvous::{Arrival, Reception};
use crate::Result;

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

/// The port's door, and who stands there.
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
    reception: Option<Box<dyn Reception>>,
    /// Introduced, and not decided about yet.
    newcomers: Vec<Newcomer>,
}

impl Door {
    /// Where those come who are met there.
    pub fn new(reception: Box<dyn Reception>, message_size: usize) -> Self {
        let waiting = Waiting { reception: Some(reception), newcomers: Vec::new() };
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
        let Waiting { reception, newcomers } = &mut *waiting;
        let Some(reception) = reception else { return };
        let all = reception.meet_all(channel_size(self.message_size), &mut |arrival| {
            let Arrival { memory, badge, peer, line } = arrival;
            let channel = Channel::adopt(&memory, self.message_size, peer, line);
            newcomers.extend(channel.map(|channel| Newcomer { channel, badge }));
        });
        if all {
            self.introduced.store(introductions, Relaxed);
        }
    }

    /// Somebody is there, whatever the count of introductions says. A system call.
    pub fn has_visitors(&self) -> bool {
        self.waiting().reception.as_ref().is_some_and(|reception| reception.has_visitors())
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
