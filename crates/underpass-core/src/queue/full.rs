//! What a put does that finds no room: it waits, or a message is dropped, and counted.
//!
//! Who drops one of those that are there holds the locks of both sides, so that nobody finds the room between the old message
//! and the new one. It never waits for one of them with the other in its hands: a wait runs the program's signal handlers, which
//! may put here themselves, and who holds nothing can be in nobody's way.

use underpass_shm::life::Me;
use underpass_shm::sync::Ordering::{AcqRel, Acquire};

use super::Queue;
use crate::Result;
use crate::kernel::Kernel;
use crate::lock::Held;

/// What becomes of a message for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Its putter waits.
    Wait,
    /// It takes the place of another.
    DropOldest,
    /// It is dropped.
    DropNewest,
}

impl Queue {
    /// What becomes of a message for which there is no room.
    #[must_use]
    pub fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// Messages that were dropped, those that were there and those that came; what one was about who died is settled before.
    pub fn dropped(&self, kernel: &dyn Kernel) -> Result<u64> {
        let words = &self.room.words;
        let _side = self.room.getters(kernel, &self.locking, kernel.me()?)?;
        Ok(words.dropped.load(Acquire).wrapping_add(words.declined.load(Acquire)))
    }

    /// Puts a message into a room that was full, where nobody waits for that.
    #[cold]
    pub(super) fn put_or_drop(&self, kernel: &dyn Kernel, me: Me, data: &[u8], priority: u32) -> Result<()> {
        if self.room.is_any_owned() {
            // What the dead hold may be room.
            self.reap(kernel, me, |_| ())?;
        }
        let _sides = self.sides_of_puts(kernel, me)?;
        let Some(slot) = self.slot_or_drop(kernel, priority)? else {
            self.decline();
            return Ok(());
        };
        self.room.write(slot, data, priority);
        self.room.place(slot, 0);
        self.room.arrive(kernel, 1, true)
    }

    /// The putters' side, and for who may have to drop a message the getters' beside it.
    pub(super) fn sides_of_puts<'a>(&'a self, kernel: &'a dyn Kernel, me: Me) -> Result<(Held<'a>, Option<Held<'a>>)> {
        let (room, patience) = (&self.room, &self.locking);
        let putters = room.putters(kernel, patience, me)?;
        if self.when_full != WhenFull::DropOldest {
            return Ok((putters, None));
        }
        if let Some(getters) = room.getters_if_free(kernel, me) {
            return Ok((putters, Some(getters)));
        }
        drop(putters);
        loop {
            let getters = room.getters(kernel, patience, me)?;
            if let Some(putters) = room.putters_if_free(kernel, me) {
                return Ok((putters, Some(getters)));
            }
            drop(getters);
            let putters = room.putters(kernel, patience, me)?;
            if let Some(getters) = room.getters_if_free(kernel, me) {
                return Ok((putters, Some(getters)));
            }
        }
    }

    /// A free slot, for a message of that priority: with [`Self::sides_of_puts`].
    pub(super) fn slot_or_drop(&self, kernel: &dyn Kernel, priority: u32) -> Result<Option<usize>> {
        let free = self.open_slot(0)?;
        let drops = free.is_none() && self.when_full == WhenFull::DropOldest;
        if drops && self.room.make_room(kernel, priority)? { self.open_slot(0) } else { Ok(free) }
    }

    /// A message is not put.
    pub(super) fn decline(&self) {
        self.room.words.declined.fetch_add(1, AcqRel);
    }

    /// Messages are there that were owned: for getters, and for who waits to lend a slot that may be had from one of them.
    pub(super) fn tell_of_returns(&self, kernel: &dyn Kernel, count: u32) {
        self.room.tell_getters(kernel, count);
        self.tell_who_lends(kernel);
    }

    /// The same, to getters who have been told.
    pub(super) fn tell_who_lends(&self, kernel: &dyn Kernel) {
        if self.when_full == WhenFull::DropOldest {
            self.room.tell_putters(kernel, 1);
        }
    }
}
