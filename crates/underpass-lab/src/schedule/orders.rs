//! What one process of the program does to another: it kills it, stops it, and lets it go on.
//!
//! A signal is sent in a step of the sender, and comes to the other at that one's next turn, also if it sleeps; the sender waits until it
//! has. So a death is a step of who dies, and the partial-order reduction finds the steps that it could have done before.

use std::iter::{empty, once};

use crate::choice::{Process, Task};
use crate::record::{Manner, Thing};
use crate::schedule::Schedule;
use crate::world::Fate;

/// Where those sleep who wait for a fate to come: at no address of an object's.
fn word(process: Process) -> usize {
    process.index() + 1
}

impl Schedule {
    /// The running task sends a process its fate; to one that has come to its end, nothing.
    pub fn send(&mut self, fate: Fate, process: Process) {
        // Also where it comes too late.
        self.tie(Thing::Fate(process), Manner::Change);
        if self.is_over() || !self.goes_on(process) {
            return;
        }
        if self.running().is_some_and(|task| self.world.of_tasks()[task.index()] == process) {
            self.befall(process, fate);
        } else if self.world.fate(process) != Some(Fate::Dies) {
            self.world.set_fate(process, Some(fate));
        }
    }

    /// The running task sleeps until what was sent has come; false: it has.
    pub fn sleep_until_sent(&mut self, process: Process) -> bool {
        let Some(task) = self.running().filter(|_| self.goes_on(process) && self.world.fate(process).is_some()) else {
            return false;
        };
        self.tie_word(word(process), Manner::Change);
        self.world.sleep(task, once(word(process)), empty(), empty(), None);
        true
    }

    /// The running task lets a process go on.
    pub fn resume(&mut self, process: Process) {
        self.tie(Thing::Fate(process), Manner::Change);
        if self.is_over() || !self.goes_on(process) {
            return;
        }
        // It is what lets its next steps happen.
        for task in self.world.tasks_of(process).collect::<Vec<_>>() {
            self.tie(Thing::Task(task), Manner::Change);
        }
        self.world.hold(process, false);
    }

    /// A task has its turn: what was sent to its process comes now, if anything was.
    pub(super) fn meets_fate(&mut self, task: Task) -> bool {
        let process = self.world.of_tasks()[task.index()];
        let Some(fate) = self.world.fate(process) else { return false };
        self.record.mark_fate(fate);
        self.befall(process, fate);
        true
    }

    /// A process dies or stops, and who waits for that is told.
    pub(super) fn befall(&mut self, process: Process, fate: Fate) {
        match fate {
            Fate::Dies => {
                self.tie_death(process);
                self.world.kill(process);
            }
            Fate::Stops => self.world.hold(process, true),
        }
        if self.world.fate(process).is_some() {
            self.world.set_fate(process, None);
            self.wake(word(process), u32::MAX);
        }
    }

    fn goes_on(&self, process: Process) -> bool {
        self.world.tasks_of(process).any(|task| self.world.is_left(task))
    }
}
