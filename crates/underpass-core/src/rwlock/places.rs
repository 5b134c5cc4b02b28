//! Where readers are: each thread in a place of its own, so that two of them write to no word that both use.
//!
//! The visible readers of BRAVO (Dice and Kogan, "BRAVO - Biased Locking for Reader-Writer Locks", 2019), in the lock
//! itself and with the thread's life in them: a reader's death is a place whose life has ended.
//!
//! Invariant: a place that is not 0 names a thread or a task that reads, or one that is about to find the gate closed;
//! nobody but that thread, whoever grants it reading, and after its end whoever has the lock, changes it.

use underpass_shm::layout::rwlock::{PLACES, PlaceWords};
use underpass_shm::place::PlacedSlice;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::Owner;
use crate::site::{Site, TOLD, Tenure};

/// Those that are for everybody.
const COMMON: usize = PLACES - 1;

/// The places of one lock; the last one is kept for who writes, and reads there once it is downgraded.
#[derive(Debug)]
pub struct Places(pub PlacedSlice<PlaceWords>);

/// Where one looks first: few that run at the same time look first at the same, and so do the tasks of a thread.
#[inline]
fn first(owner: Owner) -> usize {
    owner.thread.0.wrapping_add(owner.task) as usize % COMMON
}

impl Places {
    /// Takes a place for a reader; false if all are taken.
    #[inline]
    pub(super) fn claim(&self, owner: Owner) -> bool {
        let (first, word) = (first(owner), owner.word());
        for index in (first..COMMON).chain(0..first) {
            let place = &self.0[index];
            if place.reader.load(Relaxed) != 0 {
                continue;
            }
            // SYNC(rwlock-3): whoever sees this reader sees nothing of the one before.
            if TOLD {
                Tenure::begin(&place.tenure);
            }
            if place.reader.compare_exchange(0, word, AcqRel, Relaxed).is_ok() {
                place.depth.store(1, Relaxed);
                return true;
            }
        }
        false
    }

    /// There is a place for one more reader.
    pub(super) fn have_room(&self) -> bool {
        self.0[..COMMON].iter().any(|place| place.reader.load(Relaxed) == 0)
    }

    /// Takes the place that is kept for who writes.
    pub(super) fn claim_last(&self, writer: Owner) {
        if let Some(place) = self.0.last() {
            place.depth.store(1, Relaxed);
            if TOLD {
                Tenure::begin(&place.tenure);
            }
            // SYNC(rwlock-3)
            place.reader.store(writer.word(), Release);
        }
    }

    /// The place of a reader.
    #[inline]
    pub(super) fn of(&self, owner: Owner) -> Option<&PlaceWords> {
        let (first, word) = (first(owner), owner.word());
        (first..PLACES).chain(0..first).map(|index| &self.0[index]).find(|place| place.reader.load(Relaxed) == word)
    }

    /// The place of a reader, if it is where that one looks first.
    #[inline]
    pub(super) fn near(&self, owner: Owner) -> Option<&PlaceWords> {
        Some(&self.0[first(owner)]).filter(|place| place.reader.load(Relaxed) == owner.word())
    }

    /// Empties the place of a reader, if it has one.
    pub(super) fn empty(&self, owner: Owner) {
        if let Some(place) = self.of(owner) {
            // SYNC(rwlock-2): what it has read comes before what a writer does who finds the place empty.
            place.reader.store(0, Release);
        }
    }

    /// Empties the places of threads that have ended.
    pub(super) fn bury(&self, alive: impl Fn(Owner) -> bool) {
        for place in self.0.iter() {
            let reader = place.reader.load(Acquire);
            if reader != 0 && !alive(Owner::read(reader)) {
                let _ = place.reader.compare_exchange(reader, 0, AcqRel, Relaxed);
            }
        }
    }

    /// Who reads.
    pub fn readers(&self) -> impl Iterator<Item = Owner> + '_ {
        // SYNC(rwlock-2)
        self.0.iter().map(|place| Owner::read(place.reader.load(Acquire))).filter(|reader| *reader != Owner::NOBODY)
    }

    /// Who reads, and what is known of since when and where.
    pub fn tenures(&self) -> impl Iterator<Item = (Owner, Tenure)> + '_ {
        let told = |place: &PlaceWords| {
            // SYNC(rwlock-3)
            let word = place.reader.load(Acquire);
            let tenure = Tenure::of(&place.tenure);
            let reader = Owner::read(word);
            (reader != Owner::NOBODY && place.reader.load(Relaxed) == word).then_some((reader, tenure))
        };
        self.0.iter().filter_map(told)
    }

    /// One comes to wait for those who read. The lock is held, and the gate is closed: who reads by now came before `now`, and
    /// who comes from now on has its place emptied, or is let in under the lock.
    pub(super) fn found(&self, now: u64) {
        for place in self.0.iter().filter(|place| TOLD && place.reader.load(Relaxed) != 0) {
            Tenure::found(&place.tenure, now);
        }
    }

    /// A reader says where it came to read; where it reads again is not told.
    pub(super) fn note(&self, owner: Owner, site: &Site) {
        if let Some(place) = self.of(owner).filter(|place| place.depth.load(Relaxed) == 1) {
            site.write(&place.tenure);
        }
    }
}
