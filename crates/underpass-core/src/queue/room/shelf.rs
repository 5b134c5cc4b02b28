//! The shelf of a room that has an order of its own: a heap of the messages that getters have sorted in, by their keys.
//!
//! All of it is under the getters' lock, and is changed only while a step is announced. The keys say what is on the shelf; the
//! heap is an index of them, built anew by who inherits the lock in the middle of a step (Williams 1964).
//!
//! Invariant: outside a step, `sorted - head` keys are not 0, and the first so many positions of the heap are a heap of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use underpass_shm::layout::queue::{ShelfEntry, ShelfWords};
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::Ordering::{Relaxed, Release};

use super::order::{End, Order};

/// A handle of a shelf.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// The words.
    pub words: Placed<ShelfWords>,
    /// For each slot what is known of it, and the heap.
    pub entries: PlacedSlice<ShelfEntry>,
    /// What is got first.
    pub order: Order,
}

impl Shelf {
    /// Sets how urgent the message in a slot is, before it goes into the ring or on the shelf.
    #[inline]
    pub fn rank(&self, slot: usize, priority: u32) {
        self.entries[slot].priority.store(priority, Relaxed);
    }

    /// The slot at `index` in order of those `count` on the shelf, which is more: the first at once, others in O(index log index).
    #[must_use]
    pub fn nth(&self, index: usize, count: usize) -> usize {
        if index == 0 {
            return self.at(0);
        }
        let mut next = BinaryHeap::from([Reverse((self.key_at(0), 0))]);
        for _ in 0..index {
            let Some(Reverse((_, position))) = next.pop() else { break };
            let below = children(position).filter(|child| *child < count);
            next.extend(below.map(|child| Reverse((self.key_at(child), child))));
        }
        next.pop().map_or(usize::MAX, |Reverse((_, position))| self.at(position))
    }

    /// Puts a slot beside the `count` that are there.
    pub fn add(&self, slot: usize, end: End, count: usize) {
        let places = self.words.places.load(Relaxed);
        self.words.places.store(places.wrapping_add(1), Relaxed);
        let entry = &self.entries[slot];
        let key = self.order.key(entry.priority.load(Relaxed), end, places);
        entry.key.store(key, Release);
        let mut position = count;
        while position > 0 {
            let above = (position - 1) / 2;
            if self.key_at(above) <= key {
                break;
            }
            self.set(position, self.at(above));
            position = above;
        }
        self.set(position, slot);
    }

    /// The position of the one of `count` that is dropped for another of that priority; none: they are all more urgent.
    #[must_use]
    pub fn expendable(&self, priority: u32, count: usize) -> Option<usize> {
        let position = (0..count).max_by_key(|position| self.order.expendable(self.key_at(*position)))?;
        let ours = self.entries.get(self.at(position))?.priority.load(Relaxed);
        (self.order.rank(priority) <= self.order.rank(ours)).then_some(position)
    }

    /// Takes the one at a position of `count` out of the heap; its key stays.
    pub fn remove(&self, mut position: usize, count: usize) {
        let Some(left) = count.checked_sub(1).filter(|left| position < *left) else { return };
        let last = self.at(left);
        let key = self.key_of(last);
        // From another branch of the heap it may be ahead of those above.
        while position > 0 && key < self.key_at((position - 1) / 2) {
            let above = (position - 1) / 2;
            self.set(position, self.at(above));
            position = above;
        }
        while let Some(child) = children(position).filter(|child| *child < left).min_by_key(|child| self.key_at(*child))
        {
            if key <= self.key_at(child) {
                break;
            }
            self.set(position, self.at(child));
            position = child;
        }
        self.set(position, last);
    }

    /// A slot is not on the shelf any more.
    pub fn forget(&self, slot: usize) {
        if let Some(entry) = self.entries.get(slot) {
            entry.key.store(0, Release);
        }
    }

    /// Whether a slot is on the shelf.
    #[must_use]
    pub fn has(&self, slot: usize) -> bool {
        self.entries.get(slot).is_some_and(|entry| entry.key.load(Relaxed) != 0)
    }

    /// Builds the heap from the keys; how many there are.
    #[must_use]
    pub fn rebuild(&self) -> usize {
        let keys = self.entries.iter().enumerate().map(|(slot, entry)| (entry.key.load(Relaxed), slot));
        let mut kept: Vec<_> = keys.filter(|(key, _)| *key != 0).collect();
        // What is sorted is a heap.
        kept.sort_unstable();
        for (position, (_, slot)) in kept.iter().enumerate() {
            self.set(position, *slot);
        }
        kept.len()
    }

    /// The slot at a position of the heap, as the words say: whoever uses it checks it.
    #[must_use]
    pub fn at(&self, position: usize) -> usize {
        self.entries.get(position).map_or(usize::MAX, |entry| entry.heap.load(Relaxed) as usize)
    }

    fn set(&self, position: usize, slot: usize) {
        if let Some(entry) = self.entries.get(position) {
            entry.heap.store(slot as u32, Relaxed);
        }
    }

    pub(super) fn key_at(&self, position: usize) -> u64 {
        self.key_of(self.at(position))
    }

    fn key_of(&self, slot: usize) -> u64 {
        self.entries.get(slot).map_or(u64::MAX, |entry| entry.key.load(Relaxed))
    }
}

fn children(position: usize) -> impl Iterator<Item = usize> {
    [2 * position + 1, 2 * position + 2].into_iter()
}
