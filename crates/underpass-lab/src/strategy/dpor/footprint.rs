//! What a step uses, what a choice that has not been made would use, and when the order of two matters.

use std::iter::once;

use crate::choice::{Choice, Process, Task};
use crate::record::{Manner, Record, Thing, Tie};
use crate::strategy::dpor::event::Event;

/// What the steps of an event use.
pub type Footprint = Vec<Tie>;

/// Says whether the order of two events can matter.
pub fn clash(one: &[Tie], other: &[Tie]) -> bool {
    one.iter().any(|tie| other.iter().any(|there| tie.clashes(there)))
}

/// Says whether a choice may as well never be made, whatever else happens.
pub fn is_optional(choice: Choice) -> bool {
    matches!(choice, Choice::Kill(_) | Choice::Stop(_) | Choice::Spurious(_))
}

/// The task whose own step a choice is.
pub fn task_of(choice: Choice) -> Option<Task> {
    match choice {
        Choice::Run(task) | Choice::Expire(task) | Choice::Spurious(task) => Some(task),
        Choice::Kill(_) | Choice::Stop(_) | Choice::Continue(_) | Choice::Pick(_) => None,
    }
}

/// The process that a choice is about.
pub fn process_of(choice: Choice) -> Option<Process> {
    match choice {
        Choice::Kill(process) | Choice::Stop(process) | Choice::Continue(process) => Some(process),
        _ => None,
    }
}

/// What a choice uses because of what it is: a step of a task is ordered with all others of it, and with deaths, stops and wakes.
pub fn own(choice: Choice, processes: &[Process]) -> Footprint {
    let change = |task| Tie { thing: Thing::Task(task), manner: Manner::Change };
    if let Some(task) = task_of(choice) {
        let fate = match choice {
            Choice::Run(_) => processes.get(task.index()),
            _ => None,
        };
        let look = fate.map(|process| Tie { thing: Thing::Fate(*process), manner: Manner::Look });
        return once(change(task)).chain(look).collect();
    }
    let here = |(_, process): &(usize, &Process)| Some(**process) == process_of(choice);
    processes.iter().enumerate().filter(here).map(|(index, _)| change(Task(index as u32))).collect()
}

/// Adds what the steps of a record from `first` to before `end` use, as far as `sees` says.
pub fn add_steps(footprint: &mut Footprint, record: &Record, first: usize, end: usize, sees: fn(&Tie) -> bool) {
    for step in first..end {
        for tie in record.ties(step) {
            if sees(tie) && !footprint.contains(tie) {
                footprint.push(*tie);
            }
        }
    }
}

/// At most what a choice would use that could be made after these events, but was not.
pub fn foreseen(choice: Choice, events: &[Event], processes: &[Process]) -> Footprint {
    let mut footprint = own(choice, processes);
    let mut add = |thing, manner| footprint.push(Tie { thing, manner });
    match choice {
        Choice::Expire(task) | Choice::Spurious(task) => {
            let last = events.iter().rev().find(|event| event.choice == Choice::Run(task));
            last.into_iter().flat_map(Event::queues).for_each(|tie| add(tie.thing, Manner::Leave));
            add(if matches!(choice, Choice::Expire(_)) { Thing::Clock } else { Thing::Faults }, Manner::Leave);
        }
        Choice::Stop(_) => add(Thing::Faults, Manner::Leave),
        Choice::Kill(process) => {
            let life = Tie { thing: Thing::Life(process), manner: Manner::Look };
            add(life.thing, Manner::Change);
            let mut batons = Vec::new();
            for (index, _) in processes.iter().enumerate().filter(|(_, owner)| **owner == process) {
                let ran = Choice::Run(Task(index as u32));
                let mut own = events.iter().rev().filter(|event| event.choice == ran).peekable();
                // Where it may sleep, and what it may have named to be woken at its death.
                own.peek().into_iter().flat_map(|event| event.queues()).for_each(|tie| add(tie.thing, Manner::Leave));
                let baton = Tie { thing: Thing::Baton(Task(index as u32)), manner: Manner::Change };
                let naming = own.filter(|event| event.footprint.contains(&baton));
                batons.extend(naming.flat_map(Event::queues).map(|tie| tie.thing));
            }
            for thing in &batons {
                add(*thing, Manner::Change);
            }
            // Whom it would wake: those whose last step watched this life, or slept there.
            for index in 0..processes.len() as u32 {
                let last = events.iter().rev().find(|event| event.choice == Choice::Run(Task(index)));
                let watches = |event: &Event| {
                    event.footprint.contains(&life) || event.queues().any(|tie| batons.contains(&tie.thing))
                };
                if last.is_some_and(watches) {
                    add(Thing::Task(Task(index)), Manner::Change);
                }
            }
        }
        Choice::Run(_) | Choice::Continue(_) | Choice::Pick(_) => {}
    }
    footprint
}
