//! The putters' side, under its lock.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::{CLOSED, COUNT};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{Room, minus, plus};
use crate::kernel::{Kernel, Owed};
use crate::planted::{Fault, planted};
use crate::wait::Sleepers as _;
use crate::{Error, Result};

impl Room {
    /// The free slot at `index` after those taken, if there are so many. It stays in the free ring until `tail` or
    /// `extra` moves.
    #[inline]
    pub fn free_slot(&self, index: u32) -> Result<Option<usize>> {
        let put = &self.words.put;
        if planted(Fault::LeaseInTheRing) && self.is_place_leased() {
            return Ok(None);
        }
        let taken = plus(self.words.tail.word.load(Relaxed), put.extra.load(Relaxed));
        if minus(put.freed_seen.load(Relaxed), taken) <= index {
            // SYNC(queue-1): pairs with `free`, which wrote the ring before the count.
            let freed = self.words.freed.word.load(Acquire) & COUNT;
            put.freed_seen.store(freed, Relaxed);
            if minus(freed, taken) <= index {
                return Ok(None);
            }
        }
        self.slot_in(&self.free, plus(taken, index)).map(Some)
    }

    /// What would hold up a ring of messages that do not move: the one a round before the next is not done with.
    fn is_place_leased(&self) -> bool {
        let place = self.position(self.words.tail.word.load(Relaxed)) % self.slots.len();
        self.slots[place].owner.load(Relaxed) != 0
    }

    /// Fills a slot with a new message.
    #[inline]
    pub fn write(&self, slot: usize, data: &[u8], priority: u32) {
        self.blocks.write(slot, data);
        self.describe(slot, data.len(), priority);
    }

    /// What is said of a new message, which is in its slot.
    #[inline]
    pub fn describe(&self, slot: usize, length: usize, priority: u32) {
        let words = &self.slots[slot];
        words.length.store(length as u32, Relaxed);
        words.returns.store(0, Relaxed);
        self.is_no_letter(slot);
        if let Some(ordered) = &self.shelf {
            ordered.rank(slot, priority);
        }
    }

    /// What somebody was about to bury in a free slot, and died, is not there any more: another message will be.
    #[inline]
    fn is_no_letter(&self, slot: usize) {
        if self.has_letters {
            self.slots[slot].origin.store(0, Relaxed);
        }
    }

    /// Writes a slot that [`Self::free_slot`] found where it will be the message at `index` behind the last one.
    #[inline]
    pub fn place(&self, slot: usize, index: u32) {
        let tail = plus(self.words.tail.word.load(Relaxed), index);
        self.ring[self.position(tail)].store(slot as u32, Relaxed);
    }

    /// Takes the slot that [`Self::free_slot`] found for `owner` to fill in place.
    pub fn lend_slot(&self, kernel: &dyn Kernel, slot: usize, owner: Life, loan: u32) {
        let words = &self.slots[slot];
        let extra = &self.words.put.extra;
        let intent = &self.words.put.intent;
        // Announced as a slot on its way to the back that has not arrived: who inherits finds its owner again.
        intent.tail.store(self.words.tail.word.load(Relaxed) & COUNT, Relaxed);
        intent.extra.store(plus(extra.load(Relaxed), 1), Relaxed);
        intent.owner.store(owner.0, Relaxed);
        self.is_no_letter(slot);
        words.delivery.store(0, Relaxed);
        words.lease.store(loan, Relaxed);
        words.since.store(kernel.now(), Relaxed);
        intent.slot.store(slot as u32 + 1, Release);
        extra.store(plus(extra.load(Relaxed), 1), Release);
        words.owner.store(owner.0, Release);
        intent.slot.store(0, Release);
    }

    /// Moves an owned slot to the back: the end of a loan, or a message put back there.
    pub fn append_owned(&self, kernel: &dyn Kernel, slot: usize, refuse_closed: bool) -> Result<()> {
        let (put, words) = (&self.words.put, &self.slots[slot]);
        let tail = self.words.tail.word.load(Relaxed);
        if refuse_closed && tail & CLOSED != 0 {
            return Err(Error::EndOfStream);
        }
        let (extra, owner) = (put.extra.load(Relaxed), words.owner.load(Relaxed));
        put.intent.tail.store(tail & COUNT, Relaxed);
        put.intent.extra.store(extra, Relaxed);
        put.intent.owner.store(owner, Relaxed);
        put.intent.slot.store(slot as u32 + 1, Release);
        self.place(slot, 0);
        // Before it arrives: a getter that takes it makes itself the owner.
        words.owner.store(0, Release);
        let arrived = self.arrive(kernel, 1, refuse_closed);
        if arrived.is_err() {
            words.owner.store(owner, Release);
        } else {
            put.extra.store(minus(extra, 1), Release);
            self.tell_if_drained(kernel);
        }
        put.intent.slot.store(0, Release);
        arrived
    }

    /// The dead holder of the putters' lock was moving an owned slot, or nothing that needs care.
    pub(super) fn settle_put(&self, kernel: &dyn Kernel) {
        let put = &self.words.put;
        let Some(slot) = put.intent.slot.load(Acquire).checked_sub(1) else { return };
        let before = put.intent.tail.load(Relaxed);
        let extra = put.intent.extra.load(Relaxed);
        if self.words.tail.word.load(Acquire) & COUNT == before {
            put.extra.store(extra, Release);
            if let Some(words) = self.slots.get(slot as usize) {
                words.owner.store(put.intent.owner.load(Relaxed), Release);
            }
        } else {
            put.extra.store(minus(extra, 1), Release);
        }
        put.intent.slot.store(0, Release);
        // The dead one may have owed any wake of this side, and what it did may have been the last there was to do.
        self.words.recall(kernel);
    }

    /// So many more messages at the back: the commit of every put, and the wakes that it owes.
    #[inline]
    pub fn arrive(&self, kernel: &dyn Kernel, count: u32, refuse_closed: bool) -> Result<()> {
        let tail = &self.words.tail;
        let word = tail.word.load(Relaxed);
        if word & (SLEEPERS | CLOSED) == 0 {
            // SYNC(queue-2): pairs with `front`, which reads the ring and the payload after the count.
            let next = word & !COUNT | plus(word, count);
            if tail.word.compare_exchange(word, next, AcqRel, Relaxed).is_ok() {
                return Ok(());
            }
        }
        self.arrive_slow(kernel, count, refuse_closed)
    }

    #[cold]
    fn arrive_slow(&self, kernel: &dyn Kernel, count: u32, refuse_closed: bool) -> Result<()> {
        let tail = &self.words.tail;
        let _owed = Owed::name(kernel, &self.words.baton);
        let calls = self.words.calls.load(Acquire);
        loop {
            let word = tail.word.load(Relaxed);
            if refuse_closed && word & CLOSED != 0 {
                return Err(Error::EndOfStream);
            }
            let next = word & !(COUNT | SLEEPERS) | plus(word, count);
            if tail.word.compare_exchange(word, next, AcqRel, Relaxed).is_ok() {
                if word & SLEEPERS != 0 {
                    self.wake(kernel, tail, word, count, calls);
                }
                return Ok(());
            }
        }
    }
}
