//! A semaphore that hands its units over: to whoever waits for longest, or most urgently.
//!
//! Follows Zephyr's `k_sem`, whose units are given to the first of a sorted wait queue and never become free in between.
//!
//! Invariant: while somebody waits in a slot, [`QUEUED`] is set, and while it is, only who holds the waiters' lock changes
//! the word; when nobody holds that, no unit is free and somebody waits. A release has happened once `handing` is set;
//! whoever inherits the lock ends it.

use underpass_shm::layout::semaphore::{FairWords, QUEUED};
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{RESET, UNIT, sum};
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::stay::Slotted;
use crate::wait::Sleepers;
use crate::waiters::{Before, Order, Room, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// The number of a slot, counted from 1, or 0, in the word `handing`.
const NUMBER: u64 = (1 << 14) - 1;
const SERVING: u64 = 1 << 63;
const RESETTING: u64 = 1 << 62;

/// A handle of a semaphore that hands its units over.
#[derive(Debug, Clone)]
pub struct Fair {
    words: Placed<FairWords>,
    waiters: Waiters,
    limit: u32,
    saturate: bool,
    order: Order,
}

/// What is under way: the word `handing`.
#[derive(Debug, Clone, Copy)]
struct Handing {
    /// Units that nobody was given yet.
    left: u32,
    /// Who is being served.
    slot: Option<usize>,
    /// From whom a unit came back.
    source: Option<usize>,
    /// All who wait are sent away.
    resetting: bool,
}

impl Handing {
    const NOTHING: Self = Self { left: 0, slot: None, source: None, resetting: false };

    fn word(self) -> u64 {
        let number = |slot: Option<usize>| slot.map_or(0, |index| (index as u64 + 1) & NUMBER);
        let resetting = if self.resetting { RESETTING } else { 0 };
        SERVING | resetting | number(self.source) << 46 | number(self.slot) << 32 | u64::from(self.left)
    }

    /// What [`Self::word`] has written, if anything is under way.
    fn read(word: u64) -> Option<Self> {
        let index = |number: u64| ((number & NUMBER) as usize).checked_sub(1);
        (word & SERVING != 0).then(|| Self {
            left: word as u32 & !QUEUED,
            slot: index(word >> 32),
            source: index(word >> 46),
            resetting: word & RESETTING != 0,
        })
    }
}

impl Fair {
    /// A handle over words that [`Self::format`] has set up. `limit` was 1 to [`super::MOST`] when it was written.
    #[must_use]
    pub fn new(words: Placed<FairWords>, waiters: Waiters, limit: u32, saturate: bool, order: Order) -> Self {
        Self { words, waiters, limit, saturate, order }
    }

    /// Sets up zeroed words: before anybody else sees them.
    pub fn format(words: &FairWords, value: u32) {
        words.word.store(value, Relaxed);
    }

    /// Takes a unit, waiting for it.
    #[inline]
    pub fn acquire(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let mut word = self.words.word.load(Relaxed);
        while word != 0 && word & QUEUED == 0 {
            match self.words.word.compare_exchange_weak(word, word - 1, Acquire, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => word = other,
            }
        }
        if word == 0 && deadline == Deadline::NoWait && self.waiters.is_empty() {
            return Err(Error::WouldBlock);
        }
        self.acquire_slow(kernel, deadline)
    }

    #[cold]
    fn acquire_slow(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        super::judge(self.waiters.wait(kernel, self, self.wish(), deadline)?)
    }

    /// That of one who comes now.
    #[must_use]
    pub fn wish(&self) -> Wish {
        Wish { value: u64::from(self.words.resets.load(Acquire)), how: 0 }
    }

    /// Gives `count` units, never waiting for a waiter. Above the limit: nothing with `saturate`, `Misuse` without.
    #[inline]
    pub fn release(&self, kernel: &dyn Kernel, count: u32) -> Result<()> {
        if self.try_release(count)? { Ok(()) } else { self.release_slow(kernel, count) }
    }

    /// Adds the units if nobody waits.
    #[inline]
    fn try_release(&self, count: u32) -> Result<bool> {
        let mut word = self.words.word.load(Relaxed);
        while word & QUEUED == 0 {
            let sum = sum(word, count, self.limit, self.saturate)?;
            match self.words.word.compare_exchange_weak(word, sum, Release, Relaxed) {
                Ok(_) => return Ok(true),
                Err(other) => word = other,
            }
        }
        Ok(false)
    }

    #[cold]
    fn release_slow(&self, kernel: &dyn Kernel, count: u32) -> Result<()> {
        let _held = self.waiters.enter(kernel, self)?;
        if !self.try_release(count)? {
            let left = sum(self.free(), count, self.limit, self.saturate)?;
            self.hand_over(kernel, Handing { left, ..Handing::NOTHING });
            self.waiters.settle(kernel, self);
        }
        Ok(())
    }

    /// Sets the value to 0; whoever waits leaves with `Reset`.
    pub fn reset(&self, kernel: &dyn Kernel) -> Result<()> {
        let _held = self.waiters.enter(kernel, self)?;
        self.queued();
        self.hand_over(kernel, Handing { resetting: true, ..Handing::NOTHING });
        self.waiters.settle(kernel, self);
        Ok(())
    }

    /// Units that are free now.
    #[must_use]
    pub fn value(&self) -> u32 {
        let free = self.free();
        if self.waiters.is_empty() {
            return free;
        }
        let returned = self.waiters.returned().filter(|(_, given)| *given == UNIT).count();
        free.saturating_add(returned as u32).min(self.limit)
    }

    /// How many have a slot in which they wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }

    fn free(&self) -> u32 {
        self.words.word.load(Acquire) & !QUEUED
    }

    /// The word is [`QUEUED`] and the lock is held: nobody else changes the value.
    fn hand_over(&self, kernel: &dyn Kernel, handing: Handing) {
        let _owed = self.waiters.begin(kernel);
        self.words.handing.store(handing.word(), Release);
        self.serve(kernel, handing);
    }

    /// Gives each unit to whoever is next, and what is left to those who come later.
    fn serve(&self, kernel: &dyn Kernel, mut handing: Handing) {
        let words = &*self.words;
        if handing.resetting {
            // Twice, if this is an heir: that sends away only those who came before the reset was done.
            words.resets.fetch_add(1, AcqRel);
        }
        let given = if handing.resetting { RESET } else { UNIT };
        while (handing.left > 0 || handing.resetting)
            && let Some(index) = self.waiters.next_by(self.order)
        {
            handing.slot = Some(index);
            words.handing.store(handing.word(), Release);
            if self.waiters.grant(index, given) {
                handing.left = handing.left.saturating_sub(1);
            }
        }
        handing.slot = None;
        words.handing.store(handing.word(), Release);
        words.word.store(handing.left | QUEUED, Release);
        self.waiters.tell_heirs(kernel);
        if let Some(index) = handing.source {
            self.waiters.dismiss(index);
        }
        words.handing.store(0, Release);
        if self.waiters.waiting().next().is_none() {
            words.word.fetch_and(!QUEUED, AcqRel);
        }
        // Who found no slot has not come, and takes what is free.
        self.waiters.open_door(kernel);
    }
}

impl Ready for Fair {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.waiters
    }

    /// A unit is free.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        // Looked at once: a unit that is taken between two looks would leave one who waits unannounced.
        if self.value() > 0 {
            return Ok(true);
        }
        let Some(watch) = watch else { return Ok(false) };
        let _held = self.waiters.enter(kernel, self)?;
        self.waiters.reap(kernel, self);
        self.waiters.announce_onlooker(watch);
        self.queued();
        Ok(self.value() > 0)
    }
}

impl Room for Fair {
    fn operation(&self) -> Operation {
        Operation::Acquire
    }

    fn goes_before(&self, before: Before, _comes: Wish) -> bool {
        before.given != Some(RESET) && self.waiters.is_a_task_before(before, self.order)
    }

    fn ready(&self, wish: Wish) -> bool {
        self.words.word.load(Relaxed) & !QUEUED != 0 || u64::from(self.words.resets.load(Relaxed)) != wish.value
    }

    fn queued(&self) {
        // SYNC(semaphore-1): the word that every release changes: it sees this, or the look that follows sees its units.
        self.words.word.fetch_or(QUEUED, AcqRel);
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        if u64::from(self.words.resets.load(Acquire)) != wish.value {
            return Some(RESET);
        }
        let mut word = self.words.word.load(Relaxed);
        while word & !QUEUED != 0 {
            match self.words.word.compare_exchange_weak(word, word - 1, Acquire, Relaxed) {
                Ok(_) => return Some(UNIT),
                Err(other) => word = other,
            }
        }
        None
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {
        // With a waiter in a slot units come under the lock alone, after `posts`.
    }

    fn mend(&self, kernel: &dyn Kernel) {
        let Some(mut handing) = Handing::read(self.words.handing.load(Acquire)) else { return };
        let _owed = self.waiters.begin(kernel);
        // The one who was being served when the server died: did it get it?
        if handing.slot.take().is_some_and(|index| self.waiters.was_given(index).is_some()) {
            handing.left = handing.left.saturating_sub(1);
        }
        self.serve(kernel, handing);
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64) {
        if given == UNIT {
            self.queued();
            let left = self.free().saturating_add(1).min(self.limit);
            self.hand_over(kernel, Handing { left, source: Some(index), ..Handing::NOTHING });
        }
    }
}

impl Slotted for Fair {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn is_torn(&self, _kernel: &dyn Kernel) -> bool {
        self.words.handing.load(Acquire) != 0
    }
}
