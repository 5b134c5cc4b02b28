//! Those who wait for a lock of readers and writers: who is next, and what the dead have left half done.
//!
//! Whoever lets somebody in writes its life where a holder's stands, and only then tells it: so it holds before it
//! runs, and nobody comes in between. All of this is done under the lock of the waiters.

use underpass_shm::layout::rwlock::{CLOSED, WRITER_DEAD};
use underpass_shm::life::{Life, Me};
use underpass_shm::sync::Ordering::{AcqRel, Relaxed, Release};

use super::{Prefer, RWLock};
use crate::kernel::{Kernel, Watch};
use crate::planted::{Fault, planted};
use crate::waiters::{Room, Wish};
use crate::{Error, Result};

/// In [`Wish::how`]; its value is the life of the thread.
pub const READ: u32 = 0;
pub const WRITE: u32 = 1;
pub const UPGRADE: u32 = 2;

/// What whoever comes is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It holds what it came for.
    In,
    /// A reader finds that a writer died and nobody has repaired what it left.
    Barred,
}

impl Way {
    pub fn word(self) -> u64 {
        if self == Self::In { 1 } else { 2 }
    }

    pub fn read(word: u64) -> Self {
        if word == 1 { Self::In } else { Self::Barred }
    }
}

fn life_of(wish: Wish) -> Life {
    Life(wish.value as u32)
}

impl RWLock {
    /// Whoever comes: is let in, barred, or has to wait. `ask`: whether those live who are in its way. The lock is held.
    pub(super) fn arrive(&self, kernel: &dyn Kernel, me: Me, how: u32, ask: bool) -> Result<Option<Way>> {
        self.close();
        // Those who wait do not watch this one.
        let _owed = (!self.waiters.is_empty()).then(|| self.waiters.owe(kernel));
        let mut way = self.admit(me, how);
        if way.is_none() && ask {
            self.mend(kernel);
            self.close();
            way = self.admit(me, how);
        }
        if way.is_none() {
            // It may have been in somebody's way for a moment: see `try_read`.
            self.serve(kernel);
            self.refuse_what_would_last_for_ever(kernel, me, how)?;
            return Ok(None);
        }
        if self.is_awaited() {
            self.waiters.call_one(kernel);
        } else {
            self.open();
        }
        Ok(way)
    }

    fn admit(&self, me: Me, how: u32) -> Option<Way> {
        let writer = self.writer();
        if writer.0 == WRITER_DEAD && how == READ {
            return Some(Way::Barred);
        }
        let free = writer == Life::NOBODY || writer.0 == WRITER_DEAD;
        (free && !self.is_behind(how) && self.give(me.thread, how)).then_some(Way::In)
    }

    /// Somebody waits who goes before one that comes now.
    fn is_behind(&self, how: u32) -> bool {
        self.waiters.waiting().any(|(_, wish)| match (self.prefer, how) {
            (_, UPGRADE) => false,
            (Prefer::Readers, READ) => wish.how == READ,
            (Prefer::Writers, WRITE) => wish.how != READ,
            _ => true,
        })
    }

    /// Who reads would wait for itself to write; two that upgrade, for each other.
    fn refuse_what_would_last_for_ever(&self, kernel: &dyn Kernel, me: Me, how: u32) -> Result<()> {
        if how == WRITE && self.places.of(me.thread).is_some() {
            return Err(Error::Misuse(
                "this thread reads and would wait for itself: upgrade() makes a writer of a reader".into(),
            ));
        }
        let first = self.waiters.first_of(|wish| wish.how == UPGRADE && how == UPGRADE);
        let Some(first) = first.map(|index| life_of(self.waiters.wish(index))).filter(|first| *first != me.thread)
        else {
            return Ok(());
        };
        Err(Error::Misuse(format!(
            "pid {} upgrades already and waits until this thread reads no more, so both would wait for ever: leave the \
             reading() block, and read anew what was read in it",
            kernel.pid(first)
        )))
    }

    /// Lets those in whose turn it is, and leaves the gate open if nobody waits any more. The lock is held.
    pub(super) fn serve(&self, kernel: &dyn Kernel) {
        self.hand_on(kernel);
        if !self.waiters.is_empty() {
            self.waiters.settle(kernel, self);
        }
    }

    pub(super) fn hand_on(&self, kernel: &dyn Kernel) {
        if !self.waiters.is_empty() {
            let mut owed = None;
            while let Some((index, wish, way)) = self.next() {
                owed.get_or_insert_with(|| self.waiters.begin(kernel));
                let life = life_of(wish);
                if way == Way::In && !self.give(life, wish.how) {
                    break;
                }
                if self.waiters.grant(index, way.word()) {
                    self.waiters.tell(kernel, index);
                } else {
                    self.undo(kernel, life, wish.how, way.word());
                }
            }
            if owed.is_some() && self.is_awaited() {
                self.words.since.store(kernel.now(), Relaxed);
                // The first of those who are left watches whoever left: it has to watch these.
                if !planted(Fault::UnwatchedReader) {
                    self.waiters.call_one(kernel);
                }
            }
        }
        if !self.is_awaited() {
            self.open();
        }
    }

    /// Who is next, if it may go in now, with its wish and what it is told.
    fn next(&self) -> Option<(usize, Wish, Way)> {
        let first = |how| self.waiters.first_of(|wish| wish.how == how);
        let writer = self.writer();
        let told = |index, way| (index, self.waiters.wish(index), way);
        if writer.0 == WRITER_DEAD
            && let Some(index) = first(READ)
        {
            return Some(told(index, Way::Barred));
        }
        if writer != Life::NOBODY && writer.0 != WRITER_DEAD {
            return None;
        }
        let index = match self.prefer {
            Prefer::Readers => first(READ).or_else(|| first(UPGRADE)).or_else(|| first(WRITE)),
            Prefer::Writers => first(UPGRADE).or_else(|| first(WRITE)).or_else(|| first(READ)),
            Prefer::Arrival => first(UPGRADE).or_else(|| self.waiters.first_of(|_| true)),
        }?;
        let next = told(index, Way::In);
        let ready = next.1.how == READ || self.is_alone(life_of(next.1), next.1.how);
        ready.then_some(next)
    }

    /// Nobody reads who keeps that thread from writing: who upgrades reads itself.
    pub(super) fn is_alone(&self, life: Life, how: u32) -> bool {
        self.places.readers().all(|reader| how == UPGRADE && reader == life)
    }

    /// Writes down that a thread holds it; false if it cannot. Nobody writes, and the gate is closed.
    fn give(&self, life: Life, how: u32) -> bool {
        if how == READ {
            return self.places.claim(life);
        }
        if !self.is_alone(life, how) {
            return false;
        }
        self.words.since.store(0, Relaxed);
        self.words.upgraded.store(u32::from(how == UPGRADE), Relaxed);
        self.words.gate.store(CLOSED | life.0, Release);
        true
    }

    /// Takes back what a thread was given that has not come for it.
    pub(super) fn undo(&self, kernel: &dyn Kernel, life: Life, how: u32, given: u64) {
        if Way::read(given) == Way::Barred {
            return;
        }
        if how == READ || !kernel.alive(life) {
            self.places.empty(life);
        }
        if how != READ && self.writer() == life {
            let left = if self.is_unrepaired() { WRITER_DEAD } else { 0 };
            self.words.gate.store(CLOSED | left, Release);
        }
    }

    /// Turns a writer that died into [`WRITER_DEAD`], so that it stays known when its place among the lives is used again.
    fn bury(&self, kernel: &dyn Kernel, dead: Life) {
        self.words.held.store(self.held(kernel).unwrap_or(0), Relaxed);
        self.words.died.store(u64::from(dead.0) << 32 | u64::from(kernel.pid(dead)), Relaxed);
        self.words.unrepaired.store(1, Relaxed);
        self.words.gate.store(CLOSED | WRITER_DEAD, Release);
    }

    /// When the first one came who waits for this writer.
    pub(super) fn note_the_time(&self, kernel: &dyn Kernel) {
        if self.words.since.load(Relaxed) == 0 {
            self.words.since.store(kernel.now(), Relaxed);
        }
    }

    fn is_awaited(&self) -> bool {
        self.waiters.waiting().next().is_some()
    }

    fn open(&self) {
        self.words.gate.fetch_and(!CLOSED, AcqRel);
    }
}

impl Room for RWLock {
    fn ready(&self, _wish: Wish) -> bool {
        false
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        // Whoever comes looks before it takes a slot, under the same lock.
        None
    }

    fn watch<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        let me = life_of(wish);
        let writer = Some(self.writer()).filter(|writer| writer.0 != WRITER_DEAD);
        let before = self.waiters.waiting().map(|(_, wish)| wish).filter(|other| other.how != READ).map(life_of);
        for life in writer.into_iter().chain(self.places.readers()).chain(before).filter(|life| *life != me) {
            watch.life(life);
        }
    }

    fn mend(&self, kernel: &dyn Kernel) {
        // Whoever was given something and not told has not come.
        for (_, wish) in self.waiters.waiting() {
            if wish.how == READ || self.writer() == life_of(wish) {
                self.undo(kernel, life_of(wish), wish.how, Way::In.word());
            }
        }
        self.waiters.reap(kernel, self);
        self.places.bury(|life| kernel.alive(life));
        let writer = self.writer();
        let nobody = writer == Life::NOBODY || writer.0 == WRITER_DEAD;
        if !nobody && !kernel.alive(writer) && self.waiters.unsettled().all(|wish| life_of(wish) != writer) {
            self.bury(kernel, writer);
        }
        self.serve(kernel);
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64) {
        let wish = self.waiters.wish(index);
        // Whoever looks for what was returned finds it no more.
        self.waiters.dismiss(index);
        self.undo(kernel, life_of(wish), wish.how, given);
        self.hand_on(kernel);
    }
}
