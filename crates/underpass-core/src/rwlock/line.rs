//! Those who wait for a lock of readers and writers: who is next, and what the dead have left half done.
//!
//! Whoever lets somebody in writes its life where a holder's stands, and only then tells it: so it holds before it
//! runs, and nobody comes in between. All of this is done under the lock of the waiters.

use std::cell::Cell;

use underpass_shm::layout::rwlock::{CLOSED, WRITER_DEAD};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Relaxed, Release};

use super::{Owner, Prefer, RWLock, THREAD};
use crate::kernel::{Kernel, Watch};
use crate::lock::BEHIND_ITS_TASKS;
use crate::planted::{Fault, planted};
use crate::stay::Slotted;
use crate::waiters::{AWAITS, Before, Room, UNRANKED, Waiters, Wish};
use crate::{Error, Result};

/// In [`Wish::how`]; its value is who comes.
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

pub(super) fn owner_of(wish: Wish) -> Owner {
    Owner::read(wish.value)
}

impl RWLock {
    /// Whoever comes: is let in, barred, or has to wait. `ask`: whether those live who are in its way. The lock is held.
    pub(super) fn arrive(&self, kernel: &dyn Kernel, me: Owner, how: u32, ask: bool) -> Result<Option<Way>> {
        self.close();
        // Those who wait do not watch this one.
        let _owed = (!self.waiters.is_empty() || self.waiters.are_looked_on()).then(|| self.waiters.owe(kernel));
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
        self.waiters.tell_onlookers(kernel);
        if self.is_awaited() {
            self.waiters.call_one(kernel);
        } else {
            self.open();
        }
        Ok(way)
    }

    fn admit(&self, me: Owner, how: u32) -> Option<Way> {
        if self.is_left_by_the_dead() && how == READ {
            return Some(Way::Barred);
        }
        (!self.is_written() && !self.is_behind(how) && self.give(me, how)).then_some(Way::In)
    }

    /// One that came now would be let in, barred, or refused: it need not wait. The lock is held.
    pub(super) fn would_answer(&self, me: Owner, how: u32) -> bool {
        let is_inside = self.places.of(me).is_some();
        if self.writer() == me || is_inside != (how == UPGRADE) || (how == READ && self.is_left_by_the_dead()) {
            return true;
        }
        let is_second = how == UPGRADE && self.waiters.first_of(|wish| wish.how == UPGRADE).is_some();
        let has_room = || if how == READ { self.places.have_room() } else { self.is_alone(me, how) };
        is_second || (!self.is_written() && !self.is_behind(how) && has_room())
    }

    /// Somebody waits who goes before one that comes now.
    fn is_behind(&self, how: u32) -> bool {
        self.waiters.waiting().any(|(_, wish)| self.comes_before(wish, how))
    }

    fn comes_before(&self, waiting: Wish, how: u32) -> bool {
        match (self.prefer, how) {
            (_, UPGRADE) => false,
            (Prefer::Readers, READ) => waiting.how == READ,
            (Prefer::Writers, WRITE) => waiting.how != READ,
            _ => true,
        }
    }

    /// Who reads would wait for itself to write; two that upgrade, for each other.
    fn refuse_what_would_last_for_ever(&self, kernel: &dyn Kernel, me: Owner, how: u32) -> Result<()> {
        if how == WRITE && self.places.of(me).is_some() {
            return Err(Error::Misuse(format!(
                "this {} reads and would wait for itself: upgrade() makes a writer of a reader",
                me.noun()
            )));
        }
        let first = self.waiters.first_of(|wish| wish.how == UPGRADE && how == UPGRADE);
        let Some(first) = first.map(|index| owner_of(self.waiters.wish(index))).filter(|first| *first != me) else {
            return Ok(());
        };
        Err(Error::Misuse(format!(
            "pid {} upgrades already and waits until this {} reads no more, so both would wait for ever: leave the \
             reading() block, and read anew what was read in it",
            kernel.pid(first.thread),
            me.noun()
        )))
    }

    /// Lets those in whose turn it is, and leaves the gate open if nobody waits any more. The lock is held.
    pub(super) fn serve(&self, kernel: &dyn Kernel) {
        self.hand_on(kernel);
        if !self.waiters.is_empty() {
            self.waiters.settle(kernel, self);
        }
    }

    /// A thread would wait for a task that it keeps from running: one that is inside, or goes before it. The lock is held.
    pub(super) fn refuse_to_wait_for_its_own_tasks(&self, kernel: &dyn Kernel, me: Owner, how: u32) -> Result<()> {
        let is_mine = |owner: Owner| owner.thread == me.thread && owner.task != THREAD;
        if me.task != THREAD {
            return Ok(());
        }
        if self.places.readers().chain([self.writer()]).any(is_mine) {
            return Err(Error::Misuse(BEHIND_ITS_TASKS.into()));
        }
        self.waiters.refuse_behind_its_tasks(kernel, self, Wish { value: me.word(), how }, UNRANKED)
    }

    pub(super) fn hand_on(&self, kernel: &dyn Kernel) {
        if !self.waiters.is_empty() {
            let mut owed = None;
            while let Some((index, wish, way)) = self.next() {
                owed.get_or_insert_with(|| self.waiters.begin(kernel));
                let owner = owner_of(wish);
                if way == Way::In && !self.give(owner, wish.how) {
                    break;
                }
                if self.waiters.grant(index, way.word()) {
                    self.waiters.tell(kernel, index);
                } else {
                    self.undo(kernel, owner, wish.how, way.word());
                }
            }
            if owed.is_some() && self.is_awaited() {
                let now = kernel.now();
                self.words.since.store(now, Relaxed);
                self.places.found(now);
                // The first of those who are left watches whoever left: it has to watch these.
                if !planted(Fault::UnwatchedReader) {
                    self.waiters.call_one(kernel);
                }
            }
        }
        // The gate opens: who looks on closes it again.
        self.waiters.tell_onlookers(kernel);
        if !self.is_awaited() {
            self.open();
        }
    }

    /// Who is next, if it may go in now, with its wish and what it is told.
    pub(super) fn next(&self) -> Option<(usize, Wish, Way)> {
        let first = |how| self.waiters.first_of(|wish| wish.how == how);
        let told = |index, way| (index, self.waiters.wish(index), way);
        if self.is_left_by_the_dead()
            && let Some(index) = first(READ)
        {
            return Some(told(index, Way::Barred));
        }
        if self.is_written() {
            return None;
        }
        let index = match self.prefer {
            Prefer::Readers => first(READ).or_else(|| first(UPGRADE)).or_else(|| first(WRITE)),
            Prefer::Writers => first(UPGRADE).or_else(|| first(WRITE)).or_else(|| first(READ)),
            Prefer::Arrival => first(UPGRADE).or_else(|| self.waiters.first_of(|_| true)),
        }?;
        let next = told(index, Way::In);
        let ready = match next.1.how {
            READ => self.places.have_room(),
            how => self.is_alone(owner_of(next.1), how),
        };
        ready.then_some(next)
    }

    /// Nobody reads who keeps that thread from writing: who upgrades reads itself.
    pub(super) fn is_alone(&self, owner: Owner, how: u32) -> bool {
        self.places.readers().all(|reader| how == UPGRADE && reader == owner)
    }

    /// Writes down who holds it; false if it cannot. Nobody writes, and the gate is closed.
    fn give(&self, owner: Owner, how: u32) -> bool {
        if how == READ {
            return self.places.claim(owner);
        }
        if !self.is_alone(owner, how) {
            return false;
        }
        self.words.since.store(0, Relaxed);
        self.words.upgraded.store(u32::from(how == UPGRADE), Relaxed);
        self.words.gate.store(CLOSED | owner.word(), Release);
        true
    }

    /// Takes back what one was given who has not come for it.
    pub(super) fn undo(&self, kernel: &dyn Kernel, owner: Owner, how: u32, given: u64) {
        if Way::read(given) == Way::Barred {
            return;
        }
        if how == READ || !kernel.alive(owner.thread) {
            self.places.empty(owner);
        }
        if how != READ && self.writer() == owner {
            let left = if self.is_unrepaired() { WRITER_DEAD } else { 0 };
            self.words.gate.store(CLOSED | u64::from(left), Release);
        }
    }

    /// Turns a writer that died into [`WRITER_DEAD`], so that it stays known when its place among the lives is used again.
    fn bury(&self, kernel: &dyn Kernel, dead: Life) {
        self.words.held.store(self.held(kernel).unwrap_or(0), Relaxed);
        self.words.died.store(u64::from(dead.0) << 32 | u64::from(kernel.pid(dead)), Relaxed);
        self.words.unrepaired.store(1, Relaxed);
        self.words.gate.store(CLOSED | u64::from(WRITER_DEAD), Release);
    }

    /// When the first one came who waits for this writer, or for these readers. The lock is held, and the gate is closed.
    pub(super) fn note_the_time(&self, kernel: &dyn Kernel) {
        let now = kernel.now();
        if self.words.since.load(Relaxed) == 0 {
            self.words.since.store(now, Relaxed);
        }
        self.places.found(now);
    }

    fn is_awaited(&self) -> bool {
        self.waiters.waiting().next().is_some()
    }

    fn open(&self) {
        self.words.gate.fetch_and(!CLOSED, AcqRel);
    }
}

impl Room for RWLock {
    fn goes_before(&self, before: Before, comes: Wish) -> bool {
        let waiting = self.waiters.wish(before.index);
        let is_told = before.given.is_some_and(|given| Way::read(given) == Way::Barred);
        !is_told && self.is_task(waiting) && self.comes_before(waiting, comes.how)
    }

    fn ready(&self, _wish: Wish) -> bool {
        false
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        // Whoever comes looks before it takes a slot, under the same lock.
        None
    }

    fn watch<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        let me = owner_of(wish).thread;
        let writer = Some(self.writer()).filter(|_| self.is_written());
        let before = self.waiters.waiting().map(|(_, wish)| wish).filter(|other| other.how != READ).map(owner_of);
        let all = writer.into_iter().chain(self.places.readers()).chain(before);
        for life in all.map(|owner| owner.thread).filter(|life| *life != me) {
            watch.life(life);
        }
    }

    fn mend(&self, kernel: &dyn Kernel) {
        // Whoever was given something and not told has not come.
        for (_, wish) in self.waiters.waiting() {
            if wish.how == READ || self.writer() == owner_of(wish) {
                self.undo(kernel, owner_of(wish), wish.how, Way::In.word());
            }
        }
        self.waiters.reap(kernel, self);
        self.places.bury(|reader| kernel.alive(reader.thread));
        let writer = self.writer();
        let is_dead = self.is_written() && !kernel.alive(writer.thread);
        if is_dead && self.waiters.unsettled().all(|wish| owner_of(wish) != writer) {
            self.bury(kernel, writer.thread);
        }
        self.serve(kernel);
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64) {
        let wish = self.waiters.wish(index);
        // Whoever looks for what was returned finds it no more.
        self.waiters.dismiss(index);
        self.undo(kernel, owner_of(wish), wish.how, given);
        self.hand_on(kernel);
    }
}

/// For tasks: see [`crate::stay`].
impl Slotted for RWLock {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn is_task(&self, wish: Wish) -> bool {
        owner_of(wish).task != THREAD
    }

    fn is_torn(&self, kernel: &dyn Kernel) -> bool {
        let writer = Some(self.writer()).filter(|_| self.is_written());
        let waiting = self.waiters.waiting().map(|(_, wish)| owner_of(wish));
        let mut all = writer.into_iter().chain(self.places.readers()).chain(waiting);
        // Who is next and could go in was left there by one who died before it had let it in.
        all.any(|owner| !kernel.alive(owner.thread)) || self.next().is_some()
    }

    fn step(&self, kernel: &dyn Kernel, wish: Wish, seat: &Cell<Option<usize>>) -> Result<Option<u64>> {
        // Who is let in stands where a holder stands, and whoever waits watches those.
        let (me, how) = (owner_of(wish), wish.how & !AWAITS);
        if seat.get().is_none() && self.greet(me, how)? {
            return Ok(Some(Way::In.word()));
        }
        self.attempt(kernel, me, how, seat, Some(&mut Watch::new()), true)
    }

    fn give_up(&self, kernel: &dyn Kernel, index: usize) -> Result<()> {
        // What a signal's handler raises meanwhile is another error.
        match self.go(kernel, index, Error::WouldBlock) {
            Err(Error::WouldBlock) => Ok(()),
            gone => gone.map(drop),
        }
    }
}
