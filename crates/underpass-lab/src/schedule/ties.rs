//! What steps use of the kernel's: the questions that they ask, the queues that they sleep in, whom they wake.
//!
//! It goes into the record, where the partial-order reduction finds which steps' order can matter.

use crate::choice::{Process, Task};
use crate::record::{Manner, Thing};
use crate::schedule::Schedule;

impl Schedule {
    /// Whether a life goes on: the step that is under way asks.
    pub fn alive(&mut self, life: u32) -> bool {
        self.tie_life(life, Manner::Look);
        self.world.alive(life)
    }

    /// Nanoseconds of the virtual clock: the step that is under way asks.
    pub fn now(&mut self) -> u64 {
        self.tie(Thing::Clock, Manner::Look);
        self.world.now()
    }

    /// How many sleep on words of the object at an address: the step that is under way asks.
    pub fn sleepers(&mut self, address: usize) -> usize {
        self.tie_word(address, Manner::Look);
        self.world.object_at(address).map_or(0, |object| self.world.sleepers(object))
    }

    /// The step that is under way is a line of the program: it may use whatever other lines do.
    pub fn run_line(&mut self) {
        self.tie(Thing::Program, Manner::Change);
    }

    /// It uses those who sleep on a word.
    pub(super) fn tie_word(&mut self, word: usize, manner: Manner) {
        let thing = self.world.object_at(word).map_or(Thing::Word(word), Thing::Sleepers);
        self.tie(thing, manner);
    }

    /// It uses those who sleep where a task does.
    pub(super) fn tie_words_of(&mut self, task: Task, manner: Manner) {
        let words: Vec<usize> = self.world.words_of(task).collect();
        for word in words {
            self.tie_word(word, manner);
        }
    }

    /// It uses a life.
    pub(super) fn tie_life(&mut self, life: u32, manner: Manner) {
        if let Some(process) = self.world.process_of(life) {
            self.tie(Thing::Life(process), manner);
        }
    }

    /// It wakes whom the kernel wakes at the end of a task.
    pub(super) fn tie_baton_of(&mut self, task: Task) {
        let baton = self.world.baton_of(task);
        if baton != 0 {
            self.tie_word(baton, Manner::Change);
        }
    }

    /// It ends a process.
    pub(super) fn tie_death(&mut self, process: Process) {
        self.tie(Thing::Life(process), Manner::Change);
        for task in self.world.tasks_of(process).collect::<Vec<_>>() {
            if self.world.is_asleep(task) {
                self.tie_words_of(task, Manner::Leave);
            }
            self.tie_baton_of(task);
        }
    }

    /// It has woken tasks.
    pub(super) fn tie_roused(&mut self) {
        for task in self.world.roused() {
            self.tie(Thing::Task(task), Manner::Change);
        }
    }
}
