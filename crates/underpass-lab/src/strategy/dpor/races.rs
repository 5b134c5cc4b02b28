//! Which events happen before which, which pairs of them race, and what is to be explored for that.

use crate::choice::{Choice, Object, Process, Task};
use crate::record::{End, Manner, Record, Thing, Tie};
use crate::strategy::dpor::Dpor;
use crate::strategy::dpor::event::Event;
use crate::strategy::dpor::footprint::{clash, foreseen, is_optional, own, process_of, task_of};
use crate::strategy::dpor::wakeup::{Standing, Wake, insert, standing};

/// Says whether the event of that number is among those of a past.
pub fn contains(past: &[u64], index: usize) -> bool {
    past.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
}

impl Dpor {
    /// Looks for what the schedule that has ended leaves to explore.
    pub(super) fn find_races(&mut self, end: End) {
        for index in self.fresh..self.events.len() {
            self.order(index);
        }
        // What may as well never happen has to be looked at again with each new end: what was explored in its stead may lack it.
        let first = if self.kills == 0 && self.faults == 0 { self.fresh } else { 1 };
        let races = self.events.iter().enumerate().skip(first);
        let races: Vec<_> =
            races.flat_map(|(second, event)| event.races.iter().map(move |first| (*first, second))).collect();
        for (first, second) in races {
            let mut sequence = self.independent_of(first, self.events.len());
            sequence.push(repeat(&self.events[second]));
            self.reverse(first, sequence);
        }
        for index in first..self.events.len() {
            self.consider_others(index, end);
        }
        if matches!(end, End::Done | End::Deadlock) {
            self.disturb_rest(end);
        }
    }

    /// Says whether a task has not begun, has returned, or was killed.
    pub(super) fn is_over(&self, task: Task) -> bool {
        let process = self.processes[task.index()];
        let over = Tie { thing: Thing::Life(process), manner: Manner::Change };
        let last = self.events.iter().rev().find(|event| event.choice == Choice::Run(task));
        last.is_none_or(|event| event.footprint.contains(&over))
            || self.events.iter().any(|event| event.choice == Choice::Kill(process))
    }

    /// What could have happened to those who are left if something that went on without them had gone on a little longer.
    fn disturb_rest(&mut self, end: End) {
        let mut choices = Vec::new();
        for (index, process) in self.processes.iter().enumerate() {
            let task = Task(index as u32);
            if self.is_over(task) {
                continue;
            }
            let known = |choice: &Choice| self.events.iter().any(|event| event.options.contains(choice));
            choices.extend([Choice::Kill(*process), Choice::Stop(*process)].into_iter().filter(known));
            choices.push(Choice::Spurious(task));
            if end == End::Done {
                choices.push(Choice::Expire(task));
            }
        }
        choices.retain(|choice| match choice {
            Choice::Kill(_) => self.kills_left(self.events.len()) > 0,
            Choice::Expire(_) => true,
            _ => self.faults > 0,
        });
        choices.dedup();
        for choice in choices {
            let footprint = foreseen(choice, &self.events, &self.processes);
            let number = self.events.len() - 1;
            let latest = (1..self.events.len()).rev().find(|index| {
                let event = &self.events[*index];
                let is_last = self.events[index + 1..].iter().all(|later| !contains(&later.past, *index));
                is_last && self.goes_on_before(event) && !clash(&footprint, &event.footprint)
            });
            // At the very last event it is one of the other options.
            let Some(index) = latest.filter(|index| *index < number) else { continue };
            let rests = &mut self.events[index].explored.rests;
            if !rests.contains(&(choice, number)) {
                rests.push((choice, number));
            }
            let mut sequence: Vec<Wake> = self.events[index + 1..].iter().map(repeat).collect();
            sequence.push(Wake { choice, picks: Vec::new(), footprint, after: Vec::new() });
            sequence.push(repeat(&self.events[index]));
            self.reverse(index, sequence);
        }
    }

    /// Says whether somebody can go on as long as an event has not happened, if all others have.
    fn goes_on_before(&self, event: &Event) -> bool {
        let of = |process| move |choice: &Choice| matches!(choice, Choice::Run(task) if self.processes[task.index()] == process);
        match event.choice {
            Choice::Kill(process) | Choice::Stop(process) => event.options.iter().any(of(process)),
            _ => true,
        }
    }

    /// Finds what happens before an event, and the races that it ends.
    pub(super) fn order(&mut self, index: usize) {
        let (before, rest) = self.events.split_at_mut(index);
        let event = &mut rest[0];
        event.past.clear();
        event.races.clear();
        event.past.resize(index / 64 + 1, 0);
        // From the last to the first: whatever happens before one that is found already is no direct cause.
        for (earlier, other) in before.iter().enumerate().skip(1).rev() {
            if contains(&event.past, earlier) || !clash(&other.footprint, &event.footprint) {
                continue;
            }
            event.past.iter_mut().zip(&other.past).for_each(|(word, theirs)| *word |= theirs);
            event.past[earlier / 64] |= 1 << (earlier % 64);
            if !enables(other, event, &self.processes) && !gives(other, event) {
                event.races.push(earlier);
            }
        }
        let awaited: Vec<Object> = self.events[index].locks(Manner::Take).collect();
        for object in awaited {
            let taken = self.taken_before(index, object, &self.events[index].footprint);
            let races = &mut self.events[index].races;
            races.extend(taken.filter(|earlier| !races.contains(earlier)));
        }
    }

    /// What took a lock last before the event of that number, and could have come after it: its end is not what the event depends
    /// on, for the other order comes before both.
    fn taken_before(&self, index: usize, object: Object, footprint: &[Tie]) -> Option<usize> {
        let is_taking =
            |event: &Event| event.locks(Manner::Take).chain(event.locks(Manner::Change)).any(|it| it == object);
        let taken = (1..index).rev().find(|earlier| is_taking(&self.events[*earlier]))?;
        let of_lock = |tie: &&Tie| matches!(tie.thing, Thing::Lock(it) | Thing::Object(it) if it == object);
        let rest: Vec<Tie> = footprint.iter().filter(|tie| !of_lock(tie)).copied().collect();
        let mut before = (1..index).rev().filter(|earlier| clash(&self.events[*earlier].footprint, &rest));
        let leads = |earlier: usize| earlier == taken || contains(&self.events[earlier].past, taken);
        (!before.any(leads)).then_some(taken)
    }

    /// Who waits for a lock at the end could have had it before whoever has it.
    pub(super) fn find_barred(&mut self, record: &Record) {
        for (task, object) in record.left_barred().collect::<Vec<_>>() {
            let choice = Choice::Run(task);
            let mut footprint = own(choice, &self.processes);
            footprint.push(Tie { thing: Thing::Object(object), manner: Manner::Change });
            footprint.push(Tie { thing: Thing::Lock(object), manner: Manner::Take });
            let Some(first) = self.taken_before(self.events.len(), object, &footprint) else { continue };
            let mut sequence = self.independent_of(first, self.events.len());
            sequence.push(Wake { choice, picks: Vec::new(), footprint, after: Vec::new() });
            self.reverse(first, sequence);
        }
    }

    /// What happens from an event to before another, and not after the first.
    fn independent_of(&self, first: usize, end: usize) -> Vec<Wake> {
        let between = (first + 1..end).filter(|between| !contains(&self.events[*between].past, first));
        between.map(|between| repeat(&self.events[between])).collect()
    }

    /// Sees to it that a sequence is explored in the stead of an event, unless it is asleep there.
    fn reverse(&mut self, index: usize, sequence: Vec<Wake>) {
        let event = &mut self.events[index];
        if !event.options.contains(&sequence[0].choice) || !event.asked {
            return;
        }
        for other in event.asleep.iter().chain(&event.done) {
            let ends = |(place, wake): (usize, &Wake)| {
                other.disabled.contains(&wake.choice) || other.rests.contains(&(wake.choice, index + place))
            };
            let without = sequence.iter().take_while(|wake| wake.choice != other.choice);
            let ends = without.enumerate().any(ends);
            if !ends && standing(other.choice, &other.footprint, &sequence) != Standing::Differs {
                return;
            }
        }
        insert(&mut event.tree, sequence);
    }

    /// How many deaths there may still be from an event on.
    fn kills_left(&self, index: usize) -> u32 {
        let deaths = self.events[..index].iter().filter(|event| is_kill(event.choice)).count();
        self.kills.saturating_sub(deaths as u32)
    }

    /// What could have happened at an event and did not: a death, a fault or a time-out whose order with it matters, and whatever it
    /// made impossible.
    fn consider_others(&mut self, index: usize, end: End) {
        for place in 0..self.events[index].options.len() {
            let event = &self.events[index];
            let option = event.options[place];
            // A lock that is taken disables steps: those races are found by themselves.
            let barred = self.bars && matches!(option, Choice::Run(_)) && self.kills == 0 && self.faults == 0;
            if option == event.choice || barred {
                continue;
            }
            let after = self.events.get(index + 1).map(|next| &next.options);
            let remains = after.map_or(end == End::Pruned, |options| options.contains(&option));
            let footprint = foreseen(option, &self.events[..index], &self.processes);
            let event = &mut self.events[index];
            if !remains && !event.explored.disabled.contains(&option) {
                event.explored.disabled.push(option);
            }
            let waits = matches!(option, Choice::Run(_));
            if !remains || (!waits && clash(&footprint, &event.footprint)) {
                let mut sequence = Vec::new();
                let mut dropped = vec![index];
                let mut deaths = self.kills_left(index) - u32::from(is_kill(option));
                for place in index + 1..self.events.len() {
                    let event = &self.events[place];
                    let scarce = is_kill(event.choice) && deaths == 0;
                    let caused = dropped.iter().any(|other| contains(&event.past, *other));
                    if clash(&footprint, &event.footprint) || scarce || caused {
                        dropped.push(place);
                    } else {
                        deaths -= u32::from(is_kill(event.choice));
                        sequence.push(repeat(event));
                    }
                }
                let commutes = !clash(&footprint, &self.events[index].footprint);
                sequence.push(Wake { choice: option, picks: Vec::new(), footprint, after: Vec::new() });
                if commutes
                    && is_optional(option)
                    && !(is_kill(option) && is_kill(self.events[index].choice) && deaths == 0)
                {
                    // Only the end is what made it impossible.
                    sequence.push(repeat(&self.events[index]));
                }
                self.reverse(index, sequence);
            }
        }
    }
}

fn is_kill(choice: Choice) -> bool {
    matches!(choice, Choice::Kill(_))
}

/// An event, to be explored elsewhere.
fn repeat(event: &Event) -> Wake {
    let picks = event.picks.iter().map(|pick| pick.chosen).collect();
    Wake { choice: event.choice, picks, footprint: event.footprint.clone(), after: Vec::new() }
}

/// Says whether an event gives the lock that the next one waits for, so that they cannot be the other way round.
fn gives(event: &Event, next: &Event) -> bool {
    next.locks(Manner::Take).any(|lock| event.locks(Manner::Give).any(|given| given == lock))
}

/// Says whether an event is what lets the next one happen, so that they cannot be the other way round.
fn enables(event: &Event, next: &Event, processes: &[Process]) -> bool {
    if let Some(task) = task_of(next.choice) {
        // Its own step; a wake; the end of a stop.
        return event.footprint.iter().any(|tie| tie.thing == Thing::Task(task));
    }
    // A death of who has begun.
    let here = |process| task_of(event.choice).is_some_and(|task| processes[task.index()] == process);
    process_of(next.choice).is_some_and(|process| {
        process_of(event.choice) == Some(process) || (here(process) && !event.options.contains(&next.choice))
    })
}
