//! Partial order sampling: each step that is pending has a priority of its own.
//!
//! Yuan, Yang and Gu, "Partial Order Aware Concurrency Sampling", CAV 2018. The pending step with the highest priority is
//! made. Those that conflict with it draw anew, since they come after it now, whatever comes next: so orders that matter
//! are drawn again and again, and orders that do not are not.

use crate::choice::{Choice, Crossing};
use crate::record::Record;
use crate::strategy::census::Census;
use crate::strategy::order::{Order, Ordered};
use crate::strategy::walk::Dice;

/// Partial order sampling.
pub type Pos = Ordered<Draws>;

/// Priorities of pending steps.
#[derive(Debug)]
pub struct Draws {
    /// By [`Task::index`](crate::choice::Task::index).
    priorities: Vec<u64>,
}

impl Ordered<Draws> {
    /// The schedules of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::by(Draws { priorities: Vec::new() }, seed)
    }
}

impl Draws {
    fn admit(&mut self, tasks: usize, dice: &mut Dice) {
        while self.priorities.len() < tasks {
            self.priorities.push(dice.roll());
        }
    }
}

impl Order for Draws {
    fn begin(&mut self, _known: &Census, _dice: &mut Dice) {
        self.priorities.clear();
    }

    fn choose(&mut self, crossing: &Crossing<'_>, runnable: usize, _known: &Census, dice: &mut Dice) -> usize {
        self.admit(crossing.pending.len(), dice);
        let priority = |option: &Choice| if let Choice::Run(task) = option { self.priorities[task.index()] } else { 0 };
        (0..runnable).max_by_key(|index| priority(&crossing.options[*index])).unwrap_or(0)
    }

    fn after(&mut self, record: &Record, step: usize, _known: &Census, dice: &mut Dice) {
        let Choice::Run(task) = record.choice(step) else { return };
        let pending = record.pending(step);
        self.admit(pending.len(), dice);
        let made = pending[task.index()];
        for (priority, other) in self.priorities.iter_mut().zip(pending) {
            if other.conflicts(&made) {
                *priority = dice.roll();
            }
        }
        self.priorities[task.index()] = dice.roll();
    }
}
