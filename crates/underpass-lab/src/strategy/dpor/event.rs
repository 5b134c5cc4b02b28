//! One transition of a schedule: a choice, and what was picked in the middle of its step.

use crate::choice::{Choice, Object};
use crate::record::{Manner, Thing, Tie};
use crate::strategy::dpor::footprint::{Footprint, clash, is_optional};
use crate::strategy::dpor::wakeup::Wake;

/// A choice from data, in the middle of a step: all of it is explored.
#[derive(Debug, Clone, Copy)]
pub struct Pick {
    /// What is picked now.
    pub chosen: u32,
    /// Out of so many.
    pub count: u32,
    /// How many have been.
    pub explored: u32,
    /// The strategy was asked.
    pub asked: bool,
}

/// A transition that has been explored, where it stands in sleep sets.
#[derive(Debug, Clone)]
pub struct Explored {
    /// What.
    pub choice: Choice,
    /// What it uses.
    pub footprint: Footprint,
    /// What could be chosen before it, and not after it.
    pub disabled: Vec<Choice>,
    /// What could be chosen as the event of that number if this one were still to come, which is the last that can go on.
    pub rests: Vec<(Choice, usize)>,
}

impl Explored {
    /// Nothing is known of it yet.
    pub fn new(choice: Choice) -> Self {
        Self { choice, footprint: Vec::new(), disabled: Vec::new(), rests: Vec::new() }
    }
}

/// A transition of the schedule in progress, and what there is to explore in its stead.
#[derive(Debug)]
pub struct Event {
    /// Its first step in the record.
    pub step: usize,
    /// What is chosen.
    pub choice: Choice,
    /// What there was to choose from.
    pub options: Vec<Choice>,
    /// The strategy was asked.
    pub asked: bool,
    /// What was picked in its middle.
    pub picks: Vec<Pick>,
    /// What was picked when the event that this one repeats was found.
    pub planned: Vec<u32>,
    /// What it uses, with these picks.
    pub footprint: Footprint,
    /// The event has happened, with these picks, and its footprint is known.
    pub known: bool,
    /// It found a lock taken.
    pub vain: bool,
    /// This and its disabled options, with all picks so far.
    pub explored: Explored,
    /// Which of the events before it happen before it: a set of bits.
    pub past: Vec<u64>,
    /// Those of them that race with it.
    pub races: Vec<usize>,
    /// A number for it and its past, if preemptions are limited.
    pub mark: u64,
    /// What need not be explored in its stead, since an equal schedule has been.
    pub asleep: Vec<Explored>,
    /// What has been explored in its stead.
    pub done: Vec<Explored>,
    /// What there is to explore in its stead.
    pub tree: Vec<Wake>,
    /// What there is to explore after it.
    pub subtree: Vec<Wake>,
}

impl Event {
    /// A transition that is about to happen.
    pub fn new(step: usize, choice: Choice, options: &[Choice], asked: bool, asleep: Vec<Explored>) -> Self {
        let explored = Explored::new(choice);
        Self {
            step,
            choice,
            options: options.to_vec(),
            asked,
            picks: Vec::new(),
            planned: Vec::new(),
            footprint: Vec::new(),
            known: false,
            vain: false,
            explored,
            past: Vec::new(),
            races: Vec::new(),
            mark: 0,
            asleep,
            done: Vec::new(),
            tree: Vec::new(),
            subtree: Vec::new(),
        }
    }

    /// The queues of sleepers that it uses.
    pub fn queues(&self) -> impl Iterator<Item = &Tie> {
        self.footprint.iter().filter(|tie| matches!(tie.thing, Thing::Sleepers(_) | Thing::Word(_)))
    }

    /// The locks that it uses in such a manner.
    pub fn locks(&self, manner: Manner) -> impl Iterator<Item = Object> + '_ {
        self.footprint.iter().filter(move |tie| tie.manner == manner).filter_map(|tie| match tie.thing {
            Thing::Lock(object) => Some(object),
            _ => None,
        })
    }

    /// Goes the way of a branch of a wakeup tree.
    pub fn follow(&mut self, wake: Wake) {
        self.choice = wake.choice;
        self.planned = wake.picks;
        self.subtree = wake.after;
        self.picks.clear();
        self.known = false;
        self.explored = Explored::new(wake.choice);
    }

    /// Lets the next picks be explored; false: all have been.
    pub fn next_picks(&mut self) -> bool {
        while let Some(pick) = self.picks.last_mut() {
            if pick.asked && pick.explored < pick.count {
                pick.chosen = (pick.chosen + 1) % pick.count;
                pick.explored += 1;
                self.known = false;
                self.planned.clear();
                self.subtree.clear();
                return true;
            }
            self.picks.pop();
        }
        false
    }

    /// What need not be explored after it, which has this number: what is asleep or done here, and commutes with it.
    pub fn asleep_after(&self, number: usize) -> Vec<Explored> {
        let stays = |other: &&Explored| !clash(&other.footprint, &self.footprint) && !self.is_ended_by(other, number);
        self.asleep.iter().chain(&self.done).filter(stays).cloned().collect()
    }

    /// Says whether this event, which has this number, could not have followed another that might have come before it.
    fn is_ended_by(&self, other: &Explored, number: usize) -> bool {
        let goes = |choice: &&Choice| matches!(choice, Choice::Run(_) | Choice::Continue(_));
        other.disabled.contains(&self.choice)
            || other.rests.contains(&(self.choice, number))
                && (is_optional(other.choice) || self.options.iter().filter(goes).all(|choice| *choice == other.choice))
    }

    /// Which part of what there is to explore here has been; the part that is being.
    pub fn shares(&self) -> (f64, f64) {
        let (done, left) = (self.done.len() as u32, self.tree.len() as u32);
        let mut part = 1.0 / f64::from(done + 1 + left);
        let mut before = part * f64::from(done);
        for pick in self.picks.iter().filter(|pick| pick.asked) {
            before += part * f64::from(pick.explored - 1) / f64::from(pick.count);
            part /= f64::from(pick.count);
        }
        (before, part)
    }
}
