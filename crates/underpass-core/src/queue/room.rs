//! The room: slots, a ring of the slots that hold messages, a ring of the free ones, and two sides.
//!
//! Putters and getters have a lock each and never take both. Payload and order are apart: the rings hold slot numbers,
//! so that a lease takes its slot out of the order without blocking it, and a dead worker's message goes back in front.
//!
//! Invariant: every slot is in exactly one place: in the message ring [head, tail), in the free ring
//! [taken, freed), owned by a process (`SlotWords::owner`), or named by the intent of a side whose lock is held.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::{
    CLOSED, COUNT, FREEING, GETTING, Gauge, JOINERS, RETURNING, RoomWords, SlotWords, TAKING,
};
use underpass_shm::life::{Life, Me};
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::kernel::{Kernel, Owed};
use crate::lock::{Held, Lock};
use crate::wait::Patience;
use crate::{Error, Result};

/// A handle of a room.
#[derive(Debug, Clone)]
pub struct Room {
    /// The words.
    pub words: Placed<RoomWords>,
    /// What is known of each slot.
    pub slots: PlacedSlice<SlotWords>,
    /// Slot numbers of messages, in order.
    pub ring: PlacedSlice<AtomicU32>,
    /// Slot numbers of free slots.
    pub free: PlacedSlice<AtomicU32>,
    /// The payload of each slot.
    pub blocks: Blocks,
    /// Longest message; blocks are rounded up to whole cache lines.
    pub longest: usize,
}

/// The difference of two counters.
#[inline]
pub fn minus(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b) & COUNT
}

#[inline]
fn plus(a: u32, b: u32) -> u32 {
    a.wrapping_add(b) & COUNT
}

impl Room {
    /// Sets up zeroed words: every slot is free. Before anybody else sees them.
    pub fn format(&self) {
        for (slot, index) in self.free.iter().enumerate().take(self.slots.len()) {
            index.store(slot as u32, Relaxed);
        }
        self.words.freed.word.store(self.slots.len() as u32, Release);
    }

    /// Slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Enters the putters' side; what a dead one left half done is settled.
    #[inline]
    pub fn putters<'a>(&'a self, kernel: &'a dyn Kernel, patience: &Patience, me: Me) -> Result<Held<'a>> {
        let held = Lock(&self.words.put.lock).acquire(kernel, patience, me)?;
        if held.inherited {
            self.settle_put(kernel);
        }
        Ok(held)
    }

    /// Enters the getters' side; what a dead one left half done is settled.
    #[inline]
    pub fn getters<'a>(&'a self, kernel: &'a dyn Kernel, patience: &Patience, me: Me) -> Result<Held<'a>> {
        let held = Lock(&self.words.get.lock).acquire(kernel, patience, me)?;
        if held.inherited {
            self.settle_get(kernel)?;
        }
        Ok(held)
    }

    // ── the putters' side, under its lock ───────────────────────────────────────────────────────────────────────────

    /// The next free slot, if there is one. It stays in the free ring until `tail` or `extra` moves.
    #[inline]
    pub fn free_slot(&self) -> Result<Option<usize>> {
        let put = &self.words.put;
        let taken = plus(self.words.tail.word.load(Relaxed), put.extra.load(Relaxed));
        if taken == put.freed_seen.load(Relaxed) {
            // SYNC(queue-1): pairs with `free_slots`, which wrote the ring before the count.
            let freed = self.words.freed.word.load(Acquire) & COUNT;
            put.freed_seen.store(freed, Relaxed);
            if taken == freed {
                return Ok(None);
            }
        }
        self.slot_in(&self.free, taken).map(Some)
    }

    /// Puts the slot that [`Self::free_slot`] found at the back: the message exists from here on.
    #[inline]
    pub fn put_slot(&self, kernel: &dyn Kernel, slot: usize) -> Result<()> {
        let tail = self.words.tail.word.load(Relaxed);
        self.ring[self.position(tail)].store(slot as u32, Relaxed);
        self.arrive(kernel, true)
    }

    /// The slot that was put last; it may have been taken out since.
    #[must_use]
    pub fn last_put(&self) -> Option<usize> {
        let last = minus(self.words.tail.word.load(Relaxed), 1);
        self.slot_in(&self.ring, last).ok()
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
        self.ring[self.position(tail)].store(slot as u32, Relaxed);
        // Before it arrives: a getter that takes it makes itself the owner.
        words.owner.store(0, Release);
        let arrived = self.arrive(kernel, refuse_closed);
        if arrived.is_err() {
            words.owner.store(owner, Release);
        } else {
            put.extra.store(minus(extra, 1), Release);
        }
        put.intent.slot.store(0, Release);
        arrived
    }

    /// The dead holder of the putters' lock was moving an owned slot, or nothing that needs care.
    fn settle_put(&self, kernel: &dyn Kernel) {
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
        self.tell_all(kernel);
    }

    /// One more message at the back: the commit of every put, and the wake that it owes.
    #[inline]
    fn arrive(&self, kernel: &dyn Kernel, refuse_closed: bool) -> Result<()> {
        let tail = &self.words.tail;
        let word = tail.word.load(Relaxed);
        if word & (SLEEPERS | CLOSED) == 0 {
            // SYNC(queue-2): pairs with `front`, which reads the ring and the payload after the count.
            let next = word & !COUNT | plus(word, 1);
            if tail.word.compare_exchange(word, next, AcqRel, Relaxed).is_ok() {
                return Ok(());
            }
        }
        self.arrive_slow(kernel, refuse_closed)
    }

    #[cold]
    fn arrive_slow(&self, kernel: &dyn Kernel, refuse_closed: bool) -> Result<()> {
        let tail = &self.words.tail;
        let _owed = Owed::name(kernel, &tail.baton);
        loop {
            let word = tail.word.load(Relaxed);
            if refuse_closed && word & CLOSED != 0 {
                return Err(Error::EndOfStream);
            }
            let next = word & !(COUNT | SLEEPERS) | plus(word, 1);
            if tail.word.compare_exchange(word, next, AcqRel, Relaxed).is_ok() {
                if word & SLEEPERS != 0 {
                    kernel.wake(&tail.word, 1);
                }
                return Ok(());
            }
        }
    }

    // ── the getters' side, under its lock ───────────────────────────────────────────────────────────────────────────

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

    /// Ends the front message: it has been copied out.
    #[inline]
    pub fn drop_front(&self, kernel: &dyn Kernel, slot: usize) {
        let head = self.announce(GETTING, slot);
        self.words.get.head.store(plus(head, 1), Release);
        self.free_owned(kernel, slot);
    }

    /// Leases the front message to `owner`.
    pub fn lease_front(&self, kernel: &dyn Kernel, slot: usize, owner: Life, delivery: u32) -> u32 {
        let words = &self.slots[slot];
        let lease = self.number();
        let head = self.announce(TAKING, slot);
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
        self.announce(FREEING, slot);
        self.slots[slot].owner.store(0, Release);
        self.free_owned(kernel, slot);
    }

    /// Puts a leased message back in front. The caller tells the getters with [`Self::tell_getters`].
    pub fn return_front(&self, slot: usize) {
        let words = &self.slots[slot];
        words.returns.store(words.delivery.load(Relaxed), Relaxed);
        let head = self.announce(RETURNING, slot);
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
    fn announce(&self, step: u32, slot: usize) -> u32 {
        let (get, intent) = (&self.words.get, &self.words.get.intent);
        let head = get.head.load(Relaxed);
        intent.slot.store(slot as u32, Relaxed);
        intent.head.store(head, Relaxed);
        intent.freed.store(self.words.freed.word.load(Relaxed) & COUNT, Relaxed);
        intent.step.store(step, Release);
        head
    }

    /// The last step of an announced operation: the slot enters the free ring.
    #[inline]
    fn free_owned(&self, kernel: &dyn Kernel, slot: usize) {
        let freed = self.words.freed.word.load(Relaxed);
        self.free[self.position(freed)].store(slot as u32, Relaxed);
        if freed & !COUNT == 0 {
            // SYNC(queue-1): pairs with `free_slot`.
            if self.words.freed.word.compare_exchange(freed, plus(freed, 1), AcqRel, Relaxed).is_ok() {
                self.words.get.intent.step.store(0, Release);
                return;
            }
        }
        self.free_slow(kernel);
        self.words.get.intent.step.store(0, Release);
    }

    #[cold]
    fn free_slow(&self, kernel: &dyn Kernel) {
        let gauge = &self.words.freed;
        let owed = Owed::name(kernel, &gauge.baton);
        let mut word = gauge.word.load(Relaxed);
        loop {
            let next = word & !(COUNT | SLEEPERS) | plus(word, 1);
            match gauge.word.compare_exchange(word, next, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(other) => word = other,
            }
        }
        if word & SLEEPERS != 0 {
            // Joiners sleep on the same word, and one of them could swallow a putter's wake.
            kernel.wake(&gauge.word, if word & JOINERS == 0 { 1 } else { u32::MAX });
        }
        drop(owed);
        if word & (JOINERS | CLOSED) != 0 && self.drained() {
            self.tell_all(kernel);
        }
    }

    /// The dead holder of the getters' lock was in the middle of a step: what it had committed is completed.
    fn settle_get(&self, kernel: &dyn Kernel) -> Result<()> {
        let (get, intent) = (&self.words.get, &self.words.get.intent);
        let step = intent.step.load(Acquire);
        let slot = intent.slot.load(Relaxed) as usize;
        let words = match self.slots.get(slot) {
            Some(words) if step != 0 => words,
            None if step != 0 => {
                return Err(Error::Corrupted(format!("slot {slot} of {} is under way", self.capacity())));
            }
            _ => return Ok(()),
        };
        let moved = get.head.load(Acquire) != intent.head.load(Relaxed);
        let freed = self.words.freed.word.load(Acquire) & COUNT != intent.freed.load(Relaxed);
        match step {
            GETTING if moved && !freed => self.free_owned(kernel, slot),
            FREEING if !freed => {
                words.owner.store(0, Release);
                self.free_owned(kernel, slot);
            }
            TAKING if !moved => words.owner.store(0, Release),
            RETURNING if moved => words.owner.store(0, Release),
            _ => {}
        }
        intent.step.store(0, Release);
        // The dead one may have owed any wake of this side.
        self.tell_all(kernel);
        Ok(())
    }

    // ── from anywhere ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Wakes up to `count` getters: messages came back to the front.
    pub fn tell_getters(&self, kernel: &dyn Kernel, count: u32) {
        tell(kernel, &self.words.tail, SLEEPERS, count);
    }

    /// Wakes up to `count` putters.
    pub fn tell_putters(&self, kernel: &dyn Kernel, count: u32) {
        tell(kernel, &self.words.freed, SLEEPERS, count);
    }

    /// Wakes everybody: they look at the state again, and at whom to watch.
    pub fn tell_all(&self, kernel: &dyn Kernel) {
        tell(kernel, &self.words.tail, SLEEPERS, u32::MAX);
        tell(kernel, &self.words.freed, SLEEPERS | JOINERS, u32::MAX);
    }

    /// Messages queued: exact at some instant of the call.
    #[must_use]
    pub fn depth(&self) -> u32 {
        loop {
            let head = self.words.get.head.load(Acquire);
            let tail = self.words.tail.word.load(Acquire) & COUNT;
            if self.words.get.head.load(Acquire) == head {
                return minus(tail, head).min(self.capacity());
            }
        }
    }

    /// Nothing is queued, leased or lent.
    ///
    /// The four are read in the order in which a message moves, so that one that moves meanwhile is seen at least once.
    #[must_use]
    pub fn drained(&self) -> bool {
        let freed = self.words.freed.word.load(Acquire) & COUNT;
        let head = self.words.get.head.load(Acquire);
        let extra = self.words.put.extra.load(Acquire);
        let tail = self.words.tail.word.load(Acquire) & COUNT;
        let owned = minus(plus(plus(self.capacity(), extra), head), freed);
        head == tail && owned == 0
    }

    /// The length of a slot's message, checked.
    #[inline]
    pub fn length(&self, slot: usize) -> Result<usize> {
        let length = self.slots[slot].length.load(Relaxed) as usize;
        if length <= self.longest {
            return Ok(length);
        }
        Err(Error::Corrupted(format!("a message of {length} bytes in a slot of {}", self.longest)))
    }

    #[inline]
    fn position(&self, count: u32) -> usize {
        (count & COUNT) as usize & (self.ring.len() - 1)
    }

    #[inline]
    fn slot_in(&self, ring: &[AtomicU32], count: u32) -> Result<usize> {
        let slot = ring[self.position(count)].load(Relaxed) as usize;
        if slot < self.slots.len() {
            return Ok(slot);
        }
        Err(Error::Corrupted(format!("slot {slot} of {}", self.slots.len())))
    }
}

/// Clears the sleepers' bits, so that who is about to sleep looks again, and wakes those who do.
fn tell(kernel: &dyn Kernel, gauge: &Gauge, bits: u32, count: u32) {
    let owed = Owed::name(kernel, &gauge.baton);
    let word = gauge.word.fetch_and(!bits, AcqRel);
    if word & bits != 0 {
        kernel.wake(&gauge.word, if word & JOINERS == 0 { count } else { u32::MAX });
    }
    drop(owed);
}
