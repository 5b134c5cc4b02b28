//! The room: slots, a ring of the slots that hold messages, a ring of the free ones, and two sides.
//!
//! Putters and getters have a lock each; both has who drops a message for another. Payload and order are apart: the rings hold slot numbers,
//! so that a lease takes its slot out of the order without blocking it, and a dead worker's message goes back in front.
//!
//! A room with another order than that of arrival has a [`shelf`], where getters sort in what is in the message ring.
//!
//! Invariant: every slot is in exactly one place: in the message ring [head, tail), in the free ring
//! [taken, freed), owned by a process (`SlotWords::owner`), or named by the intent of a side whose lock is held.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::{CLOSED, COUNT, Gauge, JOINERS, RoomWords, SlotWords};
use underpass_shm::life::Me;
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

mod get_side;
mod leave;
pub mod order;
mod put_side;
mod settle;
pub mod shelf;

use crate::kernel::{Kernel, Owed, Watch};
use crate::lock::{Held, Lock};
use crate::planted::{Fault, planted};
use crate::wait::{Patience, Sleepers};
use crate::{Error, Result};
use shelf::Shelf;

/// In the upper half of `RoomWords::calls` they are counted that found nobody's bit.
const MISSED: u64 = 1 << 32;

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
    /// There in a room with another order than that of arrival.
    pub shelf: Option<Shelf>,
    /// It is for dead letters, whose slots tell which leases they were.
    pub has_letters: bool,
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
        let held = Lock(&self.words.put.lock, &*self.words).acquire(kernel, patience, me)?;
        if held.inherited {
            self.settle_put(kernel);
        }
        Ok(held)
    }

    /// Enters the getters' side; what a dead one left half done is settled.
    #[inline]
    pub fn getters<'a>(&'a self, kernel: &'a dyn Kernel, patience: &Patience, me: Me) -> Result<Held<'a>> {
        let held = Lock(&self.words.get.lock, &*self.words).acquire(kernel, patience, me)?;
        if held.inherited {
            self.settle_get(kernel)?;
        }
        Ok(held)
    }

    /// The putters' side, if nobody is there.
    pub fn putters_if_free<'a>(&'a self, kernel: &'a dyn Kernel, me: Me) -> Option<Held<'a>> {
        Lock(&self.words.put.lock, &*self.words).acquire_if_free(kernel, me)
    }

    /// The getters' side, if nobody is there.
    pub fn getters_if_free<'a>(&'a self, kernel: &'a dyn Kernel, me: Me) -> Option<Held<'a>> {
        Lock(&self.words.get.lock, &*self.words).acquire_if_free(kernel, me)
    }

    /// Wakes up to `count` getters: messages came back to the front.
    pub fn tell_getters(&self, kernel: &dyn Kernel, count: u32) {
        self.tell(kernel, &self.words.tail, count);
    }

    /// Wakes all getters: somebody else may put from now on, or nobody.
    pub fn tell_all_getters(&self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, &self.words.baton);
        let _ = call(&self.words);
        self.rouse(kernel, &self.words.tail, SLEEPERS);
    }

    /// One who slept has what it came for, and leaves `more` for others or not. `known` is what its [`Self::announce_sleeper`]
    /// before that sleep returned.
    pub fn pass_on(&self, kernel: &dyn Kernel, gauge: &Gauge, known: u64, more: bool) {
        // SYNC(queue-6): pairs with `rouse`: it sees this one's bit, or is seen.
        if self.words.calls.load(Acquire) / MISSED != known / MISSED {
            self.tell(kernel, gauge, u32::MAX);
        } else if more {
            self.tell(kernel, gauge, 1);
        }
    }

    /// Wakes up to `count` putters.
    pub fn tell_putters(&self, kernel: &dyn Kernel, count: u32) {
        self.tell(kernel, &self.words.freed, count);
    }

    /// Wakes all who sleep at the gauges: nothing will come any more, or there is somebody else to watch.
    pub fn tell_all(&self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, &self.words.baton);
        let _ = call(&self.words);
        for (gauge, bits) in [(&self.words.tail, SLEEPERS), (&self.words.freed, SLEEPERS | JOINERS)] {
            self.rouse(kernel, gauge, bits);
        }
    }

    /// Says that somebody is about to sleep at a gauge. Before it looks at anything: whoever changes that afterwards wakes
    /// it, or has it look again.
    pub fn announce_sleeper<'a>(&'a self, watch: &mut Watch<'a>, gauge: &'a Gauge, bit: u32) -> u64 {
        // SYNC(queue-4): pairs with `call`, which comes before the bit is cleared.
        let calls = self.words.calls.load(Acquire);
        watch.wide = Some((&self.words.calls, calls));
        watch.word(&gauge.word, gauge.word.fetch_or(bit, AcqRel) | bit);
        calls
    }

    /// Wakes all who sleep at a gauge. Who has cleared their bit to wake one leaves the others asleep without it: they are left to
    /// that one, which sets it again before it looks, and passes this on.
    fn rouse(&self, kernel: &dyn Kernel, gauge: &Gauge, bits: u32) {
        let is_cleared = || gauge.word.fetch_and(!bits, AcqRel) & bits != 0;
        let mut sleep = is_cleared();
        if !sleep && !planted(Fault::UnheardCall) && !planted(Fault::UncountedCall) {
            // SYNC(queue-6): pairs with `pass_on`.
            self.words.calls.fetch_add(MISSED, AcqRel);
            sleep = is_cleared();
        }
        if sleep {
            kernel.wake(&gauge.word, u32::MAX);
        }
    }

    /// Tells joiners, and the getters of a queue that ends, if nothing is left: a message that was moved to the back may have
    /// been got, and its slot freed, before it was no longer counted twice.
    fn tell_if_drained(&self, kernel: &dyn Kernel) {
        // SYNC(queue-5): pairs with `announce_sleeper`, both on this word: the joiner sees the count, or is seen.
        if self.words.freed.word.fetch_or(0, AcqRel) & (JOINERS | CLOSED) != 0 && self.drained() {
            self.tell_all(kernel);
        }
    }

    /// Wakes so many of those whose bits the caller has cleared in `word`, which it did after it read `calls`.
    fn wake(&self, kernel: &dyn Kernel, gauge: &Gauge, word: u32, count: u32, calls: u64) {
        // Joiners sleep on the same word as putters, and one of them could swallow a putter's wake.
        let mixed = word & JOINERS != 0;
        kernel.wake(&gauge.word, if mixed { u32::MAX } else { count });
        // So could one who came between the exchange and the wake. And whoever called somebody then found the bit cleared and
        // left them to this wake, which one who came later may have got.
        let joined = !mixed && gauge.word.load(Acquire) & JOINERS != 0;
        if joined || self.words.calls.load(Acquire) != calls {
            kernel.wake(&gauge.word, u32::MAX);
        }
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
        let (owned, head) = self.owned();
        let tail = self.words.tail.word.load(Acquire) & COUNT;
        head == tail && owned == 0
    }

    /// Somebody may hold a slot, for a message at work or on its way: never in vain while nothing moves.
    #[must_use]
    pub fn is_any_owned(&self) -> bool {
        self.owned().0 != 0
    }

    /// How many slots somebody holds, and the head: if nothing moves meanwhile.
    fn owned(&self) -> (u32, u32) {
        let freed = self.words.freed.word.load(Acquire) & COUNT;
        let head = self.words.get.head.load(Acquire);
        let extra = self.words.put.extra.load(Acquire);
        (minus(plus(plus(self.capacity(), extra), head), freed), head)
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
        if slot < self.slots.len() { Ok(slot) } else { Err(self.no_slot(slot)) }
    }

    #[cold]
    fn no_slot(&self, slot: usize) -> Error {
        Error::Corrupted(format!("slot {slot} of {}", self.slots.len()))
    }

    /// Has everybody look again who has announced himself and does not sleep yet.
    pub fn call(&self) {
        let _ = call(&self.words);
    }

    /// Clears the sleepers' bit, so that who is about to sleep looks again, and wakes up to `count` who do.
    pub fn tell(&self, kernel: &dyn Kernel, gauge: &Gauge, count: u32) {
        let _owed = Owed::name(kernel, &self.words.baton);
        let calls = call(&self.words);
        let word = gauge.word.fetch_and(!SLEEPERS, AcqRel);
        if word & SLEEPERS != 0 {
            self.wake(kernel, gauge, word, count, calls);
        }
    }
}

/// Has everybody look again who has announced himself and does not sleep yet; how many calls there were.
fn call(words: &RoomWords) -> u64 {
    // SYNC(queue-4): pairs with `announce_sleeper`. Not the bit alone: another may set it before they compare.
    let more = u64::from(!planted(Fault::UncountedCall));
    words.calls.fetch_add(more, AcqRel).wrapping_add(more)
}

/// All who sleep in a room: at a gauge, or for one of the two locks.
impl Sleepers for RoomWords {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, &self.baton);
        let _ = call(self);
        for word in [&self.tail.word, &self.freed.word, &self.put.lock.word, &self.get.lock.word] {
            // A sleeper may be there though the bit is not: one that was to be told by another, who died.
            let bits = if std::ptr::eq(word, &raw const self.freed.word) { SLEEPERS | JOINERS } else { SLEEPERS };
            word.fetch_and(!bits, AcqRel);
            kernel.wake(word, u32::MAX);
        }
    }
}
