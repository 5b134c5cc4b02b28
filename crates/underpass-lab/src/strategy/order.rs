//! Strategies that decide in which order tasks run, and leave deaths, stops and time-outs to a plan.

use crate::choice::Crossing;
use crate::record::Record;
use crate::strategy::Strategy;
use crate::strategy::census::Census;
use crate::strategy::faults::Faults;
use crate::strategy::walk::Dice;

/// Decides the order of the steps.
pub trait Order: Send + std::fmt::Debug {
    /// A schedule begins.
    fn begin(&mut self, known: &Census, dice: &mut Dice);

    /// Who goes on: one of the first `runnable` options, each a task that can. There may be only one.
    fn choose(&mut self, crossing: &Crossing<'_>, runnable: usize, known: &Census, dice: &mut Dice) -> usize;

    /// A step has been made, whoever decided it. Each is told once, in order, before the next choice.
    fn after(&mut self, record: &Record, step: usize, known: &Census, dice: &mut Dice);
}

/// A strategy that decides the order of the steps by `O`.
#[derive(Debug)]
pub struct Ordered<O> {
    order: O,
    census: Census,
    faults: Faults,
    dice: Dice,
    /// Steps that the order was told of.
    told: usize,
    /// So long is a schedule before all get their turns in order.
    steps: usize,
}

impl<O: Order> Ordered<O> {
    pub(crate) fn by(order: O, seed: u64) -> Self {
        Self {
            order,
            census: Census::default(),
            faults: Faults::default(),
            dice: Dice::new(seed),
            told: 0,
            steps: usize::MAX,
        }
    }
}

impl<O: Order> Strategy for Ordered<O> {
    fn begin(&mut self) -> bool {
        self.told = 0;
        self.faults.begin(&self.census, &mut self.dice);
        self.order.begin(&self.census, &mut self.dice);
        true
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        self.steps = crossing.budget.steps;
        for step in self.told..crossing.number {
            self.faults.after(crossing, step);
            self.order.after(crossing.record, step, &self.census, &mut self.dice);
        }
        self.told = crossing.number;
        let beside = self.faults.choose(crossing, &mut self.dice);
        beside.or_else(|| Some(self.order.choose(crossing, crossing.runnable(), &self.census, &mut self.dice)))
    }

    fn end(&mut self, record: &Record) {
        // What somebody did in circles says nothing about what there is to do, unless there is nothing else to go by.
        if record.len() < self.steps || self.census.tasks() == 0 {
            self.census.learn(record);
        }
    }
}
