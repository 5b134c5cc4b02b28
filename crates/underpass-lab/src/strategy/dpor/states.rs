//! With a limit of preemptions: the states that schedules have come to before.
//!
//! Schedules that differ only in the order of steps whose order cannot matter come to the same state, but one of them may have cost
//! more preemptions than the other. So none stands for the other by itself, as in sleep sets; how reduction and such a limit get into
//! each other's way is told by Musuvathi and Qadeer ("Partial-Order Reduction for Context-Bounded State Exploration", 2007).
//! But what can follow a state has all been explored if whoever came there before had as many preemptions left; if somebody
//! else ran last then, one more, which is what the first step may cost one of the two and not the other.
//!
//! A state is known by a number, made of what happened and what of it happened before what. Two states have the same number by
//! accident once in 2⁶⁴ pairs.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::choice::{Choice, Task};
use crate::record::Record;
use crate::strategy::dpor::event::Event;
use crate::strategy::dpor::races::contains;

/// Who ran last and may go on some time, and the preemptions left: how a state was come to.
type Arrival = (Option<Task>, u32);

/// States that have been come to, and ends.
#[derive(Debug, Default)]
pub struct States {
    arrivals: HashMap<u64, Vec<Arrival>>,
    ends: HashSet<u64>,
}

impl States {
    /// A schedule comes to what these events lead to; false: all that can follow has been explored, or is about to be.
    pub fn is_new(&mut self, events: &[Event], running: Option<Task>, left: u32) -> bool {
        let before = self.arrivals.entry(state(events)).or_default();
        let covers = |(other, theirs): &Arrival| {
            let extra = u32::from(other.is_some() && *other != running);
            *theirs >= left + extra
        };
        if before.iter().any(covers) {
            return false;
        }
        before.push((running, left));
        true
    }

    /// A schedule ends; false: one that is equal has.
    pub fn is_new_end(&mut self, events: &[Event]) -> bool {
        self.ends.insert(state(events))
    }
}

/// The number of the state that these events lead to, in whatever order.
fn state(events: &[Event]) -> u64 {
    events.iter().fold(0, |sum, event| sum.wrapping_add(event.mark))
}

/// The number of the last of these events: what it is, and what happened before it.
pub fn mark(events: &[Event]) -> u64 {
    let Some((event, before)) = events.split_last() else { return 0 };
    let happened = before.iter().enumerate().filter(|(index, _)| contains(&event.past, *index));
    let past = happened.fold(0_u64, |sum, (_, other)| sum.wrapping_add(other.mark));
    let mut hasher = DefaultHasher::new();
    (event.choice, past).hash(&mut hasher);
    event.picks.iter().for_each(|pick| pick.chosen.hash(&mut hasher));
    hasher.finish()
}

/// How many preemptions a schedule has had.
pub fn preemptions(record: &Record) -> u32 {
    let preempts = |step: &usize| {
        let Choice::Run(task) = record.choice(*step) else { return false };
        record.running(*step).is_some_and(|other| other != task && record.options(*step).contains(&Choice::Run(other)))
    };
    (0..record.len()).filter(preempts).count() as u32
}
