//! Those who wait for something of their own: each in a slot, in which it is told what it was given.
//!
//! Zephyr's wait queue with direct hand-off, between processes that may die. The object decides what a wish is and who
//! is given what ([`Room`]); here are the slots, and the deaths.
//!
//! Invariant: who is granted something is woken, or comes by itself, or is dead and what it was given is taken back:
//! by whoever gave it, by a sleeper whom the baton tells, or by one who was about to sleep and watches those who have
//! been granted something and have not come. Slots are filled and granted under the lock; they are left without it.

use underpass_shm::layout::lock::{ONLOOKERS, SLEEPERS};
use underpass_shm::layout::waiters::{GONE, GRANTED, RETURNED, ROW, SlotWords, TAKEN, WAITING, WaitersWords};
use underpass_shm::life::Life;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use underpass_shm::sync::{AtomicU32, AtomicU64};

use crate::error::Phase;
use crate::kernel::{Kernel, Owed, Watch};
use crate::lock::{BEHIND_ITS_TASKS, Held, Lock};
use crate::planted::{Fault, planted};
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

mod door;
mod occupancy;
mod order;
#[cfg(not(loom))]
mod place;
mod room;

use occupancy::Occupancy;
pub use order::Order;
#[cfg(not(loom))]
pub use place::{ONE_ROW, extent};
pub use room::{AWAITS, Before, Room, UNRANKED, Watching, Wish};

/// The waiters of one object.
#[derive(Debug, Clone)]
pub struct Waiters {
    words: Placed<WaitersWords>,
    slots: PlacedSlice<SlotWords>,
    occupancy: Occupancy,
    /// What spinning has paid for a wish.
    long: Patience,
    /// What it has paid for the lock.
    short: Patience,
}

impl Waiters {
    /// Over zeroed words, or those that others use.
    #[must_use]
    pub fn new(words: Placed<WaitersWords>, slots: PlacedSlice<SlotWords>, rows: PlacedSlice<AtomicU64>) -> Self {
        Self::in_rows_of(ROW, words, slots, rows)
    }

    /// The same, in rows of so many slots.
    #[must_use]
    pub fn in_rows_of(
        row: usize,
        words: Placed<WaitersWords>,
        slots: PlacedSlice<SlotWords>,
        rows: PlacedSlice<AtomicU64>,
    ) -> Self {
        let occupancy = Occupancy::new(words.clone(), rows, row);
        Self { words, slots, occupancy, long: Patience::new(), short: Patience::new() }
    }

    /// Takes the lock, and ends what the dead have left half done.
    #[inline]
    pub fn enter<'a>(&'a self, kernel: &'a dyn Kernel, room: &dyn Room) -> Result<Held<'a>> {
        let held = Lock(&self.words.lock, self).acquire(kernel, &self.short, kernel.me()?)?;
        if held.inherited {
            room.mend(kernel);
        }
        if !self.is_empty() {
            self.settle(kernel, room);
        }
        Ok(held)
    }

    /// True when nobody waits and nobody is owed anything: a look without the lock.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.occupied.load(Relaxed) == 0
    }

    /// The same, for whoever has changed something without the lock: it sees a waiter, or that waiter sees the change.
    #[inline]
    #[must_use]
    pub fn is_empty_after_a_change(&self) -> bool {
        // SYNC(waiters-1): pairs with `Occupancy::announce`.
        self.words.occupied.fetch_or(0, AcqRel) == 0
    }

    /// Nobody waits, and nobody has to be told of a change: a look without the lock.
    #[inline]
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let told = if planted(Fault::UnseenOnlooker) { SLEEPERS } else { SLEEPERS | ONLOOKERS };
        self.is_empty() && self.words.door.load(Relaxed) & told == 0
    }

    /// The same, for whoever has changed something without the lock: it sees who waits or looks on, or that one sees the change.
    #[inline]
    #[must_use]
    pub fn is_quiet_after_a_change(&self) -> bool {
        self.is_empty_after_a_change() && self.is_quiet()
    }

    /// Names the baton, before a change that is made without the lock.
    #[inline]
    #[must_use]
    pub fn owe<'k>(&self, kernel: &'k dyn Kernel) -> Owed<'k> {
        Owed::name(kernel, &self.words.baton)
    }

    /// The slots of those who wait, with their wishes. The lock is held.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, Wish)> + '_ {
        self.in_state(WAITING).map(|index| (index, self.wish(index)))
    }

    /// The slots of that thread's own that are in line, or were granted something that it has not come for, with what it is: the tasks
    /// of its event loop, if it is none of them that asks. Of two looks the one who was granted something meanwhile is in the second.
    pub fn in_line_of(&self, thread: Life) -> impl Iterator<Item = (usize, Option<u64>)> + '_ {
        let waiting = self.in_state(WAITING).map(|index| (index, None));
        let granted = self.granted().map(|(index, given)| (index, Some(given)));
        waiting.chain(granted).filter(move |(index, _)| self.life(*index) == thread)
    }

    /// Refuses a thread that would wait, with that priority, for a task of its own event loop, which cannot run meanwhile. The lock is
    /// held.
    pub fn refuse_behind_its_tasks(
        &self,
        kernel: &dyn Kernel,
        room: &dyn Room,
        comes: Wish,
        priority: i32,
    ) -> Result<()> {
        let thread = kernel.me()?.thread;
        let goes_before =
            |(index, given): (usize, Option<u64>)| room.goes_before(Before { index, given, priority }, comes);
        if self.in_line_of(thread).any(goes_before) {
            return Err(Error::Misuse(BEHIND_ITS_TASKS.into()));
        }
        Ok(())
    }

    /// What returned slots were given: it belongs to whoever comes next.
    pub fn returned(&self) -> impl Iterator<Item = (Wish, u64)> + '_ {
        self.in_state(RETURNED).map(|index| (self.wish(index), self.slots[index].given.load(Relaxed)))
    }

    /// What a slot waits for.
    #[must_use]
    pub fn wish(&self, index: usize) -> Wish {
        let slot = &self.slots[index];
        Wish { value: slot.wish.load(Relaxed), how: slot.how.load(Relaxed) }
    }

    /// What was given to the slot since it was found waiting; nothing, if it left before. The lock is held.
    #[must_use]
    pub fn was_given(&self, index: usize) -> Option<u64> {
        let slot = self.slots.get(index)?;
        let granted = matches!(slot.state.load(Acquire), GRANTED | TAKEN | RETURNED);
        granted.then(|| slot.given.load(Relaxed))
    }

    /// Before anything is given, and before the change that makes it possible, if somebody waits: whoever dies from
    /// now on is inherited. The lock is held.
    #[must_use]
    pub fn begin<'k>(&self, kernel: &'k dyn Kernel) -> Owed<'k> {
        let owed = Owed::name(kernel, &self.words.baton);
        self.words.posts.fetch_add(1, AcqRel);
        owed
    }

    /// Gives something to one who waits; false if it has left meanwhile. Between [`Self::begin`] and [`Self::tell`].
    pub fn grant(&self, index: usize, given: u64) -> bool {
        let slot = &self.slots[index];
        slot.given.store(given, Relaxed);
        slot.state.compare_exchange(WAITING, GRANTED, AcqRel, Relaxed).is_ok()
    }

    /// Wakes one who was granted something; false if it is dead, and what it was given has to be taken back.
    pub fn tell(&self, kernel: &dyn Kernel, index: usize) -> bool {
        // One who was asleep when it was woken has named the baton, and its death is told. One who was not may have
        // died long ago.
        self.rouse(kernel, index) || self.will_come(kernel, index)
    }

    /// Wakes one who has a slot; true if it was asleep there, which no task is: for it only a bell is rung.
    pub fn rouse(&self, kernel: &dyn Kernel, index: usize) -> bool {
        let count = u32::from(self.wish(index).how & AWAITS == 0);
        kernel.wake(&self.slots[index].state, count) > 0
    }

    /// One who was granted something has come or lives; if not, what it was given has to be taken back.
    pub fn will_come(&self, kernel: &dyn Kernel, index: usize) -> bool {
        let state = &self.slots[index].state;
        state.load(Acquire) != GRANTED
            || planted(Fault::GrantToTheDead)
            || kernel.alive(self.life(index))
            || state.compare_exchange(GRANTED, RETURNED, AcqRel, Relaxed).is_err()
    }

    /// The slots of those who were granted something and have not come, with what it is.
    pub fn granted(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.in_state(GRANTED).map(|index| (index, self.slots[index].given.load(Relaxed)))
    }

    /// Empties the slots of those who died before they were granted anything. The lock is held.
    pub fn forget_the_dead(&self, kernel: &dyn Kernel, room: &dyn Room) {
        self.sweep(kernel, room, &[WAITING]);
    }

    /// What is raised before anything is given: who takes its time with what it was given sleeps while it is so.
    #[must_use]
    pub fn posts(&self) -> u32 {
        self.words.posts.load(Acquire)
    }

    /// One who was granted something, and does not take it yet, says that it sleeps.
    pub fn watch_granted<'a>(&'a self, index: usize, posts: u32, watch: &mut Watch<'a>) {
        watch.word(&self.slots[index].state, GRANTED);
        watch.word(&self.words.posts, posts);
    }

    /// Wakes all who were granted something and have not come.
    pub fn tell_all(&self, kernel: &dyn Kernel) {
        for index in self.in_state(GRANTED) {
            self.tell(kernel, index);
        }
    }

    /// Takes back what was not come for, until nothing of that kind is left; forgets the slots that are empty. The lock
    /// is held.
    pub fn settle(&self, kernel: &dyn Kernel, room: &dyn Room) {
        while let Some(index) = self.in_state(RETURNED).next() {
            room.take_back(kernel, index, self.slots[index].given.load(Relaxed));
            self.dismiss(index);
        }
        for index in self.occupied() {
            if self.is_vacant(index) {
                self.occupancy.forget(index);
            }
        }
    }

    /// Empties the slot of one who will not come. The lock is held.
    pub fn dismiss(&self, index: usize) {
        if let Some(slot) = self.slots.get(index) {
            slot.state.store(GONE, Release);
        }
    }

    /// Waits until the wish is fulfilled; what was given.
    #[cold]
    pub fn wait<'a>(&'a self, kernel: &dyn Kernel, room: &'a dyn Room, wish: Wish, deadline: Deadline) -> Result<u64> {
        // A thread's first claim of its life takes robust mutexes, which would cover the baton.
        kernel.me()?;
        let mut mine = None;
        let operation = room.operation();
        let waiting = Waiting { sleepers: Some(self), deadline, patience: &self.long, partner: 0, operation };
        let ended = wait_until(
            kernel,
            waiting,
            || room.ready(wish),
            |watch, slept| self.attempt(kernel, room, wish, &mut mine, watch, slept),
        );
        match (ended, mine) {
            (Err(error), Some(index)) => self.leave(kernel, room, index, error),
            (ended, _) => ended,
        }
    }

    /// One look: takes what it was given, or a slot.
    pub fn attempt<'a>(
        &'a self,
        kernel: &dyn Kernel,
        room: &'a dyn Room,
        wish: Wish,
        mine: &mut Option<usize>,
        watch: Option<&mut Watch<'a>>,
        slept: bool,
    ) -> Result<Option<u64>> {
        if let Some(index) = *mine {
            let given = self.look(kernel, room, index, watch, slept)?;
            if given.is_some() {
                *mine = None;
            }
            return Ok(given);
        }
        // Before the lock: see `Kernel::priority`.
        let priority = if watch.is_some() { kernel.priority() } else { UNRANKED };
        let _held = self.enter(kernel, room)?;
        if slept {
            room.mend(kernel);
        }
        let given = self.announce(kernel, room, wish, priority, mine, watch)?;
        if slept && self.vacant().is_some() {
            // The wake of one slot can have been meant for several.
            self.open_door(kernel);
        }
        Ok(given)
    }

    /// One who has a slot looks what it was given, or says what it sleeps for.
    pub fn look<'a>(
        &'a self,
        kernel: &dyn Kernel,
        room: &'a dyn Room,
        index: usize,
        mut watch: Option<&mut Watch<'a>>,
        slept: bool,
    ) -> Result<Option<u64>> {
        let watching = |wish: Wish, watch: &mut Watch<'a>| room.watch(wish, watch);
        loop {
            let watch = watch.as_deref_mut().map(|watch| (watch, &watching as _));
            if !self.is_given(kernel, room, index, watch, slept, &|| true)? {
                return Ok(None);
            }
            if let Some(given) = self.take(kernel, room, index) {
                return Ok(Some(given));
            }
        }
    }

    /// Whether a slot was given something, which its owner takes then; if not, the owner says what it sleeps for, which is
    /// also what the room has it watch. One that has slept mends what is torn.
    pub fn is_given<'a>(
        &'a self,
        kernel: &dyn Kernel,
        room: &dyn Room,
        index: usize,
        watch: Option<(&mut Watch<'a>, Watching<'_, 'a>)>,
        slept: bool,
        is_torn: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let state = &self.slots[index].state;
        let mut posts = self.words.posts.load(Acquire);
        if slept && state.load(Acquire) != GRANTED {
            // Woken for somebody who died, or by the clock.
            let _held = self.enter(kernel, room)?;
            // Who was granted something while it came to lock leaves the dead to those who wait on.
            if state.load(Acquire) != GRANTED {
                if is_torn() {
                    room.mend(kernel);
                }
                // SYNC(waiters-3): pairs with `leave`: what is returned is found by this sweep, or raises `posts`.
                posts = self.words.posts.load(Acquire);
                self.sweep(kernel, room, &[GRANTED]);
            }
        }
        match state.load(Acquire) {
            WAITING => {}
            GRANTED => return Ok(true),
            _ => return Err(Error::Corrupted("a waiter's slot was taken from it".into())),
        }
        if let Some((watch, watching)) = watch {
            watching(self.wish(index), watch);
            watch.word(state, WAITING);
            watch.word(&self.words.posts, posts);
            self.watch_given(watch);
        }
        Ok(false)
    }

    /// The same of another slot of its object, in one look at many: of what is left of the dead that look has taken care.
    pub fn is_given_beside<'a>(&'a self, index: usize, watch: &mut Watch<'a>) -> bool {
        let posts = self.posts();
        watch.word(&self.slots[index].state, WAITING);
        watch.word(&self.words.posts, posts);
        self.slots[index].state.load(Acquire) != WAITING
    }

    /// True once somebody has seen to this object's dead in that look.
    #[must_use]
    pub fn are_seen_to(&self, watch: &Watch<'_>) -> bool {
        watch.has_seen_to(&*self.words)
    }

    /// Somebody has, and was not given anything: so others need not.
    pub fn note_seen_to(&self, watch: &mut Watch<'_>) {
        watch.sees_to(&*self.words);
    }

    /// Takes a slot for the caller, who will sleep in it, if one is free. Its `priority`, or [`UNRANKED`], was asked for before the
    /// lock was taken, which is held.
    pub fn seat(&self, kernel: &dyn Kernel, room: &dyn Room, wish: Wish, priority: i32) -> Result<Option<usize>> {
        if self.vacant().is_none() {
            self.sweep(kernel, room, &[GRANTED]);
        }
        let Some(index) = self.vacant() else { return Ok(None) };
        self.fill(index, kernel.me()?.thread, wish, priority)?;
        Ok(Some(index))
    }

    /// Something was given to the slot, and its owner has not come for it.
    #[must_use]
    pub fn is_granted(&self, index: usize) -> bool {
        self.slots[index].state.load(Acquire) == GRANTED
    }

    /// Has all look again who sleep here, or are about to. The caller owes it: see [`Self::owe`].
    pub fn call_all(&self, kernel: &dyn Kernel) {
        self.words.posts.fetch_add(1, AcqRel);
        if !self.is_quiet() {
            kernel.wake(&self.words.posts, u32::MAX);
        }
    }

    /// Fulfils the wish, or takes a slot, or queues at the door. The lock is held.
    fn announce<'a>(
        &'a self,
        kernel: &dyn Kernel,
        room: &'a dyn Room,
        wish: Wish,
        priority: i32,
        mine: &mut Option<usize>,
        watch: Option<&mut Watch<'a>>,
    ) -> Result<Option<u64>> {
        // SYNC(waiters-3): pairs with `leave`: what is returned is found by this sweep, or raises `posts`.
        let posts = self.words.posts.load(Acquire);
        // Nobody would tell this sleeper of one who has died already.
        self.sweep(kernel, room, &[GRANTED]);
        if let Some(given) = room.now(wish) {
            return Ok(Some(given));
        }
        let Some(watch) = watch else { return Ok(None) };
        if wish.how & AWAITS == 0 {
            self.refuse_behind_its_tasks(kernel, room, wish, priority)?;
        }
        room.watch(wish, watch);
        if self.vacant().is_none() {
            self.sweep(kernel, room, &[GRANTED, WAITING]);
        }
        let mut door = None;
        loop {
            if let Some(index) = self.vacant() {
                self.fill(index, kernel.me()?.thread, wish, priority)?;
                room.queued();
                // What changes without the lock is seen now, or its author has seen this waiter.
                if let Some(given) = room.now(wish) {
                    self.dismiss(index);
                    return Ok(Some(given));
                }
                *mine = Some(index);
                watch.word(&self.slots[index].state, WAITING);
                watch.word(&self.words.posts, posts);
                self.watch_given(watch);
                return Ok(None);
            }
            if let Some(word) = door {
                if let Some(given) = room.now(wish) {
                    return Ok(Some(given));
                }
                watch.word(&self.words.door, word);
                watch.word(&self.words.posts, posts);
                self.watch_given(watch);
                return Ok(None);
            }
            // SYNC(waiters-2): pairs with the look in `open_door`: slots are left without the lock.
            door = Some(self.words.door.fetch_or(SLEEPERS, AcqRel) | SLEEPERS);
            room.queued();
        }
    }

    fn fill(&self, index: usize, life: Life, wish: Wish, priority: i32) -> Result<()> {
        #[cfg(not(loom))]
        self.furnish(index)?;
        let slot = &self.slots[index];
        slot.life.store(life.0, Relaxed);
        slot.wish.store(wish.value, Relaxed);
        slot.how.store(wish.how, Relaxed);
        slot.ticket.store(self.words.tickets.fetch_add(1, Relaxed), Relaxed);
        slot.priority.store(priority.cast_unsigned(), Relaxed);
        slot.state.store(WAITING, Release);
        self.occupancy.announce(index);
        Ok(())
    }

    /// Takes what the caller's own slot was given, and leaves it.
    pub fn take(&self, kernel: &dyn Kernel, room: &dyn Room, index: usize) -> Option<u64> {
        let slot = &self.slots[index];
        if slot.state.load(Acquire) != GRANTED {
            return None;
        }
        let given = slot.given.load(Relaxed);
        room.come(given);
        slot.state.compare_exchange(GRANTED, TAKEN, AcqRel, Relaxed).ok()?;
        self.open_door(kernel);
        Some(given)
    }

    /// Leaves its slot, unless that was given something.
    pub fn withdraw(&self, kernel: &dyn Kernel, index: usize) -> bool {
        let _owed = Owed::name(kernel, &self.words.baton);
        let left = self.slots[index].state.compare_exchange(WAITING, GONE, AcqRel, Acquire).is_ok();
        if left {
            self.open_door(kernel);
        }
        left
    }

    /// Leaves without what was waited for; if it has been given meanwhile, a time-out was no time-out, and a signal
    /// leaves it to others.
    #[cold]
    pub fn leave(&self, kernel: &dyn Kernel, room: &dyn Room, index: usize, error: Error) -> Result<u64> {
        let _owed = Owed::name(kernel, &self.words.baton);
        if !self.withdraw(kernel, index) {
            if error == Error::TimedOut(Phase::Wait)
                && let Some(given) = self.take(kernel, room, index)
            {
                return Ok(given);
            }
            self.hand_back(kernel, index);
        }
        Err(error)
    }

    /// What one was granted who does not come for it is for whoever enters next to give to others. The caller owes it.
    pub fn hand_back(&self, kernel: &dyn Kernel, index: usize) {
        let state = &self.slots[index].state;
        if state.compare_exchange(GRANTED, RETURNED, AcqRel, Acquire).is_ok() {
            // SYNC(waiters-3): the baton tells those who sleep, this those who are about to.
            self.words.posts.fetch_add(1, AcqRel);
            kernel.wake(&self.words.baton, 1);
        }
    }

    /// Takes back what the dead were given, and with WAITING among the states also their slots. The lock is held.
    fn sweep(&self, kernel: &dyn Kernel, room: &dyn Room, states: &[u32]) {
        let mut found = false;
        for index in self.occupied() {
            let state = self.slots[index].state.load(Acquire);
            found |= state == RETURNED;
            if states.contains(&state) && !kernel.alive(self.life(index)) {
                let next = if state == GRANTED { RETURNED } else { GONE };
                found |= self.slots[index].state.compare_exchange(state, next, AcqRel, Relaxed).is_ok();
            }
        }
        if found {
            self.settle(kernel, room);
        }
    }

    /// Those who have been granted something must act next, also to tell that they have returned it. The baton tells of
    /// their death whoever sleeps by then.
    fn watch_given(&self, watch: &mut Watch<'_>) {
        for index in self.in_state(GRANTED).chain(self.in_state(RETURNED)) {
            watch.life(self.life(index));
        }
    }

    fn vacant(&self) -> Option<usize> {
        (0..self.slots.len()).find(|index| self.occupancy.has(*index) && self.is_vacant(*index))
    }

    fn is_vacant(&self, index: usize) -> bool {
        !self.occupancy.is_announced(index)
            || !matches!(self.slots[index].state.load(Acquire), WAITING | GRANTED | RETURNED)
    }

    /// Whose slot it is, or was.
    #[must_use]
    pub fn life(&self, index: usize) -> Life {
        Life(self.slots[index].life.load(Relaxed))
    }

    fn occupied(&self) -> impl Iterator<Item = usize> + '_ {
        // The words are the program's: they may say anything.
        self.occupancy.iter().filter(|index| *index < self.slots.len())
    }

    fn in_state(&self, state: u32) -> impl Iterator<Item = usize> + '_ {
        self.occupied().filter(move |index| self.slots[*index].state.load(Acquire) == state)
    }
}

impl Sleepers for Waiters {
    fn baton(&self) -> &AtomicU32 {
        &self.words.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        self.words.posts.fetch_add(1, AcqRel);
        for index in self.occupied() {
            kernel.wake(&self.slots[index].state, 1);
        }
        self.recall_the_slotless(kernel);
    }
}
