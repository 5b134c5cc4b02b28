//! Bells of a space: which thread has which, or which process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;
use std::sync::{Arc, PoisonError};

use super::claim::pid_namespace;
use super::{BELL_TABLE, Lives};
use crate::layout::bell::{BELLS, BellWords, RUNG, RUNG_HERE};
use crate::life::Life;
use crate::poller::Poller;
use crate::space::SOCKET;
use crate::{Error, Result, forks, futex, knock, room};

/// Bells that the table grows by.
const CHUNK: usize = 64;

/// The file name of a bell's socket.
#[must_use]
pub fn socket_name(owner: Life, number: usize) -> String {
    format!("{SOCKET}{:08x}-bell{number}", owner.0)
}

impl Lives {
    /// The number of the calling thread's bell, which it keeps until it ends.
    pub fn my_bell(&self) -> Result<usize> {
        let me = self.me()?.thread;
        self.bell_of(me).map_or_else(|| self.claim_bell(me), Ok)
    }

    /// The number of a thread's bell, if it has one.
    #[must_use]
    pub fn bell_of(&self, thread: Life) -> Option<usize> {
        self.known_bells().iter().position(|bell| bell.owner.load(Relaxed) == thread.0)
    }

    fn known_bells(&self) -> &[BellWords] {
        &self.bells[..(self.words.bells.load(Acquire) as usize).min(BELLS)]
    }

    /// Makes a bell the caller's that is nobody's, or whose owner is dead.
    fn claim_bell(&self, me: Life) -> Result<usize> {
        loop {
            let bells = self.known_bells();
            let known = bells.len();
            let claimed = bells.iter().position(|bell| {
                let owner = bell.owner.load(Acquire);
                (owner == 0 || !self.alive(Life(owner)))
                    && bell.owner.compare_exchange(owner, me.0, AcqRel, Relaxed).is_ok()
            });
            if let Some(index) = claimed {
                // SYNC(bell-1): what was left for the dead, and told to nobody, is seen by the new owner.
                bells[index].socket.swap(0, AcqRel);
                return Ok(index);
            }
            if known == BELLS {
                return Err(Error::too_many_lives(&self.what, "bell", BELLS as u32));
            }
            self.add_bells(known)?;
        }
    }

    /// The words of a bell that somebody owns, or owned until its end.
    #[must_use]
    pub fn bell(&self, number: usize) -> Option<&BellWords> {
        self.known_bells().get(number).filter(|bell| bell.owner.load(Relaxed) != 0)
    }

    /// Makes a bell of this process's, heard at a socket of the space's directory, where [`socket_name`] says.
    pub(crate) fn claim_bell_with_socket(&self) -> Result<(usize, Life)> {
        let me = self.me()?.process;
        Ok((self.claim_bell(me)?, me))
    }

    /// Gives a bell back.
    pub(crate) fn free_bell(&self, number: usize, owner: Life) {
        if let Some(bell) = self.bell(number).filter(|bell| bell.owner.load(Relaxed) == owner.0) {
            bell.socket.store(0, Release);
            bell.owner.store(0, Release);
        }
    }

    /// Tells the owner of a bell with a socket that it was rung, unless somebody has since it looked; false if it is dead.
    #[cold]
    pub fn knock(&self, number: usize, bell: &BellWords) -> bool {
        let known = Life(bell.owner.load(Relaxed));
        // Not by `me()`: a newcomer knocks while it claims its own life, and would claim a second one.
        let pollers = if self.claimed() == Some(known) { self.heard_here(number, known) } else { Vec::new() };
        let Some(owner) = bell.strike(if pollers.is_empty() { RUNG } else { RUNG_HERE }) else {
            if bell.socket.load(Acquire) == 0 {
                // A thread's by now, which sleeps on the word.
                futex::wake(&bell.rings, 1);
            }
            return self.alive(known);
        };
        if owner == known && !pollers.is_empty() {
            for poller in &pollers {
                poller.remind();
            }
            return true;
        }
        let directory = Path::new(&self.what).parent().unwrap_or(Path::new("/"));
        knock::knock(directory, &socket_name(owner, number)) || self.alive(owner)
    }

    /// Makes a poller of this process's one that is told of a bell's rings by this process.
    pub(crate) fn hear_here(&self, number: usize, owner: Life, poller: &Arc<Poller>) {
        let _unforked = forks::unforked();
        let mut heard = self.heard_here.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|(other, life, poller)| (*other != number || *life == owner) && poller.strong_count() > 0);
        heard.push((number, owner, Arc::downgrade(poller)));
    }

    /// The pollers of a bell that this process hears itself. A fork's copy is not the owner's.
    fn heard_here(&self, number: usize, owner: Life) -> Vec<Arc<Poller>> {
        let _unforked = forks::unforked();
        let heard = self.heard_here.lock().unwrap_or_else(PoisonError::into_inner);
        let those = heard.iter().filter(|(other, life, _)| (*other, *life) == (number, owner));
        those.filter_map(|(_, _, poller)| poller.upgrade()).collect()
    }

    /// Tells all who hear their bells at sockets that a process is new here: they watch the ends of all. The bells of the dead
    /// are nobody's from here on.
    pub(super) fn announce_newcomer(&self) {
        // SYNC(bell-2): pairs with `Bell::claim`: its owner is told, or finds the newcomer among those who live.
        fence(SeqCst);
        for (number, bell) in self.known_bells().iter().enumerate() {
            let owner = bell.owner.load(Relaxed);
            if owner != 0 && bell.socket.load(Acquire) != 0 {
                bell.calls.fetch_add(1, AcqRel);
                if !self.knock(number, bell) {
                    let _ = bell.owner.compare_exchange(owner, 0, AcqRel, Relaxed);
                }
            }
        }
    }

    /// The other processes that live here, and their pids, as far as this one's pid namespace shows them. What it takes grows
    /// with those that live, and not with the places.
    pub fn others(&self) -> Vec<(Life, u32)> {
        let (namespace, me) = (pid_namespace(), self.claimed());
        // A process that has lost its lock has its threads' tokens; one whose threads have all ended has its lock.
        let by_token = self.entries().map(|(_, thread)| Life(thread.process.load(Acquire)).slot());
        let slots: BTreeSet<u32> = self.locked().into_iter().chain(by_token).collect();
        let others = slots.into_iter().filter_map(|slot| {
            let entry = self.processes.get(slot as usize)?;
            let generation = entry.generation.load(Acquire);
            let life = Life::process(slot, generation);
            let is_seen = generation != 0 && entry.namespace.load(Relaxed) == namespace && me != Some(life);
            is_seen.then(|| (life, entry.pid.load(Relaxed)))
        });
        others.filter(|(life, _)| self.alive(*life)).collect()
    }

    /// Reserves more bells, if nobody else has. Zeroed bytes are bells of nobody's.
    fn add_bells(&self, known: usize) -> Result<()> {
        self.grow(|file| {
            if self.words.bells.load(Acquire) as usize == known {
                let (first, bytes) = (BELL_TABLE + known * size_of::<BellWords>(), CHUNK * size_of::<BellWords>());
                room::reserve(file, first as u64..(first + bytes) as u64, &self.what, &room::alone)?;
                self.words.bells.store((known + CHUNK) as u32, Release);
            }
            Ok(())
        })
    }
}
