//! The selectively uniform random walk: the order of the steps at one object is as likely as any other of them.
//!
//! Zhao, Wolff, Mathur and Roychoudhury, "Selectively Uniform Concurrency Testing", ASPLOS 2025. For each schedule one
//! object is drawn from those that tasks share. Who next makes a step at it is drawn ahead, with a weight of the steps that
//! each still has there; whoever else comes to the object waits, and everything else goes on, here as in the uniform walk
//! ([`Urw`](crate::strategy::urw::Urw)). Few steps are ordered, so each of their orders comes up often, however many others there are.

use crate::choice::{Choice, Crossing, Object, Pending, Task};
use crate::record::Record;
use crate::strategy::census::Census;
use crate::strategy::order::{Order, Ordered};
use crate::strategy::remaining::Remaining;
use crate::strategy::urw::weighted;
use crate::strategy::walk::Dice;

/// The selectively uniform random walk.
pub type Surw = Ordered<Selection>;

/// One object, and whose turn at it is next.
#[derive(Debug)]
pub struct Selection {
    object: Option<Object>,
    remaining: Remaining,
    /// The same of all steps, wherever.
    everywhere: Remaining,
    tasks: usize,
    turn: Option<Task>,
    /// When the turn was drawn, in steps.
    since: usize,
    /// Whoever does not take its turn in so many steps loses it: it may wait for somebody who waits for it.
    patience: usize,
}

impl Ordered<Selection> {
    /// The schedules of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (remaining, everywhere) = (Remaining::default(), Remaining::default());
        Self::by(Selection { object: None, remaining, everywhere, tasks: 0, turn: None, since: 0, patience: 0 }, seed)
    }
}

impl Selection {
    /// It makes its next step at the object.
    fn is_there(&self, pending: &Pending) -> bool {
        self.object.is_some() && pending.object == self.object
    }

    /// It need not wait for its turn.
    fn is_free(&self, option: Choice, pending: &[Pending]) -> bool {
        let Choice::Run(task) = option else { return false };
        self.turn == Some(task) || !self.is_there(&pending[task.index()])
    }

    /// Whose turn is next, by what each has before it; none: nobody has anything.
    fn draw(&self, dice: &mut Dice) -> Option<Task> {
        let tasks = || (0..self.tasks as u32).map(Task);
        let all = tasks().map(|task| self.remaining.of(task)).sum();
        if all == 0 {
            return None;
        }
        let mut drawn = dice.below(all);
        tasks().find(|task| {
            let here = drawn < self.remaining.of(*task);
            drawn = drawn.wrapping_sub(self.remaining.of(*task));
            here
        })
    }
}

impl Order for Selection {
    fn begin(&mut self, known: &Census, dice: &mut Dice) {
        let shared = known.shared();
        self.object = if shared.is_empty() { None } else { Some(shared[dice.below(shared.len())]) };
        self.remaining.begin(known, self.object);
        self.everywhere.begin(known, None);
        self.tasks = 0;
        self.turn = None;
        self.since = 0;
        self.patience = known.longest();
    }

    fn choose(&mut self, crossing: &Crossing<'_>, runnable: usize, _known: &Census, dice: &mut Dice) -> usize {
        let Crossing { number, pending, .. } = *crossing;
        let options = &crossing.options[..runnable];
        self.tasks = pending.len();
        self.remaining.admit(self.tasks);
        self.everywhere.admit(self.tasks);
        if self.turn.is_none() {
            self.turn = self.draw(dice);
            self.since = number;
        }
        let somebody = options.iter().any(|option| self.is_free(*option, pending));
        if !somebody || number - self.since > self.patience {
            // Whose turn it is sleeps, is stopped or is dead, or goes round in circles: one of those who are here instead.
            let index = weighted(options, &self.remaining, |_| true, dice);
            if let Choice::Run(task) = options[index] {
                self.turn = Some(task);
                self.since = number;
            }
        }
        weighted(options, &self.everywhere, |option| self.is_free(option, pending), dice)
    }

    fn after(&mut self, record: &Record, step: usize, _known: &Census, _dice: &mut Dice) {
        let Choice::Run(task) = record.choice(step) else { return };
        let pending = record.pending(step);
        self.remaining.admit(pending.len());
        self.everywhere.admit(pending.len());
        self.everywhere.made(task);
        if self.is_there(&pending[task.index()]) {
            self.remaining.made(task);
            self.turn = None;
        }
    }
}
