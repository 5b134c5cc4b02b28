//! What one operation is to those who wait: it mends what the dead have left, and a unit that it takes is its process's.

use std::cell::Cell;

use underpass_shm::life::Me;
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::Release;

use super::super::{RESET, UNIT};
use super::{Leased, Step, process_of};
use crate::kernel::{Kernel, Watch};
use crate::waiters::{Before, Room, Wish};

/// One operation of a process on it.
pub struct Turn<'a> {
    leased: &'a Leased,
    kernel: &'a dyn Kernel,
    pub me: Me,
    /// It has taken its place among those who wait: a unit is handed to it from now on.
    queued: Cell<bool>,
}

impl<'a> Turn<'a> {
    pub fn new(leased: &'a Leased, kernel: &'a dyn Kernel, me: Me) -> Self {
        Self { leased, kernel, me, queued: Cell::new(false) }
    }
}

impl Room for Turn<'_> {
    fn operation(&self) -> Operation {
        Operation::Acquire
    }

    fn goes_before(&self, before: Before, _comes: Wish) -> bool {
        let is_before = |order| self.leased.waiters.is_a_task_before(before, order);
        before.given != Some(RESET) && self.leased.order.is_some_and(is_before)
    }

    fn ready(&self, wish: Wish) -> bool {
        self.leased.free() > 0 || self.leased.is_stale(wish)
    }

    fn queued(&self) {
        self.queued.set(true);
        // Nobody would tell this sleeper of one who has died already.
        self.leased.reap(self.kernel, self.me);
        self.leased.roster().found(self.kernel.now());
        self.leased.serve_if_due(self.kernel);
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        let Leased { order, .. } = self.leased;
        if self.leased.is_stale(wish) {
            return Some(RESET);
        }
        if self.leased.free() == 0 || order.is_some() && self.queued.get() {
            return None;
        }
        // Without a place on the roster it waits for one, as for a unit.
        let entry = self.leased.list(self.kernel, self.me.process).ok()?;
        self.leased.count_one(entry);
        Some(UNIT)
    }

    fn watch<'a>(&'a self, _wish: Wish, watch: &mut Watch<'a>) {
        self.leased.roster().watch(self.me.process, watch);
    }

    fn mend(&self, kernel: &dyn Kernel) {
        self.leased.complete();
        self.leased.reap(kernel, self.me);
        self.leased.serve_if_due(kernel);
    }

    fn take_back(&self, kernel: &dyn Kernel, slot: usize, given: u64) {
        let leased = self.leased;
        let _owed = leased.waiters.begin(kernel);
        let process = process_of(leased.waiters.wish(slot));
        // Of a process that was struck out all units are back already, this one among them.
        if given == UNIT
            && let Some(entry) = leased.roster().find(process)
        {
            let step = Step { gives: false, slot, entry, before: leased.roster().count(entry) };
            leased.words.step.store(step.word(), Release);
            leased.roster().set(entry, step.after());
            leased.waiters.dismiss(slot);
            leased.words.step.store(0, Release);
        } else {
            leased.waiters.dismiss(slot);
        }
        leased.serve(kernel);
    }
}
