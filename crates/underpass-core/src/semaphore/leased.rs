//! A semaphore that knows who holds its units, and takes them back from processes that died.
//!
//! Follows Gray and Cheriton's leases ("Leases: an efficient fault-tolerant mechanism", 1989) with the kernel's word about
//! a death in place of a term that ends.
//!
//! Invariant: what is free is what there is less what the roster counts, and nothing else is stored. So a unit is
//! taken, given back, and taken from the dead by one store each, under the lock of the waiters. When nobody holds that,
//! no unit is free that somebody in a slot waits for, unless one of those that wait was called to come for it.

mod roster;
mod turn;

#[cfg(not(loom))]
use std::sync::Arc;

#[cfg(not(loom))]
use underpass_shm::header::{Header, WORDS};
use underpass_shm::layout::semaphore::{HOLDERS, HolderTenureWords, HolderWords, LeasedWords};
use underpass_shm::life::{Life, Me};
use underpass_shm::place::{Placed, PlacedSlice};
#[cfg(not(loom))]
use underpass_shm::region::{Extent, Region};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use self::roster::Roster;
use self::turn::Turn;
use super::{RESET, UNIT};
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::planted::{Fault, planted};
use crate::since::Resets;
use crate::site::{Site, Tenure};
use crate::stay::{AsRoom, Slotted};
use crate::wait::Sleepers;
use crate::waiters::{self, Order, Room, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// How long an object is whose words start at `offset`.
#[cfg(not(loom))]
#[must_use]
pub const fn extent(offset: usize) -> Extent {
    waiters::extent(offset + BEFORE_WAITERS)
}

/// Bytes of its words in front of those of its waiters.
#[cfg(not(loom))]
const BEFORE_WAITERS: usize = BEFORE_TENURES + HOLDERS * size_of::<HolderTenureWords>();

/// Bytes of its words in front of what is told of its holders.
#[cfg(not(loom))]
const BEFORE_TENURES: usize = size_of::<LeasedWords>() + HOLDERS * size_of::<HolderWords>();

/// Which of an object's parameters says that it is leased.
pub const PARAMETER: usize = 3;

/// Given to a waiter: the news that a unit is free, for whoever comes first.
const CALL: u64 = 3;

/// A handle of a semaphore that knows its holders.
#[derive(Debug, Clone)]
pub struct Leased {
    words: Placed<LeasedWords>,
    entries: PlacedSlice<HolderWords>,
    tenures: PlacedSlice<HolderTenureWords>,
    waiters: Waiters,
    /// None: whoever comes first gets a unit.
    order: Option<Order>,
}

/// A waiter's slot and its process's count, which change together: the word `step`.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// The slot is given a unit; or else its unit is taken back.
    gives: bool,
    slot: usize,
    entry: usize,
    /// What was counted before.
    before: u32,
}

/// The number of a slot.
const SLOT: u64 = (1 << 14) - 1;
const GIVES: u64 = 1 << 62;
const TAKES: u64 = 2 << 62;

impl Step {
    fn word(self) -> u64 {
        let how = if self.gives { GIVES } else { TAKES };
        how | (self.slot as u64 & SLOT) << 48 | (self.entry as u64 & 0xffff) << 32 | u64::from(self.before)
    }

    fn read(word: u64) -> Option<Self> {
        let (slot, entry) = ((word >> 48 & SLOT) as usize, (word >> 32) as usize & 0xffff);
        (word != 0).then_some(Self { gives: word & TAKES == 0, slot, entry, before: word as u32 })
    }

    fn after(self) -> u32 {
        if self.gives { self.before.saturating_add(1) } else { self.before.saturating_sub(1) }
    }
}

/// Whose wish it is: what its slot is given counts for this process.
fn process_of(wish: Wish) -> Life {
    Life((wish.value >> 32) as u32)
}

impl Leased {
    /// A handle over words that [`Self::format`] has set up. Without an order, whoever comes first gets a unit.
    #[must_use]
    pub fn new(
        words: Placed<LeasedWords>,
        entries: PlacedSlice<HolderWords>,
        tenures: PlacedSlice<HolderTenureWords>,
        waiters: Waiters,
        order: Option<Order>,
    ) -> Self {
        Self { words, entries, tenures, waiters, order }
    }

    /// The semaphore whose words start at `offset` of an object; none if they do not lie inside it.
    #[cfg(not(loom))]
    #[must_use]
    pub fn at(region: &Arc<Region>, offset: usize, order: Option<Order>) -> Option<Self> {
        let roster = offset + size_of::<LeasedWords>();
        let waiters = Waiters::at(region, offset + BEFORE_WAITERS)?;
        let roster = PlacedSlice::at(region, roster, HOLDERS)?;
        let tenures = PlacedSlice::at(region, offset + BEFORE_TENURES, HOLDERS)?;
        Some(Self::new(Placed::at(region, offset)?, roster, tenures, waiters, order))
    }

    /// The semaphore of an object, to look at; none if it is not leased.
    #[cfg(not(loom))]
    #[must_use]
    pub fn look_at(header: &Header, region: &Arc<Region>) -> Option<Self> {
        if header.parameters[PARAMETER] == 0 { None } else { Self::at(region, WORDS, None) }
    }

    /// Sets up zeroed words: before anybody else sees them.
    pub fn format(words: &LeasedWords, value: u32) {
        words.total.store(value, Relaxed);
    }

    /// Takes a unit for this process, waiting for it.
    #[inline]
    pub fn acquire(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let me = kernel.me()?;
        let turn = Turn::new(self, kernel, me);
        {
            let _held = self.waiters.enter(kernel, &turn)?;
            let entry = self.list(kernel, me.process)?;
            if self.free() == 0 && deadline == Deadline::NoWait {
                turn.mend(kernel);
                self.waiters.settle(kernel, &turn);
            }
            if self.free() > 0 {
                self.count_one(entry);
                return Ok(());
            }
        }
        if deadline == Deadline::NoWait { Err(Error::WouldBlock) } else { self.acquire_slow(kernel, &turn, deadline) }
    }

    #[cold]
    fn acquire_slow(&self, kernel: &dyn Kernel, turn: &Turn<'_>, deadline: Deadline) -> Result<()> {
        let wish = self.wish(turn.me);
        // Whoever is called and dies before it came has others look.
        let _owed = self.order.is_none().then(|| self.waiters.owe(kernel));
        let mut called = false;
        loop {
            match self.waiters.wait(kernel, turn, wish, deadline) {
                Ok(CALL) => called = true,
                Ok(RESET) => return Err(Error::Reset),
                Ok(_) => return Ok(()),
                Err(error) => {
                    if called {
                        // A signal took it away: another can come for what this one was called for.
                        self.waiters.call_one(kernel);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// That of one who comes now.
    #[must_use]
    pub fn wish(&self, me: Me) -> Wish {
        Wish { value: u64::from(me.process.0) << 32 | u64::from(self.resets()), how: 0 }
    }

    /// Its units are handed over: one who waits for one is served in its turn.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        self.order.is_some()
    }

    /// Gives `count` of this process's units back, never waiting for a waiter.
    #[inline]
    pub fn release(&self, kernel: &dyn Kernel, count: u32) -> Result<()> {
        let me = kernel.me()?;
        let turn = Turn::new(self, kernel, me);
        let _held = self.waiters.enter(kernel, &turn)?;
        let entry = self.roster().find(me.process);
        let before = entry.map_or(0, |entry| self.roster().count(entry));
        let Some(entry) = entry.filter(|_| before >= count) else {
            return Err(Error::Misuse(format!(
                "this process holds {before}, and more were to be given back: leased units are given back by the process that has \
                 acquired them; for units that anybody gives, make it without leased=True"
            )));
        };
        if self.waiters.is_quiet() {
            self.roster().set(entry, before - count);
            return Ok(());
        }
        let _owed = self.waiters.begin(kernel);
        self.roster().set(entry, before - count);
        self.serve(kernel);
        self.waiters.settle(kernel, &turn);
        Ok(())
    }

    /// Takes the free units away; whoever waits leaves with `Reset`. What is held stays so, and comes back.
    pub fn reset(&self, kernel: &dyn Kernel) -> Result<()> {
        let turn = Turn::new(self, kernel, kernel.me()?);
        let _held = self.waiters.enter(kernel, &turn)?;
        let _owed = self.waiters.begin(kernel);
        // The waiters' sign goes first: they leave even if this process dies here.
        self.words.resets.fetch_add(1, AcqRel);
        self.words.total.store(self.roster().sum(), Release);
        self.serve(kernel);
        self.waiters.settle(kernel, &turn);
        Ok(())
    }

    /// Units that are free now, or would be if somebody came: a peek, not a promise.
    #[must_use]
    pub fn value(&self, kernel: &dyn Kernel) -> u32 {
        let held = self.holders(kernel).fold(0_u32, |sum, (_, count)| sum.saturating_add(count));
        let is_back = |(wish, given): &(Wish, u64)| *given == UNIT && kernel.alive(process_of(*wish));
        let returned = self.waiters.returned().filter(is_back).count() as u32;
        self.words.total.load(Acquire).saturating_sub(held.saturating_sub(returned))
    }

    /// The living processes that hold units, and how many each: a peek, not a promise.
    pub fn holders<'a>(&'a self, kernel: &'a dyn Kernel) -> impl Iterator<Item = (Life, u32)> + 'a {
        self.roster().holders().filter(|(process, _)| kernel.alive(*process))
    }

    /// The same, with what is known of since when each holds units: longest first.
    #[must_use]
    pub fn tenures(&self, kernel: &dyn Kernel) -> Vec<(Life, u32, Tenure)> {
        let mut told: Vec<_> = self.roster().told().filter(|(process, ..)| kernel.alive(*process)).collect();
        told.sort_by_key(|(_, _, tenure)| tenure.since.unwrap_or(u64::MAX));
        told
    }

    /// The same of all that are counted.
    pub fn counted_tenures(&self) -> impl Iterator<Item = (Life, u32, Tenure)> + '_ {
        self.roster().told()
    }

    /// Somebody waits.
    #[inline]
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Writes down where the caller's process has taken its first unit.
    #[cold]
    pub fn note(&self, me: Me, site: &Site) {
        self.roster().note(me.process, site);
    }

    /// Those that have died and are still counted, too.
    pub fn counted(&self) -> impl Iterator<Item = (Life, u32)> + '_ {
        self.roster().holders()
    }

    /// How many have a slot in which they wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }

    fn free(&self) -> u32 {
        self.words.total.load(Acquire).saturating_sub(self.roster().sum())
    }

    fn roster(&self) -> Roster<'_> {
        Roster { entries: &self.entries, tenures: &self.tenures, used: &self.words.used }
    }

    fn resets(&self) -> u32 {
        self.words.resets.load(Acquire)
    }

    fn is_stale(&self, wish: Wish) -> bool {
        wish.value as u32 != self.resets()
    }

    /// The entry of a process, from now on watched by whoever sleeps. The lock is held.
    fn list(&self, kernel: &dyn Kernel, process: Life) -> Result<usize> {
        if let Some(entry) = self.roster().find(process) {
            return Ok(entry);
        }
        let Some(entry) = self.roster().register(process) else {
            return Err(Error::Misuse(format!(
                "{HOLDERS} processes hold units of it, and it tells no more apart: release units in one of them, or share \
                 them out among several semaphores"
            )));
        };
        // It holds nothing yet: if it dies here, nobody has to know.
        self.waiters.call_all(kernel);
        Ok(entry)
    }

    fn count_one(&self, entry: usize) {
        self.roster().set(entry, self.roster().count(entry).saturating_add(1));
    }

    /// Gives free units to those who are next, or calls as many to come for them. The lock is held, and [`Waiters::begin`]
    /// was called.
    fn serve(&self, kernel: &dyn Kernel) {
        while let Some(index) = self.waiters.first_of(|wish| self.is_stale(wish)) {
            self.waiters.grant(index, RESET);
        }
        match self.order {
            Some(order) => self.hand_over(kernel, order),
            None => self.call(),
        }
        self.waiters.tell_heirs(kernel);
        // Who found no slot has not come, and takes what is free.
        self.waiters.open_door(kernel);
    }

    fn hand_over(&self, kernel: &dyn Kernel, order: Order) {
        while self.free() > 0 {
            let Some(slot) = self.waiters.next_by(order) else { break };
            let process = process_of(self.waiters.wish(slot));
            let Ok(entry) = self.list(kernel, process) else { break };
            let step = Step { gives: true, slot, entry, before: self.roster().count(entry) };
            self.words.step.store(step.word(), Release);
            self.roster().set(entry, step.after());
            if !self.waiters.grant(slot, UNIT) {
                self.roster().set(entry, step.before);
            }
            self.words.step.store(0, Release);
        }
    }

    fn call(&self) {
        for _ in self.called()..self.free() as usize {
            let Some(index) = self.waiters.first() else { break };
            self.waiters.grant(index, CALL);
        }
    }

    /// Serves those who wait, if there is something for them: each time has all look again who are about to sleep.
    fn serve_if_due(&self, kernel: &dyn Kernel) {
        let called = if self.order.is_some() { 0 } else { self.called() };
        let free = self.free() as usize > called;
        if self.waiters.waiting().any(|(_, wish)| free || self.is_stale(wish)) {
            let _owed = self.waiters.begin(kernel);
            self.serve(kernel);
        }
    }

    /// How many were called for a unit and have not come.
    fn called(&self) -> usize {
        self.waiters.granted().filter(|(_, given)| *given == CALL).count()
    }

    /// Takes back the units of processes that have died. The lock is held.
    fn reap(&self, kernel: &dyn Kernel, me: Me) {
        if !planted(Fault::UnitsOfTheDead) {
            self.roster().strike(|process| process != me.process && !kernel.alive(process));
        }
    }

    /// Makes the count agree with the slot that the dead one had begun to change. The lock is held.
    fn complete(&self) {
        let Some(step) = Step::read(self.words.step.load(Acquire)) else { return };
        // In a slot whose unit is being taken back it is until the slot is dismissed.
        let is_there = self.waiters.was_given(step.slot).is_some();
        self.roster().set(step.entry, if is_there == step.gives { step.after() } else { step.before });
        self.words.step.store(0, Release);
    }
}

impl Ready for Leased {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.waiters
    }

    /// A unit is free, or was a dead process's.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        // Looked at once, as in [`super::fair::Fair`].
        if self.value(kernel) > 0 {
            return Ok(true);
        }
        let Some(watch) = watch else { return Ok(false) };
        let me = kernel.me()?;
        let turn = Turn::new(self, kernel, me);
        let _held = self.waiters.enter(kernel, &turn)?;
        turn.mend(kernel);
        self.waiters.announce_onlooker(watch);
        self.roster().watch(me.process, watch);
        Ok(self.value(kernel) > 0)
    }
}

impl Resets for Leased {
    fn resets(&self) -> &AtomicU32 {
        &self.words.resets
    }
}

impl AsRoom for Leased {
    type Room<'r> = Turn<'r>;

    fn room<'r>(&'r self, kernel: &'r dyn Kernel) -> Result<Turn<'r>> {
        Ok(Turn::new(self, kernel, kernel.me()?))
    }

    fn watch_for<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        self.roster().watch(process_of(wish), watch);
    }
}

/// Where its units are handed over.
impl Slotted for Leased {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// To mend wakes nobody, unless it finds something to give.
    fn is_torn(&self, _kernel: &dyn Kernel) -> bool {
        true
    }
}
