//! What the strategies promise: the same schedules for a seed, probabilities, deaths and faults at every moment.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "the counts are small")]

mod toy;

use std::collections::{BTreeMap, BTreeSet};

use toy::Word::{self, Lock, LockFor, Read, Shift, Sleep, Unlock, Wake, Write};
use toy::run;
use underpass_lab::choice::{Choice, Pending, Task};
use underpass_lab::record::End;
use underpass_lab::schedule::{Budget, Schedule};
use underpass_lab::strategy::named;
use underpass_lab::strategy::pct::Pct;
use underpass_lab::world::Traits;

const NO_FAULTS: Budget = Budget { kills: 0, faults: 0, early: true, preemptions: None, steps: 1000 };
const ORDERING: [&str; 5] = ["turns", "pct", "pos", "urw", "surw"];

fn schedules(strategy: &str, seed: u64, budget: Budget) -> Schedule {
    Schedule::new(named(strategy, seed).expect("a strategy"), budget)
}

/// How far counts are from all being the same, as chi-square sees it, in deviations of what chance makes.
fn unevenness(counts: &[usize]) -> f64 {
    let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    let square: f64 = counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    (square - freedom) / (2.0 * freedom).sqrt()
}

#[test]
fn a_seed_makes_the_same_schedules() {
    let program: &[&[Word]] =
        &[&[Lock(0), LockFor(1, 9), Unlock(0)], &[Lock(1), LockFor(0, 9), Unlock(1)], &[Read(2), Write(2, 1)]];
    let budget = Budget { kills: 1, faults: 2, ..NO_FAULTS };
    let choices = |strategy, seed| -> Vec<Vec<Choice>> {
        let mut schedule = schedules(strategy, seed, budget);
        let one = |_| run(&mut schedule, program, true).map(|_| schedule.record.choices().collect());
        (0..100).filter_map(one).collect()
    };
    for strategy in ["walk", "turns", "pct", "pos", "urw", "surw", "portfolio", "every"] {
        assert_eq!(choices(strategy, 3), choices(strategy, 3), "{strategy}");
        assert_eq!(choices(strategy, 3) == choices(strategy, 4), strategy == "every", "{strategy}");
    }
    assert!(named("best", 0).is_none());
}

#[test]
fn turns_begin_with_a_switch_at_every_step_and_with_none() {
    let three: &[_] = &[Write(0, 0); 3];
    let mut schedule = schedules("turns", 1, NO_FAULTS);
    let mut order = || {
        run(&mut schedule, &[three, three], false);
        let tasks = schedule.record.choices().map(|choice| match choice {
            Choice::Run(task) => task.0,
            other => panic!("{other:?}"),
        });
        tasks.collect::<Vec<_>>()
    };
    assert_eq!(order(), [1, 0, 1, 0, 1, 0, 1, 0]);
    assert_eq!(order(), [1, 1, 1, 1, 0, 0, 0, 0]);
    assert_eq!(order(), [0, 1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(order(), [0, 0, 0, 0, 1, 1, 1, 1]);
    // One delay before one of six steps: the round goes on behind whoever is left out.
    let delayed: BTreeSet<_> = (0..100).map(|_| order()).filter(|order| order[..3] != [1, 1, 1]).collect();
    assert!(delayed.contains(&vec![1, 0, 0, 1, 0, 1, 0, 1]), "{delayed:?}");
}

#[test]
fn pct_keeps_its_guarantee() {
    // Task 0 reads and writes; task 1 writes between: an order of depth 2 among 3 tasks and 8 steps at what they share.
    let program: &[&[Word]] =
        &[&[Read(0), Write(0, 1)], &[Write(0, 10)], &[Read(0), Read(0), Read(0), Read(0), Read(0)]];
    let mut schedule = Schedule::new(Box::new(Pct::of_depth(5, 2)), NO_FAULTS);
    let lost = |_: &u32| run(&mut schedule, program, false).is_some_and(|(_, values)| values[0] == 1);
    let runs = 4000;
    let found = (0..runs).filter(lost).count();
    assert!(found as f64 >= f64::from(runs) / (3.0 * 8.0), "{found} of {runs}");
}

#[test]
fn pct_without_a_change_preempts_nobody() {
    let add: &[_] = &[Read(0), Write(0, 1)];
    let mut first = Schedule::new(Box::new(Pct::of_depth(5, 1)), NO_FAULTS);
    let mut second = Schedule::new(Box::new(Pct::of_depth(5, 2)), NO_FAULTS);
    assert!((0..200).all(|_| run(&mut first, &[add, add, add], false).unwrap().1 == [3]));
    assert!((0..200).any(|_| run(&mut second, &[add, add, add], false).unwrap().1 != [3]));
}

#[test]
fn urw_makes_each_schedule_as_likely_as_any_other() {
    let program: &[&[Word]] = &[&[Write(0, 0)], &[Write(1, 0); 4]];
    let spread = |strategy| {
        let mut schedule = schedules(strategy, 1, NO_FAULTS);
        let mut counts = BTreeMap::new();
        run(&mut schedule, program, false);
        for _ in 0..21 * 200 {
            run(&mut schedule, program, false);
            *counts.entry(schedule.record.choices().collect::<Vec<_>>()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 21, "{strategy}");
        unevenness(&counts.into_values().collect::<Vec<_>>())
    };
    assert!(spread("urw") < 4.0, "{}", spread("urw"));
    assert!(spread("walk") > 40.0, "{}", spread("walk"));
}

#[test]
fn surw_makes_each_order_at_one_object_as_likely_as_any_other() {
    let (much, little): (Vec<Word>, Vec<Word>) = (
        [Write(1, 0); 10].into_iter().chain([Shift(0, 0); 3]).collect(),
        [Shift(0, 1); 3].into_iter().chain([Write(2, 0); 4]).collect(),
    );
    let program: &[&[Word]] = &[&much, &little];
    let spread = |strategy| {
        let mut schedule = schedules(strategy, 2, NO_FAULTS);
        let mut counts = [0; 64];
        run(&mut schedule, program, false);
        for _ in 0..20 * 200 {
            let (_, values) = run(&mut schedule, program, false).unwrap();
            counts[values[0] as usize] += 1;
        }
        let orders: Vec<_> = (0..64_usize).filter(|order| order.count_ones() == 3).map(|order| counts[order]).collect();
        unevenness(&orders)
    };
    assert!(spread("surw") < 4.0, "{}", spread("surw"));
    assert!(spread("walk") > 40.0, "{}", spread("walk"));
}

#[test]
fn a_process_dies_at_each_of_its_moments_alike() {
    let program: &[&[Word]] = &[&[Write(0, 0); 20]];
    for strategy in ORDERING {
        let mut schedule = schedules(strategy, 3, Budget { kills: 1, ..NO_FAULTS });
        let (mut moments, mut spared) = ([0; 21], 0);
        for _ in 0..30_000 {
            run(&mut schedule, program, true);
            let died = schedule.record.choices().position(|choice| matches!(choice, Choice::Kill(_)));
            died.map_or_else(|| spared += 1, |moment| moments[moment] += 1);
        }
        // Nobody dies before the first step, so what is drawn for then happens after it.
        assert_eq!(moments[0], 0);
        assert!(unevenness(&moments[2..]) < 4.0, "{strategy}: {moments:?}");
        assert!((4_000..6_000).contains(&spared), "{strategy}: {spared}");
    }
}

#[test]
fn one_death_leaves_room_for_another_only_if_the_budget_does() {
    let worker: &[_] = &[Write(0, 0); 4];
    let mut schedule = schedules("pos", 3, Budget { kills: 2, ..NO_FAULTS });
    let mut deaths = [0; 4];
    for _ in 0..1000 {
        run(&mut schedule, &[worker, worker, worker], true);
        deaths[schedule.record.choices().filter(|choice| matches!(choice, Choice::Kill(_))).count()] += 1;
    }
    assert!(deaths[..3].iter().all(|count| *count > 100), "{deaths:?}");
    assert_eq!(deaths[3], 0);
}

#[test]
fn a_time_out_fires_early_sometimes_and_late_mostly() {
    let holder: Vec<Word> = [Lock(0)].into_iter().chain([Write(1, 0); 10]).chain([Unlock(0)]).collect();
    for strategy in ORDERING {
        let mut schedule = schedules(strategy, 4, NO_FAULTS);
        let (mut early, mut sleeps) = (0, 0);
        for _ in 0..1000 {
            let (end, _) = run(&mut schedule, &[&holder, &[LockFor(0, 5), Unlock(0)]], false).unwrap();
            assert_eq!(end, End::Done);
            let expiry = Choice::Expire(Task(1));
            sleeps +=
                usize::from((0..schedule.record.len()).any(|step| schedule.record.options(step).contains(&expiry)));
            early += usize::from(schedule.record.choices().any(|choice| choice == expiry));
        }
        assert!(early > 0 && early * 3 < sleeps, "{strategy}: {early} of {sleeps}");
    }
}

#[test]
fn a_time_out_fires_where_nobody_else_can_go_on() {
    for strategy in ORDERING {
        let mut schedule = schedules(strategy, 4, NO_FAULTS);
        let ends = [(); 50].map(|()| {
            // Whoever comes second sleeps, and only one of them until a time.
            let (end, _) = run(&mut schedule, &[&[Lock(0)], &[LockFor(0, 5)]], false).unwrap();
            let expired = schedule.record.choices().any(|choice| choice == Choice::Expire(Task(1)));
            assert_eq!(end, if expired { End::Done } else { End::Deadlock }, "{strategy}");
            end
        });
        assert!(ends.contains(&End::Done) && ends.contains(&End::Deadlock), "{strategy}");
    }
}

#[test]
fn faults_of_each_kind_happen_and_end() {
    let program: &[&[Word]] = &[&[Sleep(0), Read(1)], &[Write(1, 1), Write(1, 1), Wake(0)]];
    for strategy in ORDERING {
        let mut schedule = schedules(strategy, 5, Budget { faults: 1, ..NO_FAULTS });
        let (mut stops, mut continues, mut disturbed, mut others_ran) = (0, 0, 0, 0);
        for _ in 0..1000 {
            run(&mut schedule, program, true);
            let choices: Vec<_> = schedule.record.choices().collect();
            stops += choices.iter().filter(|choice| matches!(choice, Choice::Stop(_))).count();
            continues += choices.iter().filter(|choice| matches!(choice, Choice::Continue(_))).count();
            disturbed += choices.iter().filter(|choice| matches!(choice, Choice::Spurious(_))).count();
            let stop = choices.iter().position(|choice| matches!(choice, Choice::Stop(_)));
            others_ran += usize::from(stop.is_some_and(|stop| matches!(choices.get(stop + 1), Some(Choice::Run(_)))));
        }
        assert_eq!(stops, continues, "{strategy}");
        assert!(stops > 200 && others_ran > 100 && disturbed > 50, "{strategy}: {stops} {others_ran} {disturbed}");
    }
}

#[test]
fn refusals_are_rare_and_come_at_each_moment_alike() {
    let mut schedule = schedules("urw", 6, Budget { faults: 1, ..NO_FAULTS });
    let mut moments = [0; 20];
    for _ in 0..3000 {
        schedule.begin();
        let process = schedule.world.add_process(Traits { mortal: false, servant: false });
        let task = schedule.world.add_task(process);
        schedule.advance();
        for moment in &mut moments {
            *moment += usize::from(schedule.refuses());
            schedule.arrive(Pending::START);
        }
        schedule.finish(task);
        schedule.advance();
        assert_eq!(schedule.end(false), End::Done);
    }
    let refused: usize = moments.iter().sum();
    assert!((1800..2700).contains(&refused), "{moments:?}");
    assert!(unevenness(&moments[1..]) < 6.0, "{moments:?}");
}
