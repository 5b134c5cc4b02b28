//! Wakeup trees: sequences of events to explore from a place, which no event that sleeps there covers.

use crate::choice::Choice;
use crate::strategy::dpor::footprint::{Footprint, clash, is_optional};

/// An event to explore, and those after it; none: anything.
#[derive(Debug, Clone)]
pub struct Wake {
    /// What to choose.
    pub choice: Choice,
    /// What to pick first in its middle.
    pub picks: Vec<u32>,
    /// What it used where it was found.
    pub footprint: Footprint,
    /// What to explore after it.
    pub after: Vec<Wake>,
}

impl Wake {
    /// A choice, and whatever comes then.
    pub fn anything_after(choice: Choice) -> Self {
        Self { choice, picks: Vec::new(), footprint: Vec::new(), after: Vec::new() }
    }
}

/// How an event stands to a sequence of events.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is one of them, this one, and can come first.
    First(usize),
    /// It is none of them, and commutes with all.
    Commutes,
    /// A schedule that begins with it is another one.
    Differs,
}

/// How an event with this choice and footprint stands to a sequence: unless it differs, it is a weak initial.
pub fn standing(choice: Choice, footprint: &Footprint, sequence: &[Wake]) -> Standing {
    for (index, event) in sequence.iter().enumerate() {
        if event.choice == choice {
            let before = |earlier: &Wake| clash(&earlier.footprint, &event.footprint);
            return if sequence[..index].iter().any(before) { Standing::Differs } else { Standing::First(index) };
        }
        if clash(footprint, &event.footprint) {
            return Standing::Differs;
        }
    }
    // What may as well never happen stands for those schedules only in which it does.
    if is_optional(choice) { Standing::Differs } else { Standing::Commutes }
}

/// Says whether an event of a sequence ends it, after a death or a fault.
fn is_put_off(index: usize, sequence: &[Wake]) -> bool {
    index > 0 && index + 1 == sequence.len() && is_optional(sequence[index - 1].choice)
}

/// Sees to it that a sequence is explored: it becomes a branch, unless there is a branch that leads to an equal schedule.
pub fn insert(tree: &mut Vec<Wake>, mut sequence: Vec<Wake>) {
    for wake in tree.iter_mut() {
        match standing(wake.choice, &wake.footprint, &sequence) {
            Standing::Differs => continue,
            // The last who can go on was put off, for a death or a fault that could not come after it.
            Standing::First(index) if is_put_off(index, &sequence) => continue,
            Standing::First(index) => drop(sequence.remove(index)),
            Standing::Commutes => {}
        }
        if !wake.after.is_empty() && !sequence.is_empty() {
            insert(&mut wake.after, sequence);
        }
        return;
    }
    let chain = sequence.into_iter().rev().fold(Vec::new(), |after, wake| vec![Wake { after, ..wake }]);
    tree.extend(chain);
}
