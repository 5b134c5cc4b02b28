//! Annexes: the port's words once more, for the processes of one other user, who cannot write the port's file.
//!
//! What they ring, and the bits that they set, are in memory which the server made and hands to them when it lets them
//! in; so a user who scribbles there disturbs the processes of that user alone. A receiver sleeps on the bells of all.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use underpass_shm::layout::port::{PORT_CLOSED, PortWords};
use underpass_shm::place::Placed;
use underpass_shm::region::Region;
use underpass_shm::socket;
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};

use super::doorbell;
use crate::kernel::{WORDS, Watch};
use crate::{Error, Result};

/// Other users that one port lets in. A receiver watches two words for each of them.
pub const USERS: usize = (WORDS - 2) / 2;

/// What the processes of one other user write instead of the port's words.
#[derive(Debug)]
pub struct Annex {
    uid: u32,
    words: Placed<PortWords>,
    /// For them to map.
    pub memory: OwnedFd,
}

/// All of a port, each for as long as the port.
#[derive(Debug, Default)]
pub struct Annexes {
    built: [OnceLock<Annex>; USERS],
    count: AtomicU32,
    building: Mutex<()>,
}

impl Annexes {
    /// That user's, built when it is first asked for; none if others have them all.
    pub fn of(&self, uid: u32) -> Result<Option<&Annex>> {
        let _turn = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(annex) = self.all().find(|annex| annex.uid == uid) {
            return Ok(Some(annex));
        }
        let count = self.count.load(Relaxed);
        let Some(room) = self.built.get(count as usize) else { return Ok(None) };
        let memory = socket::sealed_memory(size_of::<PortWords>(), "an annex")?;
        let words = view(&memory)?;
        let annex = room.get_or_init(|| Annex { uid, words, memory });
        self.count.store(count + 1, Release);
        Ok(Some(annex))
    }

    fn all(&self) -> impl Iterator<Item = &Annex> {
        self.built[..self.count.load(Acquire) as usize].iter().filter_map(OnceLock::get)
    }

    /// Says that a receiver is about to sleep, and what must not change while it does.
    pub fn announce<'a>(&'a self, watch: &mut Watch<'a>) {
        for Annex { words, .. } in self.all() {
            watch.word(&words.doorbell, doorbell::announce(words));
            // Whoever wrote here wants that nobody sleeps: he goes without the wake of those who die in the act.
            if words.baton.load(Relaxed) == 0 {
                watch.word(&words.baton, 0);
            }
        }
    }

    /// Says where the server may run.
    pub fn run_on(&self, cpus: u64) {
        self.all().for_each(|annex| annex.words.cpus.store(cpus, Relaxed));
    }

    /// Brings the bits that were notified to the port's own words.
    pub fn gather(&self, port: &PortWords) {
        for Annex { words, .. } in self.all() {
            if words.notified.load(Relaxed) != 0 {
                port.notified.fetch_or(words.notified.swap(0, AcqRel), AcqRel);
            }
        }
    }

    /// Nobody receives any more.
    pub fn shut(&self) {
        self.all().for_each(|annex| annex.words.state.store(PORT_CLOSED, SeqCst));
    }
}

/// The words of an annex. Who was handed them makes sure that they cannot vanish.
pub fn view(memory: &OwnedFd) -> Result<Placed<PortWords>> {
    let size = size_of::<PortWords>();
    let wrong = || Error::Corrupted("the annex that its server has handed over is none".into());
    if socket::sealed_size(memory) != Some(size) {
        return Err(wrong());
    }
    let region = Region::map(memory, size, "an annex")?;
    Placed::at(&region, 0).ok_or_else(wrong)
}
