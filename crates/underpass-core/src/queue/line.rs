//! Who may act, of those that wait at one side of a queue: who has waited for longest, or who waits most urgently.
//!
//! Zephyr's wait queues are sorted, and what comes is handed to the first in them. Here it stays where it is, so that no death
//! can lose it: who waits stands in a line of [`Waiters`], under the lock of the side and not under one of its own. The gauges
//! of the room say when to look, as in a queue without lines; the line says who of those that look may act.
//!
//! Invariant: while somebody stands in a line nobody acts at that side but the first in it. Who looks, finds what is waited
//! for, and is not the first, has the first look, and watches it while it sleeps itself.

use underpass_shm::layout::queue::Gauge;
use underpass_shm::life::Life;

use super::Room;
use crate::kernel::{Kernel, Watch};
use crate::waiters::{self, Order, Waiters, Wish};
use crate::{Error, Result};

/// All wish for the same.
const WISH: Wish = Wish { value: 0, how: 0 };
/// What a slot is given whose wait is cancelled.
const CANCELLED: u64 = 1;

/// The lines of a queue.
#[derive(Debug)]
pub struct Lines {
    /// Of those that wait for messages; under the getters' lock.
    pub getting: Line,
    /// Of those that wait for room; under the putters' lock.
    pub putting: Line,
}

/// Those who wait at one side. What is said of a lock is said of that side's.
#[derive(Debug)]
pub struct Line {
    waiters: Waiters,
    order: Order,
}

/// How somebody is at a side: passing by, or in its line.
#[derive(Debug, Default)]
pub struct Stand {
    /// It waits, so urgently; none: it passes by.
    pub waits: Option<i32>,
    /// Its place in the line.
    place: Option<usize>,
    /// Who is the first, and has to act before it.
    first: Option<Life>,
}

impl Line {
    /// Over zeroed words, or those that others use.
    #[must_use]
    pub fn new(waiters: Waiters, order: Order) -> Self {
        Self { waiters, order }
    }

    /// Who has the first turn.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Whether one who stands so may act. One who waits gets a place; if what it waits for is `there`, and another is the first, that
    /// one is told. The lock is held, and with it was looked at what is there.
    pub fn admits(&self, kernel: &dyn Kernel, room: &Room, stand: &mut Stand, there: bool) -> Result<bool> {
        let Some(urgency) = stand.waits else { return Ok(self.waiters.is_empty()) };
        stand.first = None;
        match stand.place {
            Some(place) if self.waiters.is_granted(place) => return Err(Error::Reset),
            Some(_) => {}
            None => stand.place = self.seat(kernel, urgency)?,
        }
        if !there {
            return Ok(true);
        }
        while let Some(first) = self.waiters.next_by(self.order) {
            let life = self.waiters.life(first);
            // In its own place, or in a signal handler that waits before its thread can.
            if life == kernel.me()?.thread {
                return Ok(true);
            }
            if self.is_roused(kernel, room, first) {
                stand.first = Some(life);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Who was admitted has acted, and leaves more for others or not: the next one is told, and without one whoever looks on.
    /// The lock is held.
    pub fn served(&self, kernel: &dyn Kernel, room: &Room, gauge: &Gauge, stand: &mut Stand, more: bool) {
        if stand.waits.is_none() {
            return;
        }
        if let Some(place) = stand.place.take() {
            self.waiters.dismiss(place);
        }
        self.waiters.settle(kernel, self);
        if more {
            // The next may be about to sleep, for it was not the first when it looked.
            room.call();
            if self.rouse_first(kernel, room).is_none() {
                room.tell(kernel, gauge, 1);
            }
        }
    }

    /// Who waited goes without; another has to look in its place. Without the lock, whose taking may fail.
    pub fn leave(&self, kernel: &dyn Kernel, room: &Room, gauge: &Gauge, stand: &mut Stand) {
        if let Some(place) = stand.place.take() {
            self.waiters.dismiss(place);
            room.tell(kernel, gauge, 1);
        }
    }

    /// Who waits sleeps only while it has not been told to look, nor away, and the first lives.
    pub fn watch<'a>(&'a self, stand: &Stand, watch: &mut Watch<'a>) {
        if let Some(place) = stand.place {
            self.waiters.watch_place(place, watch);
        }
        if let Some(first) = stand.first {
            watch.life(first);
        }
    }

    /// Nobody stands here: a look without the lock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Nobody who lives stands here; the first, if there is one, is told to look, and is watched. The lock is held.
    pub fn is_open(&self, kernel: &dyn Kernel, room: &Room, watch: Option<&mut Watch<'_>>) -> bool {
        let first = self.rouse_first(kernel, room);
        // The dead behind it, and who left without the lock, are still counted.
        self.waiters.reap(kernel, self);
        self.waiters.settle(kernel, self);
        if let (Some(first), Some(watch)) = (first, watch) {
            watch.life(self.waiters.life(first));
        }
        first.is_none() && self.is_empty()
    }

    /// Sends the first away; false if nobody waits. The lock is held.
    pub fn cancel(&self, kernel: &dyn Kernel, room: &Room) -> bool {
        while let Some(first) = self.waiters.next_by(self.order) {
            room.call();
            if self.waiters.grant(first, CANCELLED) && self.waiters.tell(kernel, first) {
                return true;
            }
            self.waiters.settle(kernel, self);
        }
        false
    }

    /// A place for who waits, if there is one: those who find none are behind all others, in no order.
    fn seat(&self, kernel: &dyn Kernel, urgency: i32) -> Result<Option<usize>> {
        let place = self.waiters.seat(kernel, self, WISH, urgency)?;
        if place.is_some() {
            return Ok(place);
        }
        self.waiters.reap(kernel, self);
        self.waiters.seat(kernel, self, WISH, urgency)
    }

    /// Has the first who lives look, and says where it stands.
    fn rouse_first(&self, kernel: &dyn Kernel, room: &Room) -> Option<usize> {
        loop {
            let first = self.waiters.next_by(self.order)?;
            if self.is_roused(kernel, room, first) {
                return Some(first);
            }
        }
    }

    /// Has the first look; false: it was dead, and another is the first. One that was asleep has named the baton. One that was not
    /// looks by itself, for it has not seen what is there, or is about to take it; it is watched.
    ///
    /// `calls` is not raised for it: who looks here would see that as well, and never sleep while another is the first.
    fn is_roused(&self, kernel: &dyn Kernel, room: &Room, first: usize) -> bool {
        if self.waiters.rouse(kernel, first) || kernel.alive(self.waiters.life(first)) {
            return true;
        }
        self.waiters.dismiss(first);
        // Whoever is the first now may be about to sleep.
        room.call();
        false
    }
}

/// The line asks nothing of its slots but their order: nothing is given there that another could use.
impl waiters::Room for Line {
    fn ready(&self, _wish: Wish) -> bool {
        false
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        None
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {}

    fn mend(&self, _kernel: &dyn Kernel) {}

    fn take_back(&self, _kernel: &dyn Kernel, _index: usize, _given: u64) {
        // One that was sent away and does not come has left.
    }
}
