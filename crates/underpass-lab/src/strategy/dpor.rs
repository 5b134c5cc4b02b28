//! Dynamic partial-order reduction: one schedule of each class, where two are of one class if they differ only in the order of
//! steps whose order cannot matter.
//!
//! Optimal DPOR of Abdulla, Aronis, Jonsson and Sagonas (POPL 2014): sleep sets keep an explored step from being explored again
//! where it commutes with what came between; a race of two steps leaves a sequence that reverses it in the wakeup tree of the first.
//! The order of two steps can matter if both use the same thing, and not both only look at it or only leave it
//! ([`Tie::clashes`](crate::record::Tie::clashes)): what steps use stands in the record, so that no object needs a word here.
//!
//! A lock that is taken disables the steps that wait for it: whoever tries and stands back has not been
//! ([`bars`](crate::schedule::Schedule::bars)). Such a step then races with what took the lock last, and not with what gave it back.
//!
//! Deaths, stops and sleeps that end without a cause may as well never happen. They are explored before each step whose
//! order with them can matter, and once at the end, where all that is left is at rest. No class is
//! missed, as far as a comparison with every schedule of random programs shows, with up to two of them; with any of them a class may
//! be explored twice. What is picked in the middle of a step is all explored.
//!
//! With a limit of preemptions a schedule may be beyond the limit though an equal one is not, so races do not tell what is left
//! to explore. All that can be chosen is then, but not after a state that others have come to for no more ([`states`]).
mod event;
mod footprint;
mod races;
mod states;
mod wakeup;

use crate::choice::{Choice, Crossing, Process};
use crate::record::{End, Record, Tie};
use crate::strategy::Strategy;
use event::{Event, Explored, Pick};
use footprint::{add_steps, own};
use states::States;
use wakeup::Wake;

/// Explores every class of schedules.
#[derive(Debug)]
pub struct Dpor {
    /// The schedule in progress; first, what the host does before all others.
    events: Vec<Event>,
    /// How many steps of the record are among them.
    seen: usize,
    /// The event that they end with.
    at: usize,
    /// How many picks of it they have.
    picks: usize,
    /// The first event that no schedule before had.
    fresh: usize,
    begun: bool,
    /// Which process each task belongs to.
    processes: Vec<Process>,
    /// An event has happened that sleeps, since there was no other: it and what follows are in vain.
    blocked: Option<usize>,
    /// The most preemptions that a schedule may have.
    preemptions: Option<u32>,
    /// With such a limit: what schedules have come to.
    states: States,
    /// How many deaths a schedule may have.
    kills: u32,
    /// And how many faults.
    faults: u32,
    /// What counts for the dependence of steps.
    sees: fn(&Tie) -> bool,
    /// Who finds a lock taken stands back.
    bars: bool,
    classes: u64,
    pruned: u64,
    cut: u64,
}

impl Default for Dpor {
    fn default() -> Self {
        Self::new()
    }
}

impl Dpor {
    /// Nothing is explored yet.
    #[must_use]
    pub fn new() -> Self {
        Self::seeing(|_| true)
    }

    /// The same with a dependence that counts only some uses, to see what is missed then.
    #[must_use]
    pub fn seeing(sees: fn(&Tie) -> bool) -> Self {
        Self {
            events: Vec::new(),
            seen: 0,
            at: 0,
            picks: 0,
            fresh: 0,
            begun: false,
            processes: Vec::new(),
            blocked: None,
            preemptions: None,
            states: States::default(),
            kills: 0,
            faults: 0,
            sees,
            bars: true,
            classes: 0,
            pruned: 0,
            cut: 0,
        }
    }

    /// The same, where it matters when somebody comes to a lock that is taken.
    #[must_use]
    pub fn with_every_wait(self) -> Self {
        Self { bars: false, ..self }
    }

    /// Classes explored: schedules run to their ends, none of which is like another.
    #[must_use]
    pub fn classes(&self) -> u64 {
        self.classes
    }

    /// Schedules cut off, since what they would have shown others had.
    #[must_use]
    pub fn pruned(&self) -> u64 {
        self.pruned
    }

    /// Schedules longer than the budget's steps: what else could have happened beyond is not explored.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// The part of the space that is explored, from 0 to 1, if what is known of it is like the rest: Knuth's estimate.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let (mut explored, mut part) = (0.0, 1.0);
        for event in &self.events {
            let (before, here) = event.shares();
            explored += part * before;
            part *= here;
        }
        if self.begun && self.events.is_empty() { 1.0 } else { explored }
    }

    /// Takes in what has happened since.
    fn follow(&mut self, record: &Record) {
        while self.seen < record.len() {
            let (step, choice) = (self.seen, record.choice(self.seen));
            self.seen += 1;
            if let Choice::Pick(chosen) = choice {
                let event = &mut self.events[self.at];
                if self.picks == event.picks.len() {
                    let count = record.options(step).len() as u32;
                    event.picks.push(Pick { chosen, count, explored: 1, asked: false });
                }
                self.picks += 1;
                continue;
            }
            self.settle(record, step);
            if record.barred(step).is_some() {
                self.take_back(choice);
                continue;
            }
            if self.events.get(self.at + 1).is_some_and(|event| event.choice != choice) {
                // The program did something else than before; whoever runs it looks out for that.
                self.events.truncate(self.at + 1);
            }
            if self.at + 1 == self.events.len() {
                // There was nothing to choose, or all got their turns.
                let mut event = self.successor(step, choice, record.options(step), false);
                let mut branches = std::mem::take(&mut self.events[self.at].subtree);
                if let Some(place) = branches.iter().position(|wake| wake.choice == choice) {
                    event.follow(branches.swap_remove(place));
                }
                if self.blocked.is_none() && event.asleep.iter().any(|other| other.choice == choice) {
                    self.blocked = Some(self.at + 1);
                }
                self.events.push(event);
            }
            self.at += 1;
            self.picks = 0;
            self.events[self.at].step = step;
        }
    }

    /// What was chosen finds a lock taken and stands back: it has not happened, and something else is chosen now.
    fn take_back(&mut self, choice: Choice) {
        let next = self.at + 1;
        let Some(event) = self.events.get_mut(next).filter(|event| event.choice == choice) else { return };
        if event.done.is_empty() {
            let event = self.events.remove(next);
            self.events[self.at].subtree = event.tree;
        } else {
            event.vain = true;
            self.blocked = Some(next + 1);
        }
    }

    /// The event in progress has ended before a step.
    fn settle(&mut self, record: &Record, end: usize) {
        let (sees, event) = (self.sees, &self.events[self.at]);
        if event.known || self.at == 0 {
            return;
        }
        let mut footprint = own(event.choice, &self.processes);
        let event = &mut self.events[self.at];
        add_steps(&mut footprint, record, event.step, end, sees);
        for tie in &footprint {
            if !event.explored.footprint.contains(tie) {
                event.explored.footprint.push(*tie);
            }
        }
        event.footprint = footprint;
        event.known = true;
        if self.preemptions.is_some() {
            self.order(self.at);
            self.events[self.at].mark = states::mark(&self.events[..=self.at]);
        }
    }

    /// The event after the one in progress.
    fn successor(&self, step: usize, choice: Choice, options: &[Choice], asked: bool) -> Event {
        // A schedule may cost more preemptions than an equal one: with a limit nothing stands for anything else.
        let asleep = match self.preemptions {
            Some(_) => Vec::new(),
            None => self.events[self.at].asleep_after(self.at),
        };
        Event::new(step, choice, options, asked, asleep)
    }

    /// Chooses where no schedule before has been.
    fn explore(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        if let Some(most) = self.preemptions {
            let running = crossing.running.filter(|task| !self.is_over(*task));
            let left = most.saturating_sub(states::preemptions(crossing.record));
            if !self.states.is_new(&self.events, running, left) {
                return None;
            }
        }
        let mut event = self.successor(crossing.number, crossing.options[0], crossing.options, true);
        let awake = |choice: &Choice| event.asleep.iter().all(|other| other.choice != *choice);
        let mut branches = std::mem::take(&mut self.events[self.at].subtree);
        branches.retain(|wake| crossing.options.contains(&wake.choice) && awake(&wake.choice));
        if branches.is_empty() {
            // Straight on; else whoever can; a death or a fault only where nothing else is new.
            let straight = crossing.straight_on().map(|index| crossing.options[index]).filter(awake);
            let choice = straight.or_else(|| crossing.options.iter().copied().find(awake))?;
            event.choice = choice;
            event.explored.choice = choice;
        } else {
            event.follow(branches.remove(0));
            event.tree = branches;
        }
        if self.preemptions.is_some() {
            let others = crossing.options.iter().copied().filter(|option| *option != event.choice);
            event.tree = others.map(Wake::anything_after).collect();
        }
        let index = crossing.options.iter().position(|option| *option == event.choice);
        self.events.push(event);
        index
    }
}

impl Strategy for Dpor {
    fn begin(&mut self) -> bool {
        self.seen = 0;
        self.at = 0;
        self.picks = 0;
        self.blocked = None;
        if !std::mem::replace(&mut self.begun, true) {
            self.events.push(Event::new(0, Choice::Pick(0), &[], false, Vec::new()));
            self.fresh = 1;
            return true;
        }
        while let Some(event) = self.events.last_mut() {
            if event.next_picks() {
                break;
            }
            let explored = std::mem::replace(&mut event.explored, Explored::new(event.choice));
            if !std::mem::take(&mut event.vain) {
                event.done.push(explored);
            }
            if event.tree.is_empty() {
                self.events.pop();
            } else {
                let next = event.tree.remove(0);
                event.follow(next);
                break;
            }
        }
        self.fresh = self.events.len().saturating_sub(1).max(1);
        !self.events.is_empty()
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        self.preemptions = crossing.budget.preemptions;
        self.kills = crossing.budget.kills;
        self.faults = crossing.budget.faults;
        self.processes.clear();
        self.processes.extend_from_slice(crossing.processes);
        self.follow(crossing.record);
        if self.blocked.is_some() {
            return None;
        }
        if matches!(crossing.options[0], Choice::Pick(_)) {
            let event = &mut self.events[self.at];
            if self.picks == event.picks.len() {
                let count = crossing.options.len() as u32;
                let planned = event.planned.get(self.picks).copied().filter(|pick| *pick < count);
                event.picks.push(Pick { chosen: planned.unwrap_or(0), count, explored: 1, asked: true });
            }
            return Some(event.picks[self.picks].chosen as usize);
        }
        self.settle(crossing.record, crossing.record.len());
        if let Some(event) = self.events.get(self.at + 1) {
            return crossing.options.iter().position(|option| *option == event.choice);
        }
        self.explore(crossing)
    }

    fn end(&mut self, record: &Record) {
        self.processes.clone_from(&record.processes);
        self.follow(record);
        self.settle(record, record.len());
        self.events.truncate(self.blocked.unwrap_or(usize::MAX).min(self.at + 1));
        if record.end == End::Pruned || self.blocked.is_some() {
            self.pruned += 1;
        } else {
            let is_new = self.preemptions.is_none() || self.states.is_new_end(&self.events);
            self.classes += u64::from(is_new);
            let unasked = |event: &Event| !event.asked && event.options.len() > 1;
            self.cut += u64::from(self.events.iter().any(unasked));
        }
        if self.preemptions.is_none() {
            self.find_races(record.end);
            self.find_barred(record);
        }
    }

    fn bars(&self) -> bool {
        self.bars
    }

    fn classes(&self) -> Option<u64> {
        Some(Self::classes(self))
    }

    fn pruned(&self) -> u64 {
        Self::pruned(self)
    }

    fn covered(&self) -> Option<f64> {
        Some(self.progress())
    }
}
