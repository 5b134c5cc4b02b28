//! The semaphore that knows who holds its units.

use std::sync::Arc;

use underpass_core::semaphore::leased::Leased;
use underpass_core::waiters::Order;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::semaphore::{HOLDERS, HolderTenureWords, HolderWords, LeasedWords};
use underpass_shm::place::{Placed, PlacedSlice};

use crate::kernel::{Dies, Running, World, explore, explore_long, join, sure};
use crate::notification::{until_waiting, waiters};

mod planted;

const ORDERS: [Option<Order>; 2] = [None, Some(Order::Arrival)];

/// Nothing is known of any holder.
pub fn tenures() -> PlacedSlice<HolderTenureWords> {
    PlacedSlice::own((0..HOLDERS).map(|_| HolderTenureWords::new()).collect())
}

fn semaphore(slots: usize, value: u32, order: Option<Order>) -> Arc<Leased> {
    let entries = PlacedSlice::own((0..HOLDERS).map(|_| HolderWords::new()).collect());
    Arc::new(Leased::new(Placed::own(LeasedWords::new(value)), entries, tenures(), waiters(slots), order))
}

fn acquirer(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Leased>) -> Running<Result<()>> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| semaphore.acquire(kernel, Deadline::Never))
}

/// One that takes a unit and gives it back.
fn user(world: &Arc<World>, life: u32, semaphore: &Arc<Leased>) -> Running<()> {
    let semaphore = semaphore.clone();
    world.spawn(life, move |kernel| {
        sure(semaphore.acquire(kernel, Deadline::Never));
        sure(semaphore.release(kernel, 1));
    })
}

/// One that holds a unit; the next thing that it does is to give it back, or to die.
fn hold(world: &Arc<World>, life: u32, semaphore: &Arc<Leased>) {
    world.run(life, |kernel| sure(semaphore.acquire(kernel, Deadline::NoWait)));
}

fn give(world: &Arc<World>, life: u32, semaphore: &Arc<Leased>) {
    world.run(life, |kernel| sure(semaphore.release(kernel, 1)));
}

fn free(world: &Arc<World>, semaphore: &Leased) -> u32 {
    world.run(9, |kernel| semaphore.value(kernel))
}

/// One that dies in the middle of a release, or right before it.
fn dying_releaser(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Leased>) -> Running<()> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| {
        if dies == Dies::Never {
            kernel.die();
        }
        sure(semaphore.release(kernel, 1));
    })
}

#[test]
fn test_units_come_back_from_those_who_took_them() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::new(), semaphore(2, 1, order));
            let users = [1, 2].map(|life| user(&world, life, &semaphore));
            join(users);
            assert_eq!(free(&world, &semaphore), 1);
        });
    }
}

#[test]
fn test_release_reaches_one_who_comes_to_wait() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::new(), semaphore(2, 1, order));
            hold(&world, 2, &semaphore);
            let taker = acquirer(&world, 1, Dies::Never, &semaphore);
            give(&world, 2, &semaphore);
            assert_eq!(taker.join(), Ok(()));
            assert_eq!(free(&world, &semaphore), 0);
        });
    }
}

#[test]
fn test_newcomer_takes_nothing_from_a_sleeper() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(2, 1, Some(Order::Arrival)));
        hold(&world, 3, &semaphore);
        let sleeper = acquirer(&world, 1, Dies::Never, &semaphore);
        until_waiting(&world, 1, || semaphore.waiting());
        let newcomer = world.spawn(2, {
            let semaphore = semaphore.clone();
            move |kernel| semaphore.acquire(kernel, Deadline::NoWait)
        });
        give(&world, 3, &semaphore);
        assert_eq!(sleeper.join(), Ok(()));
        assert_eq!(newcomer.join(), Err(Error::WouldBlock));
    });
}

/// Whoever comes first gets it; the one that was called for it waits on, and gets the next.
#[test]
fn test_one_who_was_called_and_found_nothing_waits_on() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(2, 1, None));
        hold(&world, 2, &semaphore);
        let sleeper = acquirer(&world, 1, Dies::Never, &semaphore);
        until_waiting(&world, 1, || semaphore.waiting());
        world.run(2, |kernel| {
            sure(semaphore.release(kernel, 1));
            if semaphore.acquire(kernel, Deadline::NoWait).is_ok() {
                sure(semaphore.release(kernel, 1));
            }
        });
        assert_eq!(sleeper.join(), Ok(()));
        assert_eq!(free(&world, &semaphore), 0);
    });
}

#[test]
fn test_more_waiters_than_slots() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::new(), semaphore(1, 2, order));
            hold(&world, 1, &semaphore);
            hold(&world, 1, &semaphore);
            let takers = [2, 3].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
            world.until_asleep(2);
            world.run(1, |kernel| sure(semaphore.release(kernel, 2)));
            assert_eq!(join(takers), [Ok(()), Ok(())]);
            assert_eq!(free(&world, &semaphore), 0);
        });
    }
}

#[test]
fn test_time_runs_out_as_a_unit_is_given() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::new(), semaphore(2, 1, order));
            hold(&world, 2, &semaphore);
            let late = world.spawn(1, {
                let semaphore = semaphore.clone();
                move |kernel| semaphore.acquire(kernel, Deadline::At(1))
            });
            until_waiting(&world, 1, || semaphore.waiting());
            let giver = world.spawn(2, {
                let semaphore = semaphore.clone();
                move |kernel| sure(semaphore.release(kernel, 1))
            });
            world.expire_sleeper(1);
            giver.join();
            let late = late.join();
            assert_eq!(free(&world, &semaphore), u32::from(late.is_err()));
        });
    }
}

#[test]
fn test_what_a_signal_leaves_goes_to_another() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::new(), semaphore(2, 1, order));
            hold(&world, 3, &semaphore);
            let ended = acquirer(&world, 1, Dies::Never, &semaphore);
            until_waiting(&world, 1, || semaphore.waiting());
            let taker = acquirer(&world, 2, Dies::Never, &semaphore);
            until_waiting(&world, 2, || semaphore.waiting());
            let interrupted = world.interrupt_sleeper(1);
            give(&world, 3, &semaphore);
            if ended.join().is_ok() {
                give(&world, 1, &semaphore);
            } else {
                assert!(interrupted);
            }
            assert_eq!(taker.join(), Ok(()));
            assert_eq!(free(&world, &semaphore), 0);
        });
    }
}

#[test]
fn test_reset_sends_away_all_who_wait() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(1, 1, Some(Order::Arrival)));
        hold(&world, 3, &semaphore);
        let waiters = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        world.until_asleep(2);
        world.run(3, |kernel| sure(semaphore.reset(kernel)));
        assert_eq!(join(waiters), [Err(Error::Reset), Err(Error::Reset)]);
        give(&world, 3, &semaphore);
        assert_eq!(free(&world, &semaphore), 1);
    });
}

#[test]
fn test_unit_of_a_holder_that_dies_is_taken_once() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::mortal(), semaphore(2, 1, order));
            hold(&world, 3, &semaphore);
            let taker = acquirer(&world, 1, Dies::Never, &semaphore);
            assert_eq!(dying_releaser(&world, 3, Dies::Never, &semaphore).end(), None);
            assert_eq!(taker.join(), Ok(()));
            assert_eq!(free(&world, &semaphore), 0);
        });
    }
}

/// Two sleep for what one holds who dies: one gets it, and the other what that one gives back.
#[test]
fn test_who_sleeps_on_watches_who_holds_by_then() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::mortal(), semaphore(2, 1, order));
            hold(&world, 3, &semaphore);
            let takers = [1, 2].map(|life| {
                let semaphore = semaphore.clone();
                let taker = world.spawn(life, move |kernel| {
                    sure(semaphore.acquire(kernel, Deadline::Never));
                    if life == 1 {
                        kernel.die();
                    }
                    sure(semaphore.release(kernel, 1));
                });
                taker
            });
            world.until_asleep(2);
            assert_eq!(dying_releaser(&world, 3, Dies::Never, &semaphore).end(), None);
            let [first, second] = takers;
            assert_eq!(first.end(), None);
            second.join();
            assert_eq!(free(&world, &semaphore), 1);
        });
    }
}

#[test]
fn test_releaser_dies_before_a_wake() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::mortal(), semaphore(2, 1, order));
            hold(&world, 3, &semaphore);
            let taker = acquirer(&world, 1, Dies::Never, &semaphore);
            until_waiting(&world, 1, || semaphore.waiting());
            assert_eq!(dying_releaser(&world, 3, Dies::BeforeWake, &semaphore).end(), None);
            assert_eq!(taker.join(), Ok(()));
            assert_eq!(free(&world, &semaphore), 0);
        });
    }
}

#[test]
fn test_unit_of_one_who_dies_woken_goes_to_another() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::mortal(), semaphore(2, 1, order));
            hold(&world, 3, &semaphore);
            let dying = acquirer(&world, 1, Dies::AfterPark, &semaphore);
            until_waiting(&world, 1, || semaphore.waiting());
            let taker = acquirer(&world, 2, Dies::Never, &semaphore);
            until_waiting(&world, 1, || semaphore.waiting());
            give(&world, 3, &semaphore);
            assert_eq!(taker.join(), Ok(()));
            assert_eq!(dying.end(), None);
            assert_eq!(free(&world, &semaphore), 0);
        });
    }
}

#[test]
fn test_sleeper_is_killed() {
    for order in ORDERS {
        explore(move || {
            let (world, semaphore) = (World::mortal(), semaphore(2, 1, order));
            hold(&world, 3, &semaphore);
            let killed = acquirer(&world, 1, Dies::Never, &semaphore);
            until_waiting(&world, 1, || semaphore.waiting());
            let giver = world.spawn(3, {
                let semaphore = semaphore.clone();
                move |kernel| sure(semaphore.release(kernel, 1))
            });
            let survives = !world.kill_sleeper(1);
            giver.join();
            assert_eq!(killed.end().is_some(), survives);
            let left = world.run(4, |kernel| semaphore.acquire(kernel, Deadline::NoWait));
            assert_eq!(left.is_ok(), !survives);
        });
    }
}
