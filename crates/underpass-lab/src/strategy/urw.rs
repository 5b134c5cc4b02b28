//! The uniform random walk: each whole schedule, not each step, is as likely as any other.
//!
//! Zhao, Wolff, Mathur and Roychoudhury, "Selectively Uniform Concurrency Testing", ASPLOS 2025. Among tasks with a and b
//! steps before them, a share a / (a + b) of all ways to go on begins with a step of the first: so a task goes on with a
//! weight of what it has before it. That is exact where nobody waits and the numbers, learned from earlier schedules, are true.

use crate::choice::{Choice, Crossing};
use crate::record::Record;
use crate::strategy::census::Census;
use crate::strategy::order::{Order, Ordered};
use crate::strategy::remaining::Remaining;
use crate::strategy::walk::Dice;

/// The uniform random walk.
pub type Urw = Ordered<Weights>;

/// Tasks weigh what they have before them.
#[derive(Debug)]
pub struct Weights {
    remaining: Remaining,
}

impl Ordered<Weights> {
    /// The schedules of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::by(Weights { remaining: Remaining::default() }, seed)
    }
}

impl Order for Weights {
    fn begin(&mut self, known: &Census, _dice: &mut Dice) {
        self.remaining.begin(known, None);
    }

    fn choose(&mut self, crossing: &Crossing<'_>, runnable: usize, _known: &Census, dice: &mut Dice) -> usize {
        self.remaining.admit(crossing.pending.len());
        weighted(&crossing.options[..runnable], &self.remaining, |_| true, dice)
    }

    fn after(&mut self, record: &Record, step: usize, _known: &Census, _dice: &mut Dice) {
        if let Choice::Run(task) = record.choice(step) {
            self.remaining.admit(record.pending(step).len());
            self.remaining.made(task);
        }
    }
}

/// One of the tasks that may go on, as likely as it has steps before it. Whoever can run has one, whatever the numbers say.
pub(crate) fn weighted(
    options: &[Choice],
    remaining: &Remaining,
    may: impl Fn(Choice) -> bool,
    dice: &mut Dice,
) -> usize {
    let weight = |option: &Choice| match option {
        Choice::Run(task) if may(*option) => remaining.of(*task).max(1),
        _ => 0,
    };
    let mut drawn = dice.below(options.iter().map(weight).sum());
    let reached = |option: &Choice| {
        let here = drawn < weight(option);
        drawn = drawn.wrapping_sub(weight(option));
        here
    };
    options.iter().position(reached).unwrap_or(0)
}
