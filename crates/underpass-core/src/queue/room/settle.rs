//! The getters' side after a death: the step that was announced is completed, or never happened.

use underpass_shm::layout::queue::{COUNT, DROPPING, FREEING, GETTING, REMOVING, RETURNING, SORTING, TAKING};
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use super::shelf::Shelf;
use super::{Room, plus};
use crate::kernel::Kernel;
use crate::planted::{Fault, planted};
use crate::wait::Sleepers as _;
use crate::{Error, Result};

/// How far a step had come.
#[derive(Clone, Copy)]
struct Left {
    step: u32,
    operand: u32,
    /// `head` before it.
    head: u32,
    /// `head` moved.
    moved: bool,
    /// `freed` moved.
    freed: bool,
}

impl Room {
    /// The dead holder of the getters' lock was in the middle of a step: what it had committed is completed.
    pub(super) fn settle_get(&self, kernel: &dyn Kernel) -> Result<()> {
        let (get, intent) = (&self.words.get, &self.words.get.intent);
        let (step, operand) = (intent.step.load(Acquire), intent.operand.load(Relaxed));
        if step == 0 {
            return Ok(());
        }
        let head = intent.head.load(Relaxed);
        let moved = get.head.load(Acquire) != head;
        let freed = self.words.freed.word.load(Acquire) & COUNT != intent.freed.load(Relaxed);
        let most = if matches!(step, GETTING | DROPPING) { self.capacity() } else { self.capacity() - 1 };
        if operand > most {
            return Err(Error::Corrupted(format!("{operand} of {} slots are under way", self.capacity())));
        }
        let left = Left { step, operand, head, moved, freed };
        if let Some(ordered) = &self.shelf {
            self.settle_shelf(ordered, left)?;
        }
        let words = &self.slots[operand as usize % self.slots.len()];
        match step {
            GETTING if moved && !freed => self.free_dropped(kernel, head, operand),
            DROPPING if moved && !freed => {
                if !planted(Fault::UncountedDrop) {
                    self.count_drop();
                }
                self.free_dropped(kernel, head, 1);
            }
            REMOVING if !freed => {
                if !moved {
                    self.pull_to_front(head, operand, intent.beside.load(Relaxed) as u32);
                    get.head.store(plus(head, 1), Release);
                }
                self.free_dropped(kernel, head, 1);
            }
            FREEING if !freed => {
                words.owner.store(0, Release);
                self.free_owned(kernel, operand as usize);
            }
            TAKING if !moved => words.owner.store(0, Release),
            RETURNING if moved => words.owner.store(0, Release),
            _ => {}
        }
        intent.step.store(0, Release);
        // The dead one may have owed any wake of this side.
        self.words.recall(kernel);
        Ok(())
    }

    /// The keys agree with `head` again, and the heap with the keys. Before anything that says that the step is over.
    fn settle_shelf(&self, ordered: &Shelf, left: Left) -> Result<()> {
        match left.step {
            GETTING | DROPPING if left.moved && !left.freed => self.forget_dropped(ordered, left.head, left.operand),
            TAKING if left.moved => ordered.forget(left.operand as usize),
            RETURNING if !left.moved => ordered.forget(left.operand as usize),
            SORTING => {
                let sorted = ordered.words.sorted.load(Relaxed);
                if sorted != self.words.tail.word.load(Acquire) & COUNT
                    && ordered.has(self.slot_in(&self.ring, sorted)?)
                {
                    ordered.words.sorted.store(plus(sorted, 1), Release);
                }
            }
            _ => {}
        }
        if planted(Fault::StaleShelf) {
            return Ok(());
        }
        let (kept, count) = (ordered.rebuild(), self.shelved(ordered)?);
        if kept == count {
            return Ok(());
        }
        Err(Error::Corrupted(format!("{kept} keys are on a shelf of {count} messages")))
    }
}
