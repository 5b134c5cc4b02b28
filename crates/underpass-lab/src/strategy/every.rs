//! Every schedule once, without any reduction: what other searches are measured against.

use crate::choice::Crossing;
use crate::record::Record;
use crate::strategy::Strategy;

/// A choice on the way to the schedule in progress.
#[derive(Debug, Clone, Copy)]
struct Fork {
    chosen: u32,
    width: u32,
}

/// All schedules, depth first.
#[derive(Debug, Default)]
pub struct Every {
    way: Vec<Fork>,
    /// How much of the way the schedule in progress has gone.
    gone: usize,
    schedules: u64,
    done: bool,
}

impl Every {
    /// All schedules, from the one in which the first option always happens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many schedules have begun.
    #[must_use]
    pub fn schedules(&self) -> u64 {
        self.schedules
    }

    /// The share of the tree behind the schedule in progress, 0 to 1: the probability that a random walk ends there.
    ///
    /// That is what Knuth's estimate of a tree's size ("Estimating the Efficiency of Backtrack Programs", 1975) sums up: a
    /// leaf weighs one over the product of the widths on the way to it.
    #[must_use]
    pub fn progress(&self) -> f64 {
        if self.done {
            return 1.0;
        }
        let (mut behind, mut share) = (0.0, 1.0);
        for fork in &self.way {
            share /= f64::from(fork.width);
            behind += share * f64::from(fork.chosen);
        }
        behind
    }
}

impl Strategy for Every {
    fn begin(&mut self) -> bool {
        self.gone = 0;
        if self.schedules > 0 {
            while self.way.pop_if(|fork| fork.chosen + 1 == fork.width).is_some() {}
            match self.way.last_mut() {
                Some(fork) => fork.chosen += 1,
                None => self.done = true,
            }
        }
        self.schedules += u64::from(!self.done);
        !self.done
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        if self.gone == self.way.len() {
            self.way.push(Fork { chosen: 0, width: 0 });
        }
        let fork = &mut self.way[self.gone];
        // A program that does not repeat itself has no tree; here it gets an end at least.
        fork.width = crossing.options.len() as u32;
        fork.chosen = fork.chosen.min(fork.width - 1);
        self.gone += 1;
        Some(fork.chosen as usize)
    }

    fn end(&mut self, _record: &Record) {
        // Cut short where it was never asked again, the way is shorter than before.
        self.way.truncate(self.gone);
    }

    fn covered(&self) -> Option<f64> {
        Some(self.progress())
    }
}
