//! A wait in steps, for one that does not sleep here: a task, whose event loop sleeps for all of its tasks at once.
//!
//! It has a slot, as a thread that waits has one: so it is counted and chosen in its turn, and told there what it was given.
//! Only nobody is woken by that. Whoever tells it rings the bells that watch the object, one of which is its event loop's.
//!
//! Invariant: between two steps it has a slot, or is told of the next one that is free. Whoever ends it takes what its slot was
//! given, or returns that. Who gives something that would be another's, and woke nobody by telling so, has one look who sleeps:
//! that one watches the life of who was given it.

use std::cell::Cell;
use std::sync::Arc;

use underpass_shm::life::{Life, Me};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::Relaxed;

use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::wait::Sleepers;
use crate::waiters::{AWAITS, Room, Waiters, Wish};
use crate::{Error, Result};

/// An object, as the room that one operation of the calling thread has of it: mostly itself.
pub trait AsRoom {
    /// What it is then.
    type Room<'r>: Room
    where
        Self: 'r;

    /// Begins such an operation.
    fn room<'r>(&'r self, kernel: &'r dyn Kernel) -> Result<Self::Room<'r>>;

    /// What its room has those watch who wait: see [`Room::watch`].
    fn watch_for<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>);
}

impl<T: Room> AsRoom for T {
    type Room<'r>
        = &'r Self
    where
        Self: 'r;

    fn room<'r>(&'r self, _kernel: &'r dyn Kernel) -> Result<&'r Self> {
        Ok(self)
    }

    fn watch_for<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        self.watch(wish, watch);
    }
}

/// An object for which tasks wait in slots.
pub trait Slotted: AsRoom + std::fmt::Debug {
    /// Its slots.
    fn waiters(&self) -> &Waiters;

    /// Who waits so is a task.
    fn is_task(&self, wish: Wish) -> bool {
        wish.how & AWAITS != 0
    }

    /// How many tasks wait in slots, whose processes live: a peek, not a promise.
    fn tasks(&self, kernel: &dyn Kernel) -> usize {
        let waiters = self.waiters();
        let tasks = waiters.waiting().filter(|(_, wish)| self.is_task(*wish));
        tasks.filter(|(index, _)| kernel.alive(waiters.life(*index))).count()
    }

    /// Somebody who died has left something to be mended, as far as it is seen. Who looks for a task mends only then: to mend wakes, a
    /// wake rings, and two event loops would have each other look for ever.
    fn is_torn(&self, kernel: &dyn Kernel) -> bool;

    /// What one attempt of a wait does that may have slept: what it was given, if it need not wait any more. `seat` is its
    /// slot, once it has one; the wish has [`AWAITS`].
    fn step(&self, kernel: &dyn Kernel, wish: Wish, seat: &Cell<Option<usize>>) -> Result<Option<u64>> {
        let room = self.room(kernel)?;
        let mut mine = seat.get();
        let given = self.waiters().attempt(kernel, &room, wish, &mut mine, Some(&mut Watch::new()), true);
        seat.set(mine);
        given
    }

    /// The task has that, and owes what follows from it.
    fn came(&self, _kernel: &dyn Kernel, _given: u64) {}

    /// One goes from its slot: what that was given is another's, and so is what only its waiting has kept from others.
    fn give_up(&self, kernel: &dyn Kernel, index: usize) -> Result<()> {
        let (waiters, room) = (self.waiters(), self.room(kernel)?);
        let _owed = waiters.owe(kernel);
        if !waiters.withdraw(kernel, index) {
            waiters.hand_back(kernel, index);
            // Nobody may sleep whom that has told: it is another's now, and not once somebody comes.
            waiters.enter(kernel, &room)?;
        }
        Ok(())
    }
}

/// A wait in steps, whatever it is for.
pub trait Steps: Ready {
    /// Comes, or looks again; `WouldBlock` while it has to wait.
    fn step(&self, kernel: &dyn Kernel) -> Result<u64>;

    /// Goes, unless its slot was given something: then the next step takes that. Under the lock: whoever counts those who wait gives
    /// all of them something, or this one is not counted.
    fn leave(&self, kernel: &dyn Kernel) -> Result<bool>;

    /// Goes in any case: what its slot was given is another's.
    fn give_up(&self, kernel: &dyn Kernel) -> Result<()>;
}

/// What is said to one who goes on with a wait that is not its own.
pub(crate) fn of_another() -> Error {
    Error::Misuse("another thread waits in it, or the process that this one was forked from".into())
}

/// One task's wait.
#[derive(Debug)]
pub struct Stay<T> {
    object: Arc<T>,
    wish: Wish,
    /// Its slot, counted from 1; 0: none. One thread uses it, that of the event loop.
    seat: AtomicU32,
    /// That thread's life, as it came: a forked copy is another's, whoever has the slot by then.
    life: AtomicU32,
}

impl<T: Slotted> Stay<T> {
    /// One that has not come yet.
    pub fn new(object: Arc<T>, wish: Wish) -> Self {
        Self { object, wish, seat: AtomicU32::new(0), life: AtomicU32::new(Life::NOBODY.0) }
    }

    /// What it waits for.
    pub fn object(&self) -> &T {
        &self.object
    }

    /// As it has come.
    pub fn wish(&self) -> Wish {
        self.wish
    }

    fn seat(&self) -> Option<usize> {
        self.seat.load(Relaxed).checked_sub(1).map(|index| index as usize)
    }

    fn sit(&self, me: Me, seat: Option<usize>) {
        self.life.store(me.thread.0, Relaxed);
        self.seat.store(seat.map_or(0, |index| index as u32 + 1), Relaxed);
    }

    fn is_of(&self, me: Me) -> bool {
        self.life.load(Relaxed) == me.thread.0
    }

    /// A forked copy has none: it is the parent's.
    fn own_seat(&self, me: Me) -> Option<usize> {
        self.seat().filter(|_| self.is_of(me))
    }
}

impl<T: Slotted> Steps for Stay<T> {
    fn step(&self, kernel: &dyn Kernel) -> Result<u64> {
        let me = kernel.me()?;
        let seat = Cell::new(self.seat());
        if seat.get().is_some() && !self.is_of(me) {
            return Err(of_another());
        }
        let _owed = self.object.waiters().owe(kernel);
        let given = self.object.step(kernel, Wish { how: self.wish.how | AWAITS, ..self.wish }, &seat);
        self.sit(me, seat.get());
        let given = given?.ok_or(Error::WouldBlock)?;
        self.object.came(kernel, given);
        Ok(given)
    }

    fn leave(&self, kernel: &dyn Kernel) -> Result<bool> {
        let me = kernel.me()?;
        let Some(index) = self.own_seat(me) else { return Ok(true) };
        let room = self.object.room(kernel)?;
        let _held = self.object.waiters().enter(kernel, &room)?;
        let left = self.object.waiters().withdraw(kernel, index);
        if left {
            self.sit(me, None);
        }
        Ok(left)
    }

    fn give_up(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let Some(index) = self.own_seat(me) else { return Ok(()) };
        self.sit(me, None);
        self.object.give_up(kernel, index)
    }
}

impl<T: Slotted> Ready for Stay<T> {
    fn sleepers(&self) -> &dyn Sleepers {
        self.object.waiters()
    }

    /// The next step need not wait, or finds a slot.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let (object, waiters) = (&*self.object, self.object.waiters());
        let mut watch = watch;
        if let (Some(index), Some(watch)) = (self.seat(), watch.as_deref_mut())
            && waiters.are_seen_to(watch)
        {
            return Ok(waiters.is_given_beside(index, watch));
        }
        let room = object.room(kernel)?;
        let watching = |wish: Wish, watch: &mut Watch<'a>| object.watch_for(wish, watch);
        match (self.seat(), watch) {
            (Some(index), None) => Ok(waiters.is_granted(index)),
            (Some(index), Some(watch)) => {
                let is_torn = || object.is_torn(kernel);
                let given = waiters.is_given(kernel, &room, index, Some((&mut *watch, &watching)), true, &is_torn)?;
                if !given {
                    waiters.note_seen_to(watch);
                }
                Ok(given)
            }
            (None, None) => Ok(room.ready(self.wish)),
            (None, Some(watch)) => {
                let _held = waiters.enter(kernel, &room)?;
                if object.is_torn(kernel) {
                    room.mend(kernel);
                }
                if room.ready(self.wish) || !waiters.queue_at_door(watch) {
                    return Ok(true);
                }
                watching(self.wish, watch);
                // As one without a slot that looks once more.
                room.queued();
                Ok(room.ready(self.wish))
            }
        }
    }
}
