//! Messages that leave a room and are not got: they make room for others, or are taken out. Under the getters' lock.
//!
//! A ring has no gaps. So those before a message that leaves from among them move back by one, the last of them first, and it
//! leaves from the front. One of them stands twice meanwhile, which tells an heir how far that came.

use underpass_shm::layout::queue::{DROPPING, GETTING, REMOVING};
use underpass_shm::sync::Ordering::{Relaxed, Release};

use super::shelf::Shelf;
use super::{Room, plus};
use crate::Result;
use crate::kernel::{Kernel, Owed};

impl Room {
    /// Drops and counts the message that makes room for another of that priority; false: nobody does.
    pub fn make_room(&self, kernel: &dyn Kernel, priority: u32) -> Result<bool> {
        if self.front(0)?.is_none() {
            return Ok(false);
        }
        let _owed = Owed::name(kernel, &self.words.baton);
        self.words.get.intent.beside.store(self.words.dropped.load(Relaxed), Relaxed);
        match &self.shelf {
            None => {
                let head = self.announce(DROPPING, 1);
                self.words.get.head.store(plus(head, 1), Release);
                self.count_drop();
                self.free_dropped(kernel, head, 1);
            }
            Some(ordered) => {
                let count = self.shelved(ordered)?;
                let Some(position) = ordered.expendable(priority, count) else { return Ok(false) };
                self.end_shelved(kernel, ordered, position, count, DROPPING);
            }
        }
        Ok(true)
    }

    /// A drop is counted: once, also by an heir.
    pub(super) fn count_drop(&self) {
        let before = self.words.get.intent.beside.load(Relaxed);
        self.words.dropped.store(before.wrapping_add(1), Release);
    }

    /// Ends the first message, in the order in which they would be got, that has these bytes; false: none has.
    pub fn remove(&self, kernel: &dyn Kernel, data: &[u8]) -> Result<bool> {
        let (queued, mut copy) = (self.queued()?, vec![0; data.len()]);
        let Some(ordered) = &self.shelf else {
            for index in 0..queued {
                let Some(slot) = self.front(index)? else { break };
                if self.reads(slot, data, &mut copy)? {
                    self.end_among(kernel, index, slot);
                    return Ok(true);
                }
            }
            return Ok(false);
        };
        let mut found = None;
        for position in 0..queued as usize {
            let slot = ordered.at(position);
            if slot >= self.slots.len() {
                return Err(self.no_slot(slot));
            }
            if self.reads(slot, data, &mut copy)? {
                found = found.into_iter().chain([position]).min_by_key(|position| ordered.key_at(*position));
            }
        }
        let Some(position) = found else { return Ok(false) };
        let _owed = Owed::name(kernel, &self.words.baton);
        self.end_shelved(kernel, ordered, position, queued as usize, GETTING);
        Ok(true)
    }

    /// Whether the message in a slot has these bytes.
    fn reads(&self, slot: usize, data: &[u8], copy: &mut [u8]) -> Result<bool> {
        if self.length(slot)? != data.len() {
            return Ok(false);
        }
        self.blocks.read(slot, copy);
        Ok(copy == data)
    }

    /// Ends the message at a position of the heap of `count`, as if it were the first.
    fn end_shelved(&self, kernel: &dyn Kernel, ordered: &Shelf, position: usize, count: usize, step: u32) {
        let head = self.announce(step, 1);
        self.ring[self.position(head)].store(ordered.at(position) as u32, Relaxed);
        ordered.remove(position, count);
        self.words.get.head.store(plus(head, 1), Release);
        if step == DROPPING {
            self.count_drop();
        }
        self.forget_dropped(ordered, head, 1);
        self.free_dropped(kernel, head, 1);
    }

    /// Ends the message at `index` of the ring.
    fn end_among(&self, kernel: &dyn Kernel, index: u32, slot: usize) {
        let _owed = Owed::name(kernel, &self.words.baton);
        self.words.get.intent.beside.store(slot as u64, Relaxed);
        let head = self.announce(REMOVING, index);
        self.pull_to_front(head, index, slot as u32);
        self.words.get.head.store(plus(head, 1), Release);
        self.free_dropped(kernel, head, 1);
    }

    /// Moves a slot from its place behind `head` to the front, and those before it back by one; or goes on where one stopped who died.
    pub fn pull_to_front(&self, head: u32, index: u32, slot: u32) {
        let at = |place: u32| &self.ring[self.position(plus(head, place))];
        let twice = (1..=index).find(|place| at(*place).load(Relaxed) == at(place - 1).load(Relaxed));
        let left = match twice {
            Some(place) => place - 1,
            None if at(index).load(Relaxed) == slot => index,
            None => 0,
        };
        for place in (1..=left).rev() {
            at(place).store(at(place - 1).load(Relaxed), Release);
        }
        at(0).store(slot, Release);
    }
}
