//! Probabilistic concurrency testing: priorities, and few points at which they change.
//!
//! Burckhardt, Kothari, Musuvathi and Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs",
//! ASPLOS 2010. Whoever can run and has the highest priority does. Priorities are drawn; at d - 1 drawn steps whoever would
//! run falls below everybody else. A bug that takes d orders of two steps is found with a probability of at least
//! 1 / (n · k^(d-1)), where n is the number of tasks and k that of steps: here the most that a schedule has had so far, and
//! of those at objects that tasks share alone. A change before any other step is one before the task's next step at such an object.

use crate::choice::{Choice, Crossing, Task};
use crate::record::Record;
use crate::strategy::census::Census;
use crate::strategy::order::{Order, Ordered};
use crate::strategy::walk::Dice;

/// The most orders that are looked for at once.
const DEEPEST: usize = 4;
/// Priorities as drawn are above those after a change.
const DRAWN: u64 = 1 << 63;

/// Probabilistic concurrency testing.
pub type Pct = Ordered<Priorities>;

/// Priorities that change at few points.
#[derive(Debug)]
pub struct Priorities {
    /// By [`Task::index`].
    levels: Vec<u64>,
    /// The steps at which they change, as [`Census::tells`] counts them; the n-th gives the priority n.
    changes: [Option<usize>; DEEPEST - 1],
    /// Such steps that have been made.
    made: usize,
    /// Of this schedule.
    depth: usize,
    /// Of all schedules; none: 1, 2, 3, 4, 1, …
    fixed: Option<usize>,
}

impl Ordered<Priorities> {
    /// The schedules of a seed, for bugs of depths 1 to 4 in turns.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::by(Priorities::new(None), seed)
    }

    /// The schedules of a seed, for bugs of one depth, 1 to 4.
    #[must_use]
    pub fn of_depth(seed: u64, depth: usize) -> Self {
        Self::by(Priorities::new(Some(depth.clamp(1, DEEPEST))), seed)
    }
}

impl Priorities {
    fn new(fixed: Option<usize>) -> Self {
        Self { levels: Vec::new(), changes: [None; DEEPEST - 1], made: 0, depth: 0, fixed }
    }

    fn highest(&self, options: &[Choice]) -> usize {
        let level = |option: &Choice| if let Choice::Run(task) = option { self.levels[task.index()] } else { 0 };
        (0..options.len()).max_by_key(|index| level(&options[*index])).unwrap_or(0)
    }

    /// Lets a task fall if the priorities change at this step; each change is made once.
    fn change(&mut self, task: Task) -> bool {
        let made = self.made;
        let Some(level) = self.changes.iter().position(|at| *at == Some(made)) else { return false };
        self.changes[level] = None;
        self.levels[task.index()] = level as u64;
        true
    }

    fn admit(&mut self, tasks: usize, dice: &mut Dice) {
        while self.levels.len() < tasks {
            self.levels.push(DRAWN | dice.roll());
        }
    }
}

impl Order for Priorities {
    fn begin(&mut self, known: &Census, dice: &mut Dice) {
        self.depth = self.fixed.unwrap_or(self.depth % DEEPEST + 1);
        self.levels.clear();
        self.made = 0;
        self.changes = [None; DEEPEST - 1];
        for change in self.changes.iter_mut().take(self.depth - 1) {
            *change = Some(dice.below(known.telling().max(1)));
        }
    }

    fn choose(&mut self, crossing: &Crossing<'_>, runnable: usize, known: &Census, dice: &mut Dice) -> usize {
        self.admit(crossing.pending.len(), dice);
        let options = &crossing.options[..runnable];
        loop {
            let highest = self.highest(options);
            match options[highest] {
                Choice::Run(task) if known.tells(&crossing.pending[task.index()]) && self.change(task) => {}
                _ => return highest,
            }
        }
    }

    fn after(&mut self, record: &Record, step: usize, known: &Census, dice: &mut Dice) {
        let Choice::Run(task) = record.choice(step) else { return };
        let pending = record.pending(step);
        self.admit(pending.len(), dice);
        if known.tells(&pending[task.index()]) {
            // Where nothing had to be chosen, the change is made all the same.
            while self.change(task) {}
            self.made += 1;
        }
    }
}
