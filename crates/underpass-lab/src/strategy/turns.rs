//! Round robin: everybody in turns, with few delays.
//!
//! Emmi, Qadeer and Rakamarić, "Delay-Bounded Scheduling", POPL 2011: a scheduler that draws nothing, which now and then
//! has to leave out whose turn it is. Here are four of them in turns: a turn is one step, as where coroutines take turns at each
//! `await`, or lasts until its task cannot go on; and who was started last goes first, which is what the author of a
//! program did not think of, or who was started first does. Their first schedules have no delay: everything happens
//! between any two steps of anybody, or nothing does. Those that follow have one to three, before steps whose order can matter.

use crate::choice::{Choice, Crossing, Task};
use crate::record::Record;
use crate::strategy::census::Census;
use crate::strategy::order::{Order, Ordered};
use crate::strategy::walk::Dice;

/// The most delays of a schedule.
const DELAYS: usize = 3;

/// Round robin, with few delays.
pub type Turns = Ordered<Round>;

/// Whose turn it is, in one schedule.
#[derive(Debug, Default)]
pub struct Round {
    /// How many schedules have begun.
    schedules: usize,
    /// Who was started last goes first.
    backwards: bool,
    /// A turn lasts until its task cannot go on.
    whole: bool,
    /// The steps before which a turn is left out, as [`Census::tells`] counts them.
    delays: [Option<usize>; DELAYS],
    /// Such steps that have been made.
    made: usize,
}

impl Ordered<Round> {
    /// The schedules of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::by(Round::default(), seed)
    }
}

impl Round {
    /// Where in the options the turn after that of `last` is.
    fn next(&self, options: &[Choice], last: Option<Task>) -> usize {
        let after = |option: &Choice| match (option, last) {
            (Choice::Run(task), Some(last)) if self.backwards => *task < last,
            (Choice::Run(task), Some(last)) => *task > last,
            _ => true,
        };
        if self.backwards {
            options.iter().rposition(after).unwrap_or(options.len() - 1)
        } else {
            options.iter().position(after).unwrap_or(0)
        }
    }

    /// Leaves out a turn, if one is to be left out at this step.
    fn delay(&mut self) -> bool {
        let made = Some(self.made);
        let Some(delay) = self.delays.iter_mut().find(|delay| **delay == made) else { return false };
        *delay = None;
        true
    }
}

impl Order for Round {
    fn begin(&mut self, known: &Census, dice: &mut Dice) {
        let (kind, before) = (self.schedules % 4, self.schedules / 4);
        self.schedules += 1;
        self.whole = kind % 2 == 1;
        self.backwards = kind < 2;
        self.made = 0;
        self.delays = [None; DELAYS];
        let delays = if before == 0 { 0 } else { (before - 1) % DELAYS + 1 };
        for delay in self.delays.iter_mut().take(delays) {
            *delay = Some(dice.below(known.telling().max(1)));
        }
    }

    fn choose(&mut self, crossing: &Crossing<'_>, runnable: usize, known: &Census, _dice: &mut Dice) -> usize {
        let options = &crossing.options[..runnable];
        let goes_on = crossing.straight_on().filter(|_| self.whole);
        let mut index = goes_on.unwrap_or_else(|| self.next(options, crossing.running));
        while let Choice::Run(task) = options[index]
            && known.tells(&crossing.pending[task.index()])
            && self.delay()
        {
            index = self.next(options, Some(task));
        }
        index
    }

    fn after(&mut self, record: &Record, step: usize, known: &Census, _dice: &mut Dice) {
        let Choice::Run(task) = record.choice(step) else { return };
        self.made += usize::from(known.tells(&record.pending(step)[task.index()]));
    }
}
