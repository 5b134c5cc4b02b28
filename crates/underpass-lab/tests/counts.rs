//! Exact numbers: schedules, buggy ones and the random walk's probabilities, against a count that knows nothing of the engine.
#![allow(clippy::cast_precision_loss, reason = "the counts are small")]

mod toy;

use toy::Word::{self, Lock, Read, Unlock, Write};
use toy::run;
use underpass_lab::choice::Choice;
use underpass_lab::record::End;
use underpass_lab::schedule::{Budget, Schedule};
use underpass_lab::strategy::every::Every;
use underpass_lab::strategy::walk::Walk;

const NO_FAULTS: Budget = Budget { kills: 0, faults: 0, early: true, preemptions: None, steps: 1000 };

/// Schedules, those that are buggy, and how likely the random walk makes these.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Counts {
    all: u64,
    buggy: u64,
    probability: f64,
}

type IsBug = fn(End, &[i64]) -> bool;

fn explored(program: &[&[Word]], budget: Budget, is_bug: IsBug) -> Counts {
    let mut schedule = Schedule::new(Box::new(Every::new()), budget);
    let mut counts = Counts::default();
    while let Some((end, values)) = run(&mut schedule, program, true) {
        counts.all += 1;
        if is_bug(end, &values) {
            let widths = (0..schedule.record.len()).map(|step| schedule.record.options(step).len() as f64);
            counts.buggy += 1;
            counts.probability += 1.0 / widths.product::<f64>();
        }
    }
    counts
}

/// A program as the counts by hand see it: each state is copied, and each thing that can happen next is done to its copy.
#[derive(Debug, Clone)]
struct State<'a> {
    program: &'a [&'a [Word]],
    /// Steps made; the first only comes to the first word.
    made: Vec<usize>,
    asleep: Vec<bool>,
    dead: Vec<bool>,
    registers: Vec<i64>,
    values: Vec<i64>,
    /// Who sleeps, by lock, longest first.
    queues: Vec<Vec<usize>>,
    kills: u32,
}

impl<'a> State<'a> {
    fn new(program: &'a [&'a [Word]], objects: usize, kills: u32) -> Self {
        let tasks = program.len();
        Self {
            program,
            made: vec![0; tasks],
            asleep: vec![false; tasks],
            dead: vec![false; tasks],
            registers: vec![0; tasks],
            values: vec![0; objects],
            queues: vec![Vec::new(); objects],
            kills,
        }
    }

    fn is_left(&self, task: usize) -> bool {
        !self.dead[task] && self.made[task] <= self.program[task].len()
    }

    fn run(&mut self, task: usize) {
        if let Some(word) = self.made[task].checked_sub(1).map(|index| self.program[task][index]) {
            match word {
                Read(object) => self.registers[task] = self.values[object as usize],
                Write(object, more) => self.values[object as usize] = self.registers[task] + more,
                Lock(object) if self.values[object as usize] == 1 => {
                    self.queues[object as usize].push(task);
                    self.asleep[task] = true;
                    return;
                }
                Lock(object) => self.values[object as usize] = 1,
                Unlock(object) => {
                    self.values[object as usize] = 0;
                    assert!(self.queues[object as usize].len() < 2, "which of two wakes is not counted here");
                    if let Some(first) = self.queues[object as usize].pop() {
                        self.asleep[first] = false;
                    }
                }
                _ => unreachable!("not counted here"),
            }
        }
        self.made[task] += 1;
    }

    fn kill(&mut self, task: usize) {
        self.dead[task] = true;
        self.asleep[task] = false;
        self.queues.iter_mut().for_each(|queue| queue.retain(|sleeper| *sleeper != task));
        self.kills -= 1;
    }

    fn count(&self, likely: f64, is_bug: IsBug, counts: &mut Counts) {
        let tasks = 0..self.program.len();
        let left: Vec<_> = tasks.filter(|task| self.is_left(*task)).collect();
        let able: Vec<_> = left.iter().copied().filter(|task| !self.asleep[*task]).collect();
        if able.is_empty() {
            let end = if left.is_empty() { End::Done } else { End::Deadlock };
            let buggy = is_bug(end, &self.values);
            counts.all += 1;
            counts.buggy += u64::from(buggy);
            counts.probability += if buggy { likely } else { 0.0 };
            return;
        }
        let mut victims = left;
        victims.retain(|task| self.kills > 0 && self.made[*task] > 0);
        let likely = likely / (able.len() + victims.len()) as f64;
        for task in able {
            let mut next = self.clone();
            next.run(task);
            next.count(likely, is_bug, counts);
        }
        for task in victims {
            let mut next = self.clone();
            next.kill(task);
            next.count(likely, is_bug, counts);
        }
    }
}

fn counted(program: &[&[Word]], objects: usize, kills: u32, is_bug: IsBug) -> Counts {
    let mut counts = Counts::default();
    State::new(program, objects, kills).count(1.0, is_bug, &mut counts);
    counts
}

fn check(program: &[&[Word]], objects: usize, kills: u32, is_bug: IsBug) -> Counts {
    let budget = Budget { kills, ..NO_FAULTS };
    let (ours, theirs) = (explored(program, budget, is_bug), counted(program, objects, kills, is_bug));
    assert_eq!((ours.all, ours.buggy), (theirs.all, theirs.buggy));
    assert!((ours.probability - theirs.probability).abs() < 1e-12, "{ours:?} {theirs:?}");
    assert!(ours.buggy > 0 && ours.buggy < ours.all, "{ours:?}");
    let mut walk = Schedule::new(Box::new(Walk::new(42)), budget);
    let walks = 20_000;
    let buggy = |_: &u32| run(&mut walk, program, true).is_some_and(|(end, values)| is_bug(end, &values));
    let share = (0..walks).filter(buggy).count() as f64 / f64::from(walks);
    let deviation = (ours.probability * (1.0 - ours.probability) / f64::from(walks)).sqrt();
    assert!((share - ours.probability).abs() < 4.0 * deviation, "{share}, not {}", ours.probability);
    ours
}

fn multinomial(steps: &[u64]) -> u64 {
    let factorial = |n: u64| (1..=n).product::<u64>();
    factorial(steps.iter().sum()) / steps.iter().map(|n| factorial(*n)).product::<u64>()
}

#[test]
fn without_waits_there_are_as_many_schedules_as_ways_to_merge_the_steps() {
    let word = Write(0, 0);
    for lengths in [&[1, 1][..], &[2, 2], &[1, 4], &[3, 3], &[1, 1, 1], &[2, 1, 1], &[0, 2, 2], &[1, 1, 1, 0], &[5]] {
        let tasks: Vec<Vec<Word>> = lengths.iter().map(|length| vec![word; *length]).collect();
        let tasks: Vec<&[Word]> = tasks.iter().map(Vec::as_slice).collect();
        // One step comes to the first word.
        let steps: Vec<u64> = lengths.iter().map(|length| *length as u64 + 1).collect();
        assert_eq!(explored(&tasks, NO_FAULTS, |_, _| false).all, multinomial(&steps), "{lengths:?}");
    }
}

#[test]
fn no_schedule_comes_twice() {
    let add: &[_] = &[Read(0), Write(0, 1)];
    let mut schedule = Schedule::new(Box::new(Every::new()), Budget { kills: 1, ..NO_FAULTS });
    let mut seen = std::collections::HashSet::new();
    while run(&mut schedule, &[add, add], true).is_some() {
        assert!(seen.insert(schedule.record.choices().collect::<Vec<Choice>>()));
    }
    assert!(run(&mut schedule, &[add, add], true).is_none());
}

#[test]
fn lost_updates() {
    let add: &[_] = &[Read(0), Write(0, 1)];
    assert_eq!(check(&[add, add], 1, 0, |_, values| values[0] < 2).all, 20);
    assert_eq!(check(&[add, add, add], 1, 0, |_, values| values[0] < 3).all, 1680);
}

#[test]
fn abba() {
    let (left, right): (&[_], &[_]) =
        (&[Lock(0), Lock(1), Unlock(1), Unlock(0)], &[Lock(1), Lock(0), Unlock(0), Unlock(1)]);
    check(&[left, right], 2, 0, |end, _| end == End::Deadlock);
    check(&[left, right], 2, 1, |end, _| end == End::Deadlock);
}

#[test]
fn a_killed_lock_holder() {
    let visit: &[_] = &[Lock(0), Unlock(0)];
    check(&[visit, visit], 1, 1, |end, _| end == End::Deadlock);
    check(&[visit, visit], 1, 2, |_, values| values[0] == 1);
}

#[test]
fn progress_is_the_share_that_is_behind() {
    use std::sync::{Arc, Mutex};
    use underpass_lab::choice::Crossing;
    use underpass_lab::record::Record;
    use underpass_lab::strategy::Strategy;

    /// Lets the test look at a strategy that a schedule owns.
    #[derive(Debug)]
    struct Watched(Arc<Mutex<Every>>);
    impl Strategy for Watched {
        fn begin(&mut self) -> bool {
            self.0.lock().unwrap().begin()
        }
        fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
            self.0.lock().unwrap().choose(crossing)
        }
        fn end(&mut self, record: &Record) {
            self.0.lock().unwrap().end(record);
        }
    }

    let every = Arc::new(Mutex::new(Every::new()));
    let mut schedule = Schedule::new(Box::new(Watched(every.clone())), NO_FAULTS);
    let add: &[_] = &[Read(0), Write(0, 1)];
    let (mut behind, mut schedules) = (0.0, 0);
    while run(&mut schedule, &[add, add, add], false).is_some() {
        let progress = every.lock().unwrap().progress();
        assert!((progress - behind).abs() < 1e-9, "{progress}, not {behind}");
        behind +=
            1.0 / (0..schedule.record.len()).map(|step| schedule.record.options(step).len() as f64).product::<f64>();
        schedules += 1;
        assert_eq!(every.lock().unwrap().schedules(), schedules);
    }
    assert!((behind - 1.0).abs() < 1e-9);
    assert!((every.lock().unwrap().progress() - 1.0).abs() < f64::EPSILON);
}
