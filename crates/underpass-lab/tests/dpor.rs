//! Partial-order reduction against every schedule there is.

mod toy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use toy::Word::{self, Lock, LockFor, Read, Sleep, Unlock, Wake, Write};
use toy::{Values, run};
use underpass_lab::choice::{Choice, Crossing, Process, Task};
use underpass_lab::record::{End, Manner, Record, Thing, Tie};
use underpass_lab::schedule::{Budget, Schedule};
use underpass_lab::strategy::Strategy;
use underpass_lab::strategy::dpor::Dpor;
use underpass_lab::strategy::walk::Dice;

const NO_FAULTS: Budget = Budget { kills: 0, faults: 0, preemptions: None, steps: 1000, early: true };

/// A class of schedules, by the one of them that does what is first in order as early as it can.
type Class = Vec<(Choice, Vec<u32>)>;

/// What a strategy has shown: the classes, how often each, and the ends.
#[derive(Debug, Default)]
struct Shown {
    classes: BTreeMap<Class, usize>,
    ends: BTreeSet<(u8, Values)>,
    schedules: usize,
}

impl Shown {
    fn add(&mut self, class: Class, end: End, values: Values) {
        self.schedules += 1;
        *self.classes.entry(class).or_default() += 1;
        self.ends.insert((end as u8, values));
    }
}

/// Every schedule, one choice after another.
#[derive(Debug, Default)]
struct Every {
    /// Who finds a lock taken stands back.
    bars: bool,
    path: Vec<(usize, usize)>,
    at: usize,
    begun: bool,
}

impl Strategy for Every {
    fn begin(&mut self) -> bool {
        self.at = 0;
        if !std::mem::replace(&mut self.begun, true) {
            return true;
        }
        while let Some((chosen, count)) = self.path.pop() {
            if chosen + 1 < count {
                self.path.push((chosen + 1, count));
                return true;
            }
        }
        false
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        if self.at == self.path.len() {
            self.path.push((0, crossing.options.len()));
        }
        self.at += 1;
        Some(self.path[self.at - 1].0)
    }

    fn bars(&self) -> bool {
        self.bars
    }

    fn end(&mut self, _record: &Record) {}
}

/// What a transition uses.
fn uses(record: &Record, first: usize, end: usize) -> BTreeSet<Tie> {
    let mut uses = BTreeSet::new();
    let change = Manner::Change;
    let mut task = |task: usize| uses.insert(Tie { thing: Thing::Task(Task(task as u32)), manner: change });
    match record.choice(first) {
        Choice::Run(one) | Choice::Expire(one) | Choice::Spurious(one) => {
            task(one.index());
        }
        Choice::Kill(Process(one)) | Choice::Stop(Process(one)) | Choice::Continue(Process(one)) => {
            let mine = (0..record.processes.len()).filter(|index| record.processes[*index].0 == one);
            mine.for_each(|index| {
                task(index);
            });
        }
        Choice::Pick(_) => unreachable!("no toy picks first"),
    }
    for step in first..end {
        uses.extend(record.ties(step));
    }
    uses
}

/// The class of a schedule.
fn class(record: &Record) -> Class {
    let all: Vec<usize> = (0..record.len()).filter(|step| !matches!(record.choice(*step), Choice::Pick(_))).collect();
    // Who stands back has done nothing.
    let heads: Vec<usize> = all.iter().copied().filter(|step| record.barred(*step).is_none()).collect();
    let end = |index: usize| all.iter().copied().find(|head| *head > heads[index]).unwrap_or(record.len());
    let events: Vec<_> = heads.iter().enumerate().map(|(index, head)| uses(record, *head, end(index))).collect();
    let clash = |one: usize, other: usize| events[one].iter().any(|tie| events[other].iter().any(|it| tie.clashes(it)));
    let label = |index: usize| {
        let picks = (heads[index] + 1..end(index)).map(|step| match record.choice(step) {
            Choice::Pick(number) => number,
            _ => unreachable!("within a transition"),
        });
        (record.choice(heads[index]), picks.collect::<Vec<_>>())
    };
    let mut left: Vec<usize> = (0..heads.len()).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let free = |place: &usize| left[..*place].iter().all(|before| !clash(*before, left[*place]));
        let place = (0..left.len()).filter(free).min_by_key(|place| label(left[*place])).expect("the first is free");
        order.push(label(left.remove(place)));
    }
    order
}

/// The reduction, and where it says how many classes and pruned schedules it has seen, and how far it is.
#[derive(Debug)]
struct Told {
    dpor: Dpor,
    counts: Arc<Mutex<(u64, u64, f64)>>,
}

impl Told {
    fn tell(&self) {
        *self.counts.lock().unwrap() = (self.dpor.classes(), self.dpor.pruned(), self.dpor.progress());
    }
}

impl Strategy for Told {
    fn begin(&mut self) -> bool {
        let more = self.dpor.begin();
        self.tell();
        more
    }

    fn choose(&mut self, crossing: &Crossing<'_>) -> Option<usize> {
        self.dpor.choose(crossing)
    }

    fn bars(&self) -> bool {
        self.dpor.bars()
    }

    fn end(&mut self, record: &Record) {
        self.dpor.end(record);
        self.tell();
    }
}

/// What every schedule shows; none: there are more than so many.
fn every(program: &[&[Word]], budget: Budget, limit: usize, bars: bool) -> Option<Shown> {
    let mut schedule = Schedule::new(Box::new(Every { bars, ..Every::default() }), budget);
    let mut shown = Shown::default();
    while let Some((end, values)) = run(&mut schedule, program, budget.kills > 0) {
        shown.add(class(&schedule.record), end, values);
        if shown.schedules > limit {
            return None;
        }
    }
    Some(shown)
}

/// What the reduction shows, and how many schedules it has pruned.
fn reduced(dpor: Dpor, program: &[&[Word]], budget: Budget) -> (Shown, u64) {
    let counts = Arc::new(Mutex::new((0, 0, 0.0)));
    let mut schedule = Schedule::new(Box::new(Told { dpor, counts: counts.clone() }), budget);
    let (mut shown, mut before) = (Shown::default(), 0);
    while let Some((end, values)) = run(&mut schedule, program, budget.kills > 0) {
        let (classes, ..) = *counts.lock().unwrap();
        // One that turned out to be in vain too late to be cut off is no class.
        if std::mem::replace(&mut before, classes) != classes {
            shown.add(class(&schedule.record), end, values);
        }
    }
    let (classes, pruned, progress) = *counts.lock().unwrap();
    assert_eq!(classes, shown.schedules as u64);
    assert!((progress - 1.0).abs() < 1e-9, "{progress}");
    (shown, pruned)
}

/// A program from a seed.
fn random(dice: &mut Dice, tasks: usize, words: usize) -> Vec<Vec<Word>> {
    let word = |dice: &mut Dice| {
        let object = dice.below(3) as u32;
        match dice.below(9) {
            0 | 1 => Read(object),
            2 => Write(object, i64::from(dice.below(3) as u32)),
            3 => Lock(object),
            4 | 5 => Unlock(object),
            6 => LockFor(object, 1 + dice.below(9) as u64),
            7 => Sleep(object),
            _ => Wake(object),
        }
    };
    (0..tasks).map(|_| (0..=dice.below(words)).map(|_| word(dice)).collect()).collect()
}

/// The same with two locks, which nothing else changes, a variable, and a bell.
fn locking(dice: &mut Dice, tasks: usize, words: usize) -> Vec<Vec<Word>> {
    let word = |dice: &mut Dice| {
        let lock = dice.below(2) as u32;
        match dice.below(9) {
            0 | 1 => Lock(lock),
            2 => LockFor(lock, 1 + dice.below(9) as u64),
            3 | 4 => Unlock(lock),
            5 => Read([lock, 2][dice.below(2)]),
            6 => Write(2, i64::from(dice.below(3) as u32)),
            7 => Sleep(3),
            _ => Wake(3),
        }
    };
    (0..tasks).map(|_| (0..=dice.below(words)).map(|_| word(dice)).collect()).collect()
}

/// Compares the reduction with every schedule, on random programs.
fn compare(seed: u64, programs: usize, budget: Budget, check: impl Fn(&Shown, &Shown, &str)) {
    let mut dice = Dice::new(seed);
    let (mut compared, mut all, mut some, mut vain) = (0, 0, 0, 0);
    for _ in 0..programs {
        let tasks = 2 + dice.below(2);
        let program = random(&mut dice, tasks, if tasks == 2 { 4 } else { 2 });
        let program: Vec<&[Word]> = program.iter().map(Vec::as_slice).collect();
        let Some(every) = every(&program, budget, 2_000, false) else { continue };
        let (shown, pruned) = reduced(Dpor::new().with_every_wait(), &program, budget);
        check(&every, &shown, &format!("{program:?}"));
        compared += 1;
        all += every.schedules;
        some += shown.schedules;
        vain += pruned;
    }
    assert!(compared > programs / 5);
    println!("{compared} programs: {all} schedules, {some} explored, {vain} pruned");
}

/// Every class and every end is found.
fn is_complete(every: &Shown, shown: &Shown, program: &str) {
    assert_eq!(shown.ends, every.ends, "{program}");
    let missed = every.classes.keys().find(|class| !shown.classes.contains_key(*class));
    let extra = shown.classes.keys().find(|class| !every.classes.contains_key(*class));
    assert_eq!((missed, extra), (None, None), "{program}");
}

fn is_optimal(every: &Shown, shown: &Shown, program: &str) {
    is_complete(every, shown, program);
    // None of them twice.
    assert_eq!(shown.schedules, every.classes.len(), "{program}");
}

#[test]
fn every_class_is_explored_once() {
    compare(1, 200, NO_FAULTS, is_optimal);
}

#[test]
fn every_class_of_those_who_stand_back_is_explored_once() {
    let mut dice = Dice::new(10);
    let (mut compared, mut in_vain, mut fewer) = (0, 0, 0);
    for _ in 0..500 {
        let tasks = 2 + dice.below(2);
        let program = locking(&mut dice, tasks, if tasks == 2 { 5 } else { 3 });
        let program: Vec<&[Word]> = program.iter().map(Vec::as_slice).collect();
        let Some(with_waits) = every(&program, NO_FAULTS, 4_000, false) else { continue };
        let Some(every) = every(&program, NO_FAULTS, 4_000, true) else { continue };
        assert_eq!(every.ends, with_waits.ends, "{program:?}");
        let (shown, pruned) = reduced(Dpor::new(), &program, NO_FAULTS);
        is_optimal(&every, &shown, &format!("{program:?}"));
        compared += 1;
        in_vain += pruned;
        fewer += usize::from(every.classes.len() < with_waits.classes.len());
    }
    println!("{compared} programs, of which {fewer} have fewer classes; {in_vain} pruned");
    assert!(compared > 200 && fewer > 50 && in_vain == 0);
}

#[test]
fn every_class_with_a_fault_is_explored() {
    compare(2, 200, Budget { faults: 1, ..NO_FAULTS }, is_complete);
}

#[test]
fn every_class_with_a_death_is_explored() {
    compare(3, 200, Budget { kills: 1, ..NO_FAULTS }, is_complete);
}

#[test]
fn every_class_with_late_time_outs_is_explored() {
    compare(8, 100, Budget { early: false, ..NO_FAULTS }, is_complete);
    compare(9, 100, Budget { kills: 1, early: false, ..NO_FAULTS }, is_complete);
}

#[test]
fn every_class_with_two_deaths_or_faults_is_explored() {
    for (kills, faults) in [(2, 0), (0, 2), (1, 1)] {
        compare(4, 300, Budget { kills, faults, ..NO_FAULTS }, is_complete);
    }
}

#[test]
fn two_who_sleep_when_all_others_have_ended_can_both_die() {
    let program: &[&[Word]] = &[&[Unlock(1)], &[Sleep(0), Unlock(0)], &[Sleep(2), Write(0, 1)]];
    let budget = Budget { kills: 2, ..NO_FAULTS };
    is_complete(
        &every(program, budget, 20_000, false).expect("few"),
        &reduced(Dpor::new().with_every_wait(), program, budget).0,
        "",
    );
}

#[test]
fn a_sleep_that_ends_without_a_cause_can_come_before_the_last_death() {
    let program: &[&[Word]] = &[&[Unlock(1), Read(2), Lock(1)], &[Sleep(1)]];
    let budget = Budget { kills: 1, faults: 1, ..NO_FAULTS };
    is_complete(
        &every(program, budget, 20_000, false).expect("few"),
        &reduced(Dpor::new().with_every_wait(), program, budget).0,
        "",
    );
}

#[test]
fn every_class_within_a_limit_of_preemptions_is_explored() {
    for preemptions in 0..4 {
        for (kills, faults) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let budget = Budget { kills, faults, preemptions: Some(preemptions), ..NO_FAULTS };
            compare(5 + u64::from(preemptions), 60, budget, is_complete);
        }
    }
}

#[test]
fn a_limit_of_preemptions_leaves_the_reduction_on() {
    let (long, short): (&[_], &[_]) = (&[Read(0), Write(1, 1), Read(0)], &[Write(1, 2), Read(0)]);
    let own = [long, short, long, short];
    for (preemptions, share) in [(1, 1), (2, 2), (3, 6)] {
        let budget = Budget { preemptions: Some(preemptions), ..NO_FAULTS };
        let every = every(&own, budget, 30_000, false).expect("few");
        let mut schedule = Schedule::new(Box::new(Dpor::new()), budget);
        let runs = std::iter::from_fn(|| run(&mut schedule, &own, false)).count();
        assert!(runs * share <= every.schedules, "{preemptions}: {runs} of {}", every.schedules);
    }
}

/// Says whether a reduction with a part of the dependence misses a class of some random program.
fn is_caught(sees: fn(&Tie) -> bool, budget: Budget) -> bool {
    let mut dice = Dice::new(9);
    (0..100).any(|_| {
        let program = random(&mut dice, 2, 4);
        let program: Vec<&[Word]> = program.iter().map(Vec::as_slice).collect();
        let Some(every) = every(&program, budget, 2_000, false) else { return false };
        let (shown, _) = reduced(Dpor::seeing(sees).with_every_wait(), &program, budget);
        !shown.classes.keys().eq(every.classes.keys())
    })
}

#[test]
fn a_gap_in_the_dependence_is_caught() {
    assert!(!is_caught(|_| true, NO_FAULTS));
    assert!(is_caught(|tie| tie.manner != Manner::Look, NO_FAULTS));
    assert!(is_caught(|tie| !matches!(tie.thing, Thing::Object(_)), NO_FAULTS));
    assert!(is_caught(|tie| !matches!(tie.thing, Thing::Sleepers(_)), Budget { kills: 1, ..NO_FAULTS }));
}

/// How many classes a program has; all of them are explored without a schedule in vain.
fn count(program: &[&[Word]], dpor: Dpor) -> usize {
    let (shown, pruned) = reduced(dpor, program, NO_FAULTS);
    assert_eq!(pruned, 0);
    shown.schedules
}

#[test]
fn the_classes_of_known_programs() {
    assert_eq!(count(&[&[Read(0), Sleep(1)], &[Write(0, 1), Wake(1)]], Dpor::new()), 4);
    // Who comes first to each of three forks, but not all of them to the right one; all to the left one is the deadlock.
    let meal = |left, right| [Lock(left), Lock(right), Unlock(right), Unlock(left)];
    let table: &[&[Word]] = &[&meal(0, 1), &meal(1, 2), &meal(2, 0)];
    assert_eq!(count(table, Dpor::new()), 7);
    // Those who find a fork taken and sleep told apart from those who come later.
    assert_eq!(count(table, Dpor::new().with_every_wait()), 49);
    // The orders of three writes and a read, (3 + 1)!, of each variable.
    let set: &[_] = &[Write(0, 1), Write(1, -1)];
    assert_eq!(count(&[set, set, set, &[Read(0), Read(1)]], Dpor::new()), 576);
}
