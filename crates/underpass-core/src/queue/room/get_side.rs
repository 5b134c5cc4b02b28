//! The getters' side, under its lock.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::{CLOSED, COUNT, FREEING, GETTING, JOINERS, RETURNING, SORTING, TAKING};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::order::End;
use super::shelf::Shelf;
use super::{Room, minus, plus};
use crate::kernel::{Kernel, Owed};
use crate::planted::{Fault, planted};
use crate::{Error, Result};

impl Room {
    /// The slot of the message at `index` from the front, if there is one.
    #[inline]
    pub fn front(&self, index: u32) -> Result<Option<usize>> {
        if let Some(ordered) = &self.shelf {
            return self.front_of(ordered, index);
        }
        let get = &self.words.get;
        let head = get.head.load(Relaxed);
        if minus(get.tail_seen.load(Relaxed), head) <= index
            || minus(get.tail_seen.load(Relaxed), head) > self.capacity()
        {
            // SYNC(queue-2): pairs with `arrive`.
            let tail = self.words.tail.word.load(Acquire) & COUNT;
            get.tail_seen.store(tail, Relaxed);
            if minus(tail, head) <= index {
                return Ok(None);
            }
        }
        self.slot_in(&self.ring, plus(head, index)).map(Some)
    }

    /// The slot of one of the messages that [`Self::queued`] has counted, each at one position, in no order.
    pub fn any(&self, position: u32) -> Result<Option<usize>> {
        let Some(ordered) = &self.shelf else { return self.front(position) };
        let slot = ordered.at(position as usize);
        if slot < self.slots.len() { Ok(Some(slot)) } else { Err(self.no_slot(slot)) }
    }

    /// Messages that are there for a getter.
    pub fn queued(&self) -> Result<u32> {
        match &self.shelf {
            None => Ok(self.depth()),
            Some(ordered) => {
                self.sort_in(ordered)?;
                self.shelved(ordered).map(|count| count as u32)
            }
        }
    }

    fn front_of(&self, ordered: &Shelf, index: u32) -> Result<Option<usize>> {
        self.sort_in(ordered)?;
        let count = self.shelved(ordered)?;
        if index as usize >= count {
            return Ok(None);
        }
        let slot = ordered.nth(index as usize, count);
        if slot < self.slots.len() { Ok(Some(slot)) } else { Err(self.no_slot(slot)) }
    }

    /// Puts all that has arrived on the shelf.
    fn sort_in(&self, ordered: &Shelf) -> Result<()> {
        // SYNC(queue-2): pairs with `arrive`.
        let tail = self.words.tail.word.load(Acquire) & COUNT;
        let mut sorted = ordered.words.sorted.load(Relaxed);
        if sorted == tail {
            return Ok(());
        }
        let head = self.announce(SORTING, 0);
        while sorted != tail {
            let (slot, count) = (self.slot_in(&self.ring, sorted)?, minus(sorted, head));
            if count >= self.capacity() {
                return Err(Error::Corrupted(format!("{count} of {} messages are on the shelf", self.capacity())));
            }
            ordered.add(slot, End::Arriving, count as usize);
            sorted = plus(sorted, 1);
            ordered.words.sorted.store(sorted, Release);
        }
        self.words.get.intent.step.store(0, Release);
        Ok(())
    }

    /// Messages on the shelf.
    pub(super) fn shelved(&self, ordered: &Shelf) -> Result<usize> {
        let count = minus(ordered.words.sorted.load(Relaxed), self.words.get.head.load(Relaxed));
        if count <= self.capacity() {
            return Ok(count as usize);
        }
        Err(Error::Corrupted(format!("{count} of {} messages are on the shelf", self.capacity())))
    }

    /// Ends the first `count` messages, of a room with a shelf one or all: they have been copied out.
    #[inline]
    pub fn drop_front(&self, kernel: &dyn Kernel, count: u32) {
        // Who sleeps for room is told if this thread dies between the two stores.
        let asleep = self.words.freed.word.load(Relaxed) & !COUNT != 0;
        let _owed = asleep.then(|| Owed::name(kernel, &self.words.baton));
        let head = self.announce(GETTING, count);
        if let Some(ordered) = &self.shelf {
            return self.drop_first(kernel, ordered, head, count);
        }
        self.words.get.head.store(plus(head, count), Release);
        self.free_dropped(kernel, head, count);
    }

    /// The same from a shelf: what leaves it is written into the ring, and ends as there.
    fn drop_first(&self, kernel: &dyn Kernel, ordered: &Shelf, head: u32, count: u32) {
        let there = minus(ordered.words.sorted.load(Relaxed), head);
        for index in 0..count {
            let slot = ordered.at(index as usize);
            self.ring[self.position(plus(head, index))].store(slot as u32, Relaxed);
        }
        if count < there {
            ordered.remove(0, there as usize);
        }
        self.words.get.head.store(plus(head, count), Release);
        self.forget_dropped(ordered, head, count);
        self.free_dropped(kernel, head, count);
    }

    /// The messages that left the front are not on the shelf any more.
    pub(super) fn forget_dropped(&self, ordered: &Shelf, head: u32, count: u32) {
        for index in 0..count {
            ordered.forget(self.ring[self.position(plus(head, index))].load(Relaxed) as usize);
        }
    }

    /// Leases the front message to `owner`.
    pub fn lease_front(&self, kernel: &dyn Kernel, slot: usize, owner: Life, delivery: u32) -> u32 {
        let words = &self.slots[slot];
        let lease = self.number();
        let head = self.announce(TAKING, slot as u32);
        if let Some(ordered) = &self.shelf {
            ordered.remove(0, minus(ordered.words.sorted.load(Relaxed), head) as usize);
        }
        words.delivery.store(delivery, Relaxed);
        words.lease.store(lease, Relaxed);
        words.since.store(kernel.now(), Relaxed);
        words.owner.store(owner.0, Release);
        self.words.get.head.store(plus(head, 1), Release);
        if let Some(ordered) = &self.shelf {
            ordered.forget(slot);
        }
        self.words.get.intent.step.store(0, Release);
        lease
    }

    /// Frees a slot that somebody owned: the end of a lease, of a dead process's loan, of a buried message.
    pub fn end_owned(&self, kernel: &dyn Kernel, slot: usize) {
        self.announce(FREEING, slot as u32);
        self.slots[slot].owner.store(0, Release);
        self.free_owned(kernel, slot);
    }

    /// Makes an owned slot a message again, or for the first time: in front, or on the shelf at that end of its equals. The caller
    /// tells the getters with [`Self::tell_getters`].
    pub fn return_owned(&self, slot: usize, end: End) -> Result<()> {
        if let Some(ordered) = &self.shelf {
            // What arrived before it takes its place before it.
            self.sort_in(ordered)?;
        }
        let words = &self.slots[slot];
        words.returns.store(words.delivery.load(Relaxed), Relaxed);
        let head = self.announce(RETURNING, slot as u32);
        let front = minus(head, 1);
        match &self.shelf {
            None => self.ring[self.position(front)].store(slot as u32, Relaxed),
            Some(ordered) => ordered.add(slot, end, minus(ordered.words.sorted.load(Relaxed), head) as usize),
        }
        self.words.get.head.store(front, Release);
        words.owner.store(0, Release);
        self.words.get.intent.step.store(0, Release);
        Ok(())
    }

    /// The number of the next lease or loan; never 0.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.words.get.leases.fetch_add(1, Relaxed).wrapping_add(1).max(1)
    }

    #[inline]
    pub(super) fn announce(&self, step: u32, operand: u32) -> u32 {
        let (get, intent) = (&self.words.get, &self.words.get.intent);
        let head = get.head.load(Relaxed);
        intent.operand.store(operand, Relaxed);
        intent.head.store(head, Relaxed);
        intent.freed.store(self.words.freed.word.load(Relaxed) & COUNT, Relaxed);
        if !planted(Fault::UnannouncedStep) {
            intent.step.store(step, Release);
        }
        head
    }

    /// The last step of getting: the slots of the messages that left the front enter the free ring. Their places in the
    /// message ring keep their numbers, since no other messages can take them before the slots are free.
    #[inline]
    pub(super) fn free_dropped(&self, kernel: &dyn Kernel, head: u32, count: u32) {
        let freed = self.words.freed.word.load(Relaxed);
        for index in 0..count {
            let slot = self.ring[self.position(plus(head, index))].load(Relaxed);
            self.free[self.position(plus(freed, index))].store(slot, Relaxed);
        }
        self.free(kernel, count);
    }

    /// The last step of freeing: the slot enters the free ring.
    #[inline]
    pub(super) fn free_owned(&self, kernel: &dyn Kernel, slot: usize) {
        let freed = self.words.freed.word.load(Relaxed);
        self.free[self.position(freed)].store(slot as u32, Relaxed);
        self.free(kernel, 1);
    }

    /// So many more slots are free: the commit, and the wakes that it owes.
    #[inline]
    fn free(&self, kernel: &dyn Kernel, count: u32) {
        let freed = self.words.freed.word.load(Relaxed);
        // SYNC(queue-1): pairs with `free_slot`.
        let quick = freed & !COUNT == 0
            && self.words.freed.word.compare_exchange(freed, plus(freed, count), AcqRel, Relaxed).is_ok();
        if !quick {
            self.free_slow(kernel, count);
        }
        self.words.get.intent.step.store(0, Release);
    }

    #[cold]
    fn free_slow(&self, kernel: &dyn Kernel, count: u32) {
        let _owed = Owed::name(kernel, &self.words.baton);
        let gauge = &self.words.freed;
        let calls = self.words.calls.load(Acquire);
        let mut word = gauge.word.load(Relaxed);
        loop {
            let next = word & !(COUNT | SLEEPERS) | plus(word, count);
            match gauge.word.compare_exchange(word, next, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(other) => word = other,
            }
        }
        if word & SLEEPERS != 0 {
            self.wake(kernel, gauge, word, count, calls);
        }
        if word & (JOINERS | CLOSED) != 0 && self.drained() {
            self.tell_all(kernel);
        }
    }
}
