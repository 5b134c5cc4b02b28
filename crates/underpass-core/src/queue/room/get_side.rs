//! The getters' side, under its lock.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::{CLOSED, COUNT, FREEING, GETTING, JOINERS, RETURNING, TAKING};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{Room, minus, plus};
use crate::kernel::{Kernel, Owed};
use crate::planted::{Fault, planted};
use crate::wait::Sleepers as _;
use crate::{Error, Result};

impl Room {
    /// The slot of the message at `index` from the front, if there is one.
    #[inline]
    pub fn front(&self, index: u32) -> Result<Option<usize>> {
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

    /// Ends the first `count` messages: they have been copied out.
    #[inline]
    pub fn drop_front(&self, kernel: &dyn Kernel, count: u32) {
        // Who sleeps for room is told if this thread dies between the two stores.
        let asleep = self.words.freed.word.load(Relaxed) & !COUNT != 0;
        let _owed = asleep.then(|| Owed::name(kernel, &self.words.baton));
        let head = self.announce(GETTING, count);
        self.words.get.head.store(plus(head, count), Release);
        self.free_dropped(kernel, head, count);
    }

    /// Leases the front message to `owner`.
    pub fn lease_front(&self, kernel: &dyn Kernel, slot: usize, owner: Life, delivery: u32) -> u32 {
        let words = &self.slots[slot];
        let lease = self.number();
        let head = self.announce(TAKING, slot as u32);
        words.delivery.store(delivery, Relaxed);
        words.lease.store(lease, Relaxed);
        words.since.store(kernel.now(), Relaxed);
        words.owner.store(owner.0, Release);
        self.words.get.head.store(plus(head, 1), Release);
        self.words.get.intent.step.store(0, Release);
        lease
    }

    /// Frees a slot that somebody owned: the end of a lease, of a dead process's loan, of a buried message.
    pub fn end_owned(&self, kernel: &dyn Kernel, slot: usize) {
        self.announce(FREEING, slot as u32);
        self.slots[slot].owner.store(0, Release);
        self.free_owned(kernel, slot);
    }

    /// Puts a leased message back in front. The caller tells the getters with [`Self::tell_getters`].
    pub fn return_front(&self, slot: usize) {
        let words = &self.slots[slot];
        words.returns.store(words.delivery.load(Relaxed), Relaxed);
        let head = self.announce(RETURNING, slot as u32);
        let front = minus(head, 1);
        self.ring[self.position(front)].store(slot as u32, Relaxed);
        self.words.get.head.store(front, Release);
        words.owner.store(0, Release);
        self.words.get.intent.step.store(0, Release);
    }

    /// The number of the next lease or loan; never 0.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.words.get.leases.fetch_add(1, Relaxed).wrapping_add(1).max(1)
    }

    #[inline]
    fn announce(&self, step: u32, operand: u32) -> u32 {
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
    fn free_dropped(&self, kernel: &dyn Kernel, head: u32, count: u32) {
        let freed = self.words.freed.word.load(Relaxed);
        for index in 0..count {
            let slot = self.ring[self.position(plus(head, index))].load(Relaxed);
            self.free[self.position(plus(freed, index))].store(slot, Relaxed);
        }
        self.free(kernel, count);
    }

    /// The last step of freeing: the slot enters the free ring.
    #[inline]
    fn free_owned(&self, kernel: &dyn Kernel, slot: usize) {
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

    /// The dead holder of the getters' lock was in the middle of a step: what it had committed is completed.
    pub(super) fn settle_get(&self, kernel: &dyn Kernel) -> Result<()> {
        let (get, intent) = (&self.words.get, &self.words.get.intent);
        let (step, operand) = (intent.step.load(Acquire), intent.operand.load(Relaxed));
        let head = intent.head.load(Relaxed);
        let moved = get.head.load(Acquire) != head;
        let freed = self.words.freed.word.load(Acquire) & COUNT != intent.freed.load(Relaxed);
        let wrong = || Error::Corrupted(format!("{operand} of {} slots are under way", self.capacity()));
        match step {
            0 => return Ok(()),
            GETTING if operand > self.capacity() => return Err(wrong()),
            GETTING if moved && !freed => self.free_dropped(kernel, head, operand),
            GETTING => {}
            _ => {
                let words = self.slots.get(operand as usize).ok_or_else(wrong)?;
                match step {
                    FREEING if !freed => {
                        words.owner.store(0, Release);
                        self.free_owned(kernel, operand as usize);
                    }
                    TAKING if !moved => words.owner.store(0, Release),
                    RETURNING if moved => words.owner.store(0, Release),
                    _ => {}
                }
            }
        }
        intent.step.store(0, Release);
        // The dead one may have owed any wake of this side.
        self.words.recall(kernel);
        Ok(())
    }
}
