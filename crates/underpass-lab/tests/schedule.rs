//! The engine on toy programs.

mod toy;

use toy::Word::{Lock, LockFor, Read, Sleep, Unlock, Wake, Write};
use toy::run;
use underpass_lab::choice::Choice;
use underpass_lab::record::End;
use underpass_lab::schedule::{Budget, Schedule};
use underpass_lab::strategy::replay::{Follow, Replay};
use underpass_lab::strategy::walk::Walk;
use underpass_lab::token;

const NO_FAULTS: Budget = Budget { kills: 0, faults: 0, early: true, preemptions: None, steps: 1000 };

fn ends(program: &[&[toy::Word]], budget: Budget, mortal: bool) -> Vec<(End, toy::Values)> {
    let mut schedule = Schedule::new(Box::new(Walk::new(1)), budget);
    (0..300).filter_map(|_| run(&mut schedule, program, mortal)).collect()
}

#[test]
fn a_lost_update_happens_in_some_and_not_in_others() {
    let add: &[_] = &[Read(0), Write(0, 1)];
    let ends = ends(&[add, add], NO_FAULTS, false);
    assert!(ends.contains(&(End::Done, vec![2])));
    assert!(ends.contains(&(End::Done, vec![1])));
}

#[test]
fn without_preemptions_nothing_is_lost() {
    let add: &[_] = &[Read(0), Write(0, 1)];
    let ends = ends(&[add, add], Budget { preemptions: Some(0), ..NO_FAULTS }, false);
    assert!(ends.iter().all(|end| *end == (End::Done, vec![2])));
}

#[test]
fn abba_ends_in_a_deadlock_sometimes() {
    let ends =
        ends(&[&[Lock(0), Lock(1), Unlock(1), Unlock(0)], &[Lock(1), Lock(0), Unlock(0), Unlock(1)]], NO_FAULTS, false);
    assert!(ends.iter().any(|(end, _)| *end == End::Deadlock));
    assert!(ends.iter().any(|(end, _)| *end == End::Done));
}

#[test]
fn a_time_out_ends_a_sleep_that_nobody_ends() {
    let ends = ends(&[&[Lock(0)], &[LockFor(0, 5)]], NO_FAULTS, false);
    assert!(ends.iter().all(|(end, _)| matches!(end, End::Done | End::Deadlock)));
    assert!(ends.iter().any(|(end, _)| *end == End::Done));
}

/// Whose time-outs fire one after the other, in 50 schedules of three who want a lock until those seconds, and one who never gives it back.
fn expiries(seconds: [u64; 3], early: bool) -> Vec<Vec<usize>> {
    let mut schedule = Schedule::new(Box::new(Walk::new(1)), Budget { early, ..NO_FAULTS });
    let wanted = seconds.map(|second| [LockFor(0, second * 1_000_000_000)]);
    let program: [&[_]; 4] = [&wanted[0], &wanted[1], &wanted[2], &[Lock(0)]];
    let fired = |choice| if let Choice::Expire(task) = choice { Some(task.index()) } else { None };
    let of_one = |_| {
        run(&mut schedule, &program, false);
        schedule.record.choices().filter_map(fired).collect()
    };
    (0..50).map(of_one).collect()
}

#[test]
fn late_time_outs_fire_in_the_order_of_their_deadlines() {
    let seconds = [9, 3, 6];
    let in_order = |early| expiries(seconds, early).iter().all(|fired| fired.is_sorted_by_key(|task| seconds[*task]));
    assert!(in_order(false));
    assert!(!in_order(true));
}

#[test]
fn late_time_outs_of_one_time_fire_in_any_order() {
    let expiries = expiries([3, 3, 6], false);
    for first in 0..2 {
        assert!(expiries.iter().any(|fired| fired.first() == Some(&first)));
    }
}

#[test]
fn a_wake_before_the_sleep_is_lost() {
    let ends = ends(&[&[Sleep(0)], &[Wake(0)]], NO_FAULTS, false);
    assert!(ends.iter().any(|(end, _)| *end == End::Deadlock));
    assert!(ends.iter().any(|(end, _)| *end == End::Done));
}

#[test]
fn a_death_leaves_a_lock_taken() {
    let visit: &[_] = &[Lock(0), Unlock(0)];
    let ends = ends(&[visit, visit], Budget { kills: 1, ..NO_FAULTS }, true);
    assert!(ends.iter().any(|(end, _)| *end == End::Deadlock));
    assert!(ends.iter().any(|(end, values)| *end == End::Done && values[0] == 1));
}

#[test]
fn nothing_is_amiss_once_all_get_their_turns() {
    let wait: &[_] = &[LockFor(0, 5), LockFor(0, 5), LockFor(0, 5)];
    let budget = Budget { kills: u32::MAX, faults: u32::MAX, steps: 8, ..NO_FAULTS };
    let mut schedule = Schedule::new(Box::new(Walk::new(1)), budget);
    for _ in 0..100 {
        run(&mut schedule, &[&[Lock(0)], wait, wait], true);
        let late = schedule.record.choices().skip(8);
        assert!(late.into_iter().all(|choice| matches!(
            choice,
            Choice::Run(_) | Choice::Expire(_) | Choice::Continue(_) | Choice::Pick(_)
        )));
    }
}

#[test]
fn a_schedule_is_followed_again() {
    let program: &[&[toy::Word]] = &[&[Lock(0), LockFor(1, 9), Unlock(0)], &[Lock(1), LockFor(0, 9), Unlock(1)]];
    let mut walks = Schedule::new(Box::new(Walk::new(7)), Budget { kills: 1, faults: 1, ..NO_FAULTS });
    for _ in 0..100 {
        let end = run(&mut walks, program, true);
        let choices: Vec<_> = walks.record.choices().collect();
        let text = token::encode(walks.record.words());
        let replay = Replay::new(token::decode(&text).unwrap(), Follow::Exactly);
        let mut again = Schedule::new(Box::new(replay), Budget { kills: 1, faults: 1, ..NO_FAULTS });
        assert_eq!(run(&mut again, program, true), end, "{text}");
        assert_eq!(again.record.choices().collect::<Vec<_>>(), choices);
        assert_eq!(run(&mut again, program, true), None);
    }
}
