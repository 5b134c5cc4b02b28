//! A mutex that is handed over: to whoever waits for longest, or most urgently.
//!
//! Follows Zephyr's `k_mutex`, whose unlock makes the first of a sorted wait queue its owner, and Drepper's third mutex in
//! the word, in which [`SLEEPERS`] says here that somebody waits in a slot, or did.
//!
//! Invariant: while [`SLEEPERS`] is set nobody but its owner takes a life out of the word, and nobody takes the mutex but
//! who was given it in its slot, or holds the waiters' lock and finds that nobody waits. When nobody holds that lock and
//! somebody waits, a thread is in the word, or one that was given the mutex is about to come, or a wake is under way.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::mutex::OWNER_DEAD;
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::Mutex;
use crate::kernel::{Kernel, Watch};
use crate::lock::{BEHIND_ITS_TASKS, TWICE};
use crate::planted::{Fault, planted};
use crate::waiters::{AWAITS, Before, Order, Room, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// In [`Wish::how`]: it takes the mutex from the living only.
pub(super) const ACQUIRES: u32 = 0;
/// In [`Wish::how`]: from the dead as well.
pub(super) const RECOVERS: u32 = 1;

/// Given to a waiter: the mutex.
const OWNED: u64 = 1;
/// Given to a waiter: the mutex, as a dead owner left it.
pub(super) const LEFT: u64 = 2;
/// Given to a waiter: the news that its owner has died.
pub(super) const NEWS: u64 = 3;

/// Those who wait for a mutex, and who of them is next.
#[derive(Debug, Clone)]
pub struct Fair {
    waiters: Waiters,
    order: Order,
}

impl Fair {
    pub(super) fn new(waiters: Waiters, order: Order) -> Self {
        Self { waiters, order }
    }

    /// Waits in line; true if it was taken from the dead.
    #[cold]
    pub(super) fn take(
        &self,
        mutex: &Mutex,
        kernel: &dyn Kernel,
        deadline: Deadline,
        me: Me,
        recovers: bool,
    ) -> Result<bool> {
        if mutex.lock().owner() == me.thread {
            return Err(Error::Misuse(TWICE.into()));
        }
        // Until another watches this one.
        let _owed = self.waiters.owe(kernel);
        let line = self.line(mutex, kernel, me);
        let wish = Wish { value: 0, how: if recovers { RECOVERS } else { ACQUIRES } };
        let given = self.waiters.wait(kernel, &line, wish, deadline)?;
        if given == NEWS {
            return Err(Error::OwnerDied(mutex.last_death()));
        }
        self.came(kernel);
        Ok(given == LEFT)
    }

    /// The caller has it, and owes it.
    pub(super) fn came(&self, kernel: &dyn Kernel) {
        if self.is_awaited() && !planted(Fault::UnwatchedHeir) {
            // Who waits on still watches the last owner.
            self.waiters.call_one(kernel);
        }
    }

    /// The owner gives it to whoever is next, or leaves something else in its place.
    pub(super) fn give(&self, mutex: &Mutex, kernel: &dyn Kernel, me: Me, left: Life) -> Result<()> {
        let word = &mutex.words.lock.word;
        if word.compare_exchange(me.thread.0, left.0, Release, Relaxed).is_ok() {
            return Ok(());
        }
        let _owed = self.waiters.owe(kernel);
        // SYNC(mutex-2): pairs with `watch`. Without the lock, for which a signal could end the wait: from here on it is
        // given back, and whoever takes the lock next hands it over.
        word.fetch_xor(me.thread.0 ^ left.0, AcqRel);
        let line = self.line(mutex, kernel, me);
        match self.waiters.enter(kernel, &line) {
            Ok(_held) => {
                line.serve();
                Ok(())
            }
            Err(error) => {
                // A signal's handler has raised: one who waits does it, and who looks on is told.
                self.waiters.call_one(kernel);
                self.waiters.open_door(kernel);
                Err(error)
            }
        }
    }

    /// An acquire would not wait. With a watch list a caller that finds it would is announced.
    pub(super) fn is_ready<'a>(
        &'a self,
        mutex: &'a Mutex,
        kernel: &dyn Kernel,
        watch: Option<&mut Watch<'a>>,
    ) -> Result<bool> {
        let me = kernel.me()?;
        let is_ready = || {
            let owner = mutex.lock().owner();
            let held = owner != Life::NOBODY && owner.0 != OWNER_DEAD && kernel.alive(owner);
            owner == me.thread || !held && self.heir().is_none()
        };
        let Some(watch) = watch else { return Ok(is_ready()) };
        let line = self.line(mutex, kernel, me);
        let _held = self.waiters.enter(kernel, &line)?;
        self.waiters.reap(kernel, &line);
        line.serve();
        self.waiters.announce_onlooker(watch);
        // SYNC(mutex-2): pairs with `give`: its owner opens the door once nobody is in line.
        let word = mutex.words.lock.word.fetch_or(SLEEPERS, AcqRel) | SLEEPERS;
        watch.word(&mutex.words.lock.word, word);
        if word != SLEEPERS | OWNER_DEAD {
            watch.life(Life(word & !SLEEPERS));
        }
        Ok(is_ready())
    }

    /// See [`Mutex::refuse_behind_its_tasks`]. Without the lock: only its own thread fills a task's slot.
    pub(super) fn refuse_behind_its_tasks(&self, me: Me) -> Result<()> {
        let is_task =
            |(index, given): (usize, Option<u64>)| given != Some(NEWS) && self.waiters.wish(index).how & AWAITS != 0;
        if self.waiters.in_line_of(me.thread).any(is_task) {
            return Err(Error::Misuse(BEHIND_ITS_TASKS.into()));
        }
        Ok(())
    }

    /// Who was given the mutex, and has not come for it.
    pub(super) fn heir(&self) -> Option<Life> {
        let index = self.waiters.granted().find(|(_, given)| *given != NEWS)?.0;
        Some(self.waiters.life(index))
    }

    /// Somebody was given it who has not come, or who has returned it, and it was not taken back yet.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.heir().is_some() || self.waiters.returned().any(|(_, given)| given != NEWS)
    }

    /// Who waits for it.
    pub(super) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// The line, as that thread sees it.
    pub(super) fn line<'a>(&'a self, mutex: &'a Mutex, kernel: &'a dyn Kernel, me: Me) -> Line<'a> {
        Line { fair: self, mutex, kernel, me }
    }

    /// Who waits watches the owner; true for the first who does.
    pub(super) fn watch_owner<'a>(&'a self, mutex: &'a Mutex, watch: &mut Watch<'a>) -> bool {
        let word = &mutex.words.lock.word;
        // SYNC(mutex-2): pairs with `give`. From here on the owner comes to hand it over, or was gone before, which the
        // look that follows sees.
        let before = word.fetch_or(SLEEPERS, AcqRel);
        match before & !SLEEPERS {
            // Whoever gave it back may have died since, and told only those who slept: this one does not sleep, but serves.
            0 | OWNER_DEAD if self.heir().is_none() => watch.word(word, 0),
            0 | OWNER_DEAD => {}
            owner => watch.life(Life(owner)),
        }
        before & SLEEPERS == 0
    }

    fn is_awaited(&self) -> bool {
        self.waiters.waiting().next().is_some()
    }

    /// How many have a slot in which they wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }
}

/// The line in front of a mutex, as one thread sees it.
#[derive(Debug)]
pub struct Line<'a> {
    fair: &'a Fair,
    mutex: &'a Mutex,
    kernel: &'a dyn Kernel,
    me: Me,
}

impl Line<'_> {
    fn word(&self) -> &AtomicU32 {
        &self.mutex.words.lock.word
    }

    /// Hands the mutex to whoever is next, if nobody holds it; of a dead owner all are told who come before one that
    /// recovers. The lock is held.
    fn serve(&self) {
        let Fair { waiters, order } = self.fair;
        // Whoever is about to come for it is taken for its owner; whether it lives the waiters find out.
        if self.fair.is_on_its_way() {
            return;
        }
        // SYNC(mutex-3): pairs with `come`: who came has its life in the word by now.
        let word = self.word().load(Acquire);
        if word == 0 {
            return;
        }
        let owner = Life(word & !SLEEPERS);
        if owner != Life::NOBODY && owner.0 != OWNER_DEAD {
            if self.kernel.alive(owner) {
                return;
            }
            self.mutex.bury(self.kernel, owner);
        }
        let mut owed = None;
        while let Some(index) = waiters.next_by(*order) {
            owed.get_or_insert_with(|| waiters.begin(self.kernel));
            let how = waiters.wish(index).how;
            let given = match how & RECOVERS {
                _ if owner == Life::NOBODY => OWNED,
                RECOVERS => LEFT,
                _ => NEWS,
            };
            // One that has left meanwhile is not in line any more.
            if waiters.grant(index, given) {
                if !waiters.tell(self.kernel, index) {
                    waiters.dismiss(index);
                } else if given != NEWS {
                    if how & AWAITS != 0 && self.fair.is_awaited() && waiters.is_granted(index) {
                        // No task sleeps here, so nobody is told of its death but who watches it.
                        waiters.call_one(self.kernel);
                    }
                    return;
                }
            }
        }
        // Nobody is in line: whoever comes takes it without the lock.
        let _ = self.word().compare_exchange(SLEEPERS, 0, AcqRel, Relaxed);
        waiters.open_door(self.kernel);
    }
}

impl Room for Line<'_> {
    fn operation(&self) -> Operation {
        Operation::Acquire
    }

    fn goes_before(&self, before: Before, _comes: Wish) -> bool {
        before.given != Some(NEWS) && self.fair.waiters.is_a_task_before(before, self.fair.order)
    }

    fn ready(&self, _wish: Wish) -> bool {
        let word = self.word().load(Relaxed);
        word == 0 || word & !SLEEPERS == OWNER_DEAD
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        loop {
            // If the caller is in line already, it may be its turn: then it finds that in its slot.
            self.serve();
            if self.fair.is_on_its_way() {
                return None;
            }
            let word = self.word().load(Acquire);
            let given = match word & !SLEEPERS {
                0 if word == 0 => OWNED,
                // Given back since the look of a moment ago.
                0 => continue,
                OWNER_DEAD => LEFT,
                _ => return None,
            };
            if given == LEFT && wish.how & RECOVERS == 0 {
                return Some(NEWS);
            }
            let taken = self.me.thread.0 | word & SLEEPERS;
            if self.word().compare_exchange(word, taken, AcqRel, Relaxed).is_ok() {
                return Some(given);
            }
        }
    }

    fn watch<'a>(&'a self, _wish: Wish, watch: &mut Watch<'a>) {
        if self.fair.watch_owner(self.mutex, watch) {
            self.mutex.words.since.store(self.kernel.now(), Relaxed);
        }
    }

    fn mend(&self, _kernel: &dyn Kernel) {
        self.serve();
    }

    fn come(&self, given: u64) {
        if given != NEWS {
            // SYNC(mutex-3): before the slot says that it was taken.
            self.word().swap(self.me.thread.0 | SLEEPERS, AcqRel);
        }
    }

    fn take_back(&self, _kernel: &dyn Kernel, index: usize, given: u64) {
        if given == NEWS {
            return;
        }
        // It may have died on its way, between the word and its slot: it has held nothing.
        let left = if given == LEFT { OWNER_DEAD } else { 0 };
        let came = self.fair.waiters.life(index).0;
        let _ = self.word().compare_exchange(came | SLEEPERS, left | SLEEPERS, AcqRel, Relaxed);
        // Until now nobody was served: another of that thread's tasks would have been taken for it.
        self.fair.waiters.dismiss(index);
        self.serve();
    }
}
