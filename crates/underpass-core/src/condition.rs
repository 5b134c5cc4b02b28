//! A condition: who holds a mutex waits, without it, until another says that something may have become true.
//!
//! Follows Mesa's and POSIX's condition variables, Zephyr's `k_condvar` in that the mutex is always taken again, and wait
//! morphing (`FUTEX_CMP_REQUEUE`) in that those who are notified together do not fight for the mutex: they are told one
//! after the other, each by the one before it, once that one has the mutex again.
//!
//! Invariant: who waits has a slot, or stands at the door, before it gives its mutex back; so whoever takes the mutex
//! after it finds it here. A notification has happened once `pending` is set. While somebody was granted a wake-up and
//! has not come, `runner` lives and tells the next one, or a wake is under way to one who sleeps and mends that.

mod steps;

pub use steps::Absence;

use std::cell::Cell;

use underpass_shm::layout::condition::{ALL, ConditionWords};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::error::Phase;
use crate::kernel::{Kernel, Watch};
use crate::planted::{Fault, planted};
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::waiters::{Room, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// All wait for the same.
const WISH: Wish = Wish { value: 0, how: 0 };
/// For so many nanoseconds one who was granted a wake-up waits for its turn while the one before it lives, but may be
/// stopped.
const LONGEST_TURN: u64 = 1_000_000_000;

/// The mutex that a condition is used with, as its caller holds it.
pub trait Under {
    /// How often the caller holds it.
    fn depth(&self) -> Result<u32>;
    /// Gives it back.
    fn give(&self) -> Result<()>;
    /// Takes it again, as long as that takes: whatever interrupts is remembered.
    fn take(&self) -> Result<()>;
    /// Refuses a thread that could not take it again, since tasks of its own event loop would have it first. It is held.
    fn refuse_behind_its_tasks(&self) -> Result<()>;
    /// Its owner has died, and nobody has repaired what it protects.
    fn is_orphaned(&self) -> bool;
    /// A signal handler of the interpreter raised: what it raised is remembered. True: go on with what has to be ended.
    fn interrupted(&self) -> bool;
    /// Something is remembered.
    fn has_raised(&self) -> bool;
}

/// A handle of a condition.
#[derive(Debug)]
pub struct Condition {
    words: Placed<ConditionWords>,
    waiters: Waiters,
    patience: Patience,
}

/// What is left of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    left: u32,
    all: bool,
    /// Whose turn it is.
    slot: Option<usize>,
}

impl Pending {
    fn read(word: u64) -> Self {
        let slot = (word & (ALL - 1)) as usize;
        Self { left: (word >> 32) as u32, all: word & ALL != 0, slot: slot.checked_sub(1) }
    }

    fn word(self) -> u64 {
        let slot = self.slot.map_or(0, |index| index as u64 + 1);
        u64::from(self.left) << 32 | if self.all { ALL } else { 0 } | slot
    }
}

/// One who waits, as long as its call lasts.
struct Caller<'a> {
    me: Me,
    under: &'a dyn Under,
    seat: Cell<Option<usize>>,
    /// What the calls were when it came.
    calls: Cell<u32>,
    /// Since when it was granted a wake-up and waits for its turn.
    since: Cell<Option<u64>>,
    /// It goes because the mutex was left by the dead.
    orphaned: Cell<bool>,
}

impl<'a> Caller<'a> {
    fn new(me: Me, under: &'a dyn Under) -> Self {
        let (seat, calls, since) = (Cell::new(None), Cell::new(0), Cell::new(None));
        Self { me, under, seat, calls, since, orphaned: Cell::new(false) }
    }

    /// The one before it lives, but does not come to tell it: it may be stopped.
    fn has_been_long(&self, now: u64) -> bool {
        let since = self.since.get().unwrap_or(now);
        self.since.set(Some(since));
        now - since >= LONGEST_TURN
    }
}

/// What becomes of one who found no slot.
enum AtDoor {
    /// A notification was for it, too.
    Called,
    /// It has a slot by now, or there is one: it looks again.
    Seated,
    /// It sleeps on.
    Stays,
}

impl Condition {
    /// A handle over zeroed words, or those that others use.
    #[must_use]
    pub fn new(words: Placed<ConditionWords>, waiters: Waiters) -> Self {
        Self { words, waiters, patience: Patience::new() }
    }

    /// Gives the mutex back, waits until notified, and takes the mutex again, however the wait has ended.
    pub fn wait(&self, kernel: &dyn Kernel, under: &dyn Under, deadline: Deadline) -> Result<()> {
        let me = kernel.me()?;
        Self::check(under)?;
        if deadline == Deadline::NoWait {
            return Err(Error::WouldBlock);
        }
        // None of them comes while this thread waits: whom it would find in line then is there now.
        under.refuse_behind_its_tasks()?;
        let caller = Caller::new(me, under);
        let late = planted(Fault::LateSeat);
        if late {
            under.give()?;
        }
        self.sit(kernel, &caller)?;
        if !late && let Err(error) = under.give() {
            return self.rise(kernel, &caller, error);
        }
        // From here on it is taken again. Whoever dies before it has passed its turn on is inherited.
        let _owed = self.waiters.owe(kernel);
        // A signal that came as the mutex was given back comes before the sleep.
        let slept = if under.has_raised() { Err(Error::Interrupted) } else { self.sleep(kernel, &caller, deadline) };
        let ended = slept.or_else(|error| {
            if error == Error::Interrupted {
                under.interrupted();
            }
            self.rise(kernel, &caller, error)
        });
        let taken = under.take();
        let passed = self.pass_on(kernel, &caller);
        taken?;
        passed?;
        let ended = if caller.orphaned.get() { Ok(()) } else { ended };
        if ended.is_ok() && under.has_raised() {
            // A signal took the caller away after all: its wake-up is another's.
            self.notify(kernel, 1)?;
            return Err(Error::Interrupted);
        }
        ended
    }

    /// Who waits holds the mutex once.
    fn check(under: &dyn Under) -> Result<()> {
        match under.depth()? {
            0 => Err(Error::NotOwner),
            1 => Ok(()),
            depth => Err(Error::Misuse(format!(
                "this thread holds its mutex {depth} times, and a wait gives one of them back: wait where it is held once"
            ))),
        }
    }

    /// Grants up to `count` who wait a wake-up, the most urgent first, and of those the longest; how many.
    pub fn notify(&self, kernel: &dyn Kernel, count: u32) -> Result<u32> {
        kernel.me()?;
        let _held = self.waiters.enter(kernel, self)?;
        if count == 0 {
            return Ok(0);
        }
        let _owed = self.waiters.owe(kernel);
        if !self.waiters.is_empty() {
            self.waiters.forget_the_dead(kernel, self);
        }
        let waiting = u32::try_from(self.waiting()).unwrap_or(u32::MAX);
        if count > waiting {
            self.words.calls.fetch_add(1, Release);
            self.waiters.open_door(kernel);
        }
        let pending = Pending { left: count.min(waiting), all: count >= waiting, slot: None };
        if pending.left == 0 {
            return Ok(0);
        }
        let _owed = self.waiters.begin(kernel);
        self.words.pending.store(pending.word(), Release);
        Ok(self.serve(kernel))
    }

    /// How many wait in slots and were not notified: a peek, not a promise.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }

    /// Takes a slot if one is free: then whoever has the mutex next finds it there.
    fn sit(&self, kernel: &dyn Kernel, caller: &Caller<'_>) -> Result<()> {
        // Before the lock: see `Kernel::priority`.
        let priority = kernel.priority();
        let _held = self.waiters.enter(kernel, self)?;
        caller.seat.set(self.waiters.seat(kernel, self, WISH, priority)?);
        caller.calls.set(self.words.calls.load(Acquire));
        Ok(())
    }

    /// Leaves the slot. What was granted meanwhile has won over a time-out.
    fn rise(&self, kernel: &dyn Kernel, caller: &Caller<'_>, error: Error) -> Result<()> {
        match caller.seat.take() {
            Some(index) => self.waiters.leave(kernel, self, index, error).map(drop),
            None => Err(error),
        }
    }

    fn sleep(&self, kernel: &dyn Kernel, caller: &Caller<'_>, deadline: Deadline) -> Result<()> {
        let ready = || {
            caller.seat.get().is_some_and(|index| self.waiters.is_granted(index)) && self.runner() == caller.me.thread
        };
        let waiting = Waiting {
            sleepers: Some(self),
            deadline,
            patience: &self.patience,
            partner: 0,
            operation: Operation::Wait,
        };
        wait_until(kernel, waiting, ready, |watch, slept| self.attempt(kernel, caller, watch, slept))
    }

    fn attempt<'a>(
        &'a self,
        kernel: &dyn Kernel,
        caller: &Caller<'_>,
        mut watch: Option<&mut Watch<'a>>,
        slept: bool,
    ) -> Result<Option<()>> {
        let mut looked = !slept;
        loop {
            let Some(index) = caller.seat.get() else {
                match self.attempt_at_door(kernel, caller, watch.as_deref_mut(), slept)? {
                    AtDoor::Called => return Ok(Some(())),
                    AtDoor::Stays => return Ok(None),
                    AtDoor::Seated => continue,
                }
            };
            let posts = self.waiters.posts();
            if self.waiters.is_granted(index) {
                let runner = self.runner();
                if runner == caller.me.thread || caller.has_been_long(kernel.now()) {
                    self.waiters.take(kernel, self, index);
                    caller.seat.set(None);
                    return Ok(Some(()));
                }
                if !looked || !kernel.alive(runner) {
                    looked = true;
                    let _held = self.waiters.enter(kernel, self)?;
                    self.mend(kernel);
                    continue;
                }
                if let Some(watch) = watch {
                    self.waiters.watch_granted(index, posts, watch);
                    watch.life(runner);
                }
                return Ok(None);
            }
            if self.waiters.look(kernel, self, index, watch, slept)?.is_some() {
                caller.seat.set(None);
                return Ok(Some(()));
            }
            if slept && caller.under.is_orphaned() {
                // Who was to notify may have died: taking the mutex tells.
                caller.orphaned.set(true);
                return Err(Error::TimedOut(Phase::Wait));
            }
            return Ok(None);
        }
    }

    /// One of more threads than slots waits for a slot.
    fn attempt_at_door<'a>(
        &'a self,
        kernel: &dyn Kernel,
        caller: &Caller<'_>,
        watch: Option<&mut Watch<'a>>,
        slept: bool,
    ) -> Result<AtDoor> {
        let priority = kernel.priority();
        let _held = self.waiters.enter(kernel, self)?;
        if slept {
            self.mend(kernel);
        }
        if self.words.calls.load(Acquire) != caller.calls.get() {
            return Ok(AtDoor::Called);
        }
        if let Some(index) = self.waiters.seat(kernel, self, WISH, priority)? {
            caller.seat.set(Some(index));
            if slept {
                // The wake of one slot can have been meant for several.
                self.waiters.open_door(kernel);
            }
            return Ok(AtDoor::Seated);
        }
        let Some(watch) = watch else { return Ok(AtDoor::Stays) };
        if !self.waiters.queue_at_door(watch) {
            return Ok(AtDoor::Seated);
        }
        self.watch(WISH, watch);
        Ok(AtDoor::Stays)
    }

    fn runner(&self) -> Life {
        Life(self.words.runner.load(Acquire))
    }

    /// Tells the next one that it may have the mutex, once the caller has it or cannot have it.
    fn pass_on(&self, kernel: &dyn Kernel, caller: &Caller<'_>) -> Result<()> {
        loop {
            match self.waiters.enter(kernel, self) {
                Ok(_held) => {
                    if self.runner() == caller.me.thread && !planted(Fault::KeptTurn) {
                        self.words.runner.store(0, Release);
                        self.advance(kernel);
                    }
                    return Ok(());
                }
                Err(Error::Interrupted) if caller.under.interrupted() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Grants what is pending, and sees that somebody comes; how many were granted a wake-up. The lock is held.
    fn serve(&self, kernel: &dyn Kernel) -> u32 {
        let words = &*self.words;
        let mut pending = Pending::read(words.pending.load(Relaxed));
        let mut granted = 0;
        while pending.left > 0
            && let Some(index) = self.waiters.first_by_priority()
        {
            pending.slot = Some(index);
            words.pending.store(pending.word(), Release);
            let turn = words.turns.fetch_add(1, AcqRel);
            if self.waiters.grant(index, turn << 1 | u64::from(pending.all)) {
                pending.left -= 1;
                granted += 1;
            }
            pending.slot = None;
            words.pending.store(pending.word(), Release);
        }
        words.pending.store(0, Release);
        self.advance(kernel);
        granted
    }

    /// Unless somebody is under way, tells the first of those who were granted a wake-up. The lock is held.
    fn advance(&self, kernel: &dyn Kernel) {
        loop {
            let runner = self.runner();
            if runner != Life::NOBODY && kernel.alive(runner) {
                return;
            }
            let Some((index, _)) = self.waiters.granted().min_by_key(|(_, given)| *given) else {
                self.words.runner.store(0, Release);
                return;
            };
            let _owed = self.waiters.owe(kernel);
            self.words.runner.store(self.waiters.life(index).0, Release);
            // Whoever is about to sleep watches the one before it.
            let _owed = self.waiters.begin(kernel);
            if self.waiters.rouse(kernel, index) {
                return;
            }
            if self.waiters.will_come(kernel, index) {
                // It did not sleep, so its death would tell nobody but those who watch it.
                self.waiters.call_one(kernel);
                return;
            }
            self.waiters.settle(kernel, self);
        }
    }
}

impl Room for Condition {
    fn ready(&self, _wish: Wish) -> bool {
        false
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        None
    }

    fn watch<'a>(&'a self, _wish: Wish, watch: &mut Watch<'a>) {
        watch.life(self.runner());
    }

    fn mend(&self, kernel: &dyn Kernel) {
        let pending = &self.words.pending;
        let mut left = Pending::read(pending.load(Acquire));
        if left.word() == 0 {
            self.advance(kernel);
        } else {
            let _owed = self.waiters.begin(kernel);
            // The one whose turn it was when the notifier died: did it get it?
            if let Some(index) = left.slot.take()
                && self.waiters.was_given(index).is_some()
            {
                left.left = left.left.saturating_sub(1);
            }
            pending.store(left.word(), Release);
            self.serve(kernel);
        }
        // Its wake may have died with whoever owed it.
        let runner = self.runner();
        if let Some((index, _)) = self.waiters.granted().find(|(index, _)| self.waiters.life(*index) == runner) {
            self.waiters.rouse(kernel, index);
        }
    }

    fn take_back(&self, kernel: &dyn Kernel, _index: usize, given: u64) {
        // All who waited have one; who came later is not meant.
        if given & 1 == 0 {
            let _owed = self.waiters.begin(kernel);
            self.words.pending.store(Pending { left: 1, all: false, slot: None }.word(), Release);
            self.serve(kernel);
        }
    }
}

impl Sleepers for Condition {
    fn baton(&self) -> &AtomicU32 {
        self.waiters.baton()
    }

    fn recall(&self, kernel: &dyn Kernel) {
        // Whoever was handed the baton mends under the lock, and those in slots are told one after the other.
        self.waiters.recall_the_slotless(kernel);
    }
}
