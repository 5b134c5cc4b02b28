//! The semaphore that hands its units over.

use std::sync::Arc;

use underpass_core::semaphore::MOST;
use underpass_core::semaphore::fair::Fair;
use underpass_core::waiters::Order;
use underpass_core::{Deadline, Error, Kernel, Result};
use underpass_shm::layout::semaphore::FairWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, World, explore, explore_long, explore_longest, join, sure};
use crate::notification::{until_waiting, waiters};

mod planted;

fn semaphore(slots: usize, value: u32) -> Arc<Fair> {
    Arc::new(Fair::new(Placed::own(FairWords::new(value)), waiters(slots), MOST, false, Order::Arrival))
}

fn acquirer(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Fair>) -> Running<Result<()>> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| semaphore.acquire(kernel, Deadline::Never))
}

/// One that sleeps in a slot, the `life`th to do so.
fn asleep(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Fair>) -> Running<Result<()>> {
    let running = acquirer(world, life, dies, semaphore);
    until_waiting(world, life as usize, || semaphore.waiting());
    running
}

fn releaser(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Fair>, count: u32) -> Running<()> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| sure(semaphore.release(kernel, count)))
}

fn release(kernel: &dyn Kernel, semaphore: &Fair, count: u32) {
    sure(semaphore.release(kernel, count));
}

#[test]
fn test_every_unit_is_taken() {
    explore_long(|| {
        let (world, semaphore) = (World::new(), semaphore(2, 0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        let giver = releaser(&world, 3, Dies::Never, &semaphore, 1);
        world.run(4, |kernel| release(kernel, &semaphore, 1));
        assert_eq!(join(takers), [Ok(()), Ok(())]);
        giver.join();
        assert_eq!(semaphore.value(), 0);
    });
}

/// The fast paths beside one who queues.
#[test]
fn test_release_without_the_lock_misses_nobody_who_queues() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(2, 0));
        let taker = acquirer(&world, 1, Dies::Never, &semaphore);
        world.run(2, |kernel| {
            release(kernel, &semaphore, 1);
            let taken = semaphore.acquire(kernel, Deadline::NoWait);
            if taken.is_ok() {
                release(kernel, &semaphore, 1);
            }
        });
        assert_eq!(taker.join(), Ok(()));
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_newcomer_takes_nothing_from_a_sleeper() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(2, 0));
        let sleeper = asleep(&world, 1, Dies::Never, &semaphore);
        let newcomer = world.spawn(2, {
            let semaphore = semaphore.clone();
            move |kernel| semaphore.acquire(kernel, Deadline::NoWait)
        });
        world.run(3, |kernel| release(kernel, &semaphore, 1));
        assert_eq!(sleeper.join(), Ok(()));
        assert_eq!(newcomer.join(), Err(Error::WouldBlock));
    });
}

#[test]
fn test_one_release_serves_several_and_keeps_the_rest() {
    explore_long(|| {
        let (world, semaphore) = (World::new(), semaphore(2, 0));
        let takers = [1, 2].map(|life| asleep(&world, life, Dies::Never, &semaphore));
        world.run(3, |kernel| release(kernel, &semaphore, 3));
        assert_eq!(join(takers), [Ok(()), Ok(())]);
        assert_eq!(semaphore.value(), 1);
    });
}

#[test]
fn test_more_waiters_than_slots() {
    explore_longest(|| {
        let (world, semaphore) = (World::new(), semaphore(1, 0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        world.until_asleep(2);
        world.run(3, |kernel| {
            release(kernel, &semaphore, 1);
            release(kernel, &semaphore, 1);
        });
        assert_eq!(join(takers), [Ok(()), Ok(())]);
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_time_runs_out_as_a_unit_is_handed_over() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(2, 0));
        let late = world.spawn(1, {
            let semaphore = semaphore.clone();
            move |kernel| semaphore.acquire(kernel, Deadline::At(1))
        });
        until_waiting(&world, 1, || semaphore.waiting());
        let giver = releaser(&world, 2, Dies::Never, &semaphore, 1);
        world.expire_sleeper(1);
        giver.join();
        assert_eq!(semaphore.value(), u32::from(late.join().is_err()));
    });
}

#[test]
fn test_what_a_signal_leaves_is_handed_on() {
    explore_long(|| {
        let (world, semaphore) = (World::new(), semaphore(2, 0));
        let ended = asleep(&world, 1, Dies::Never, &semaphore);
        let taker = asleep(&world, 2, Dies::Never, &semaphore);
        assert!(world.interrupt_sleeper(1));
        world.run(3, |kernel| release(kernel, &semaphore, 1));
        if ended.join().is_ok() {
            world.run(3, |kernel| release(kernel, &semaphore, 1));
        }
        assert_eq!(taker.join(), Ok(()));
    });
}

#[test]
fn test_reset_sends_away_all_who_wait() {
    explore_longest(|| {
        let (world, semaphore) = (World::new(), semaphore(1, 0));
        let waiters = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        world.run(3, |kernel| {
            sure(semaphore.reset(kernel));
            // For those who came after it.
            release(kernel, &semaphore, 2);
        });
        let reset = join(waiters).iter().filter(|result| **result == Err(Error::Reset)).count();
        assert_eq!(semaphore.value() as usize, reset);
    });
}

#[test]
fn test_releaser_dies_before_a_wake() {
    explore_long(|| {
        let (world, semaphore) = (World::mortal(), semaphore(2, 0));
        let takers = [1, 2].map(|life| asleep(&world, life, Dies::Never, &semaphore));
        let dying = releaser(&world, 3, Dies::BeforeWake, &semaphore, 3);
        assert_eq!(join(takers), [Ok(()), Ok(())]);
        assert_eq!(dying.end(), None);
        assert_eq!(semaphore.value(), 1);
    });
}

#[test]
fn test_resetter_dies_before_a_wake() {
    explore_long(|| {
        let (world, semaphore) = (World::mortal(), semaphore(2, 0));
        let waiters = [1, 2].map(|life| asleep(&world, life, Dies::Never, &semaphore));
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let semaphore = semaphore.clone();
            move |kernel| sure(semaphore.reset(kernel))
        });
        assert_eq!(join(waiters), [Err(Error::Reset), Err(Error::Reset)]);
        assert_eq!(dying.end(), None);
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_unit_of_one_who_dies_woken_is_handed_on() {
    explore_long(|| {
        let (world, semaphore) = (World::mortal(), semaphore(2, 0));
        let dying = asleep(&world, 1, Dies::AfterPark, &semaphore);
        let taker = asleep(&world, 2, Dies::Never, &semaphore);
        world.run(3, |kernel| release(kernel, &semaphore, 1));
        assert_eq!(taker.join(), Ok(()));
        assert_eq!(dying.end(), None);
        assert_eq!(semaphore.value(), 0);
    });
}

/// One that dies with a unit while nobody sleeps, and one about to sleep for it.
#[test]
fn test_unit_of_the_dead_reaches_one_about_to_sleep() {
    explore_long(|| {
        let (world, semaphore) = (World::mortal(), semaphore(2, 0));
        let dying = asleep(&world, 1, Dies::AfterPark, &semaphore);
        let taker = acquirer(&world, 2, Dies::Never, &semaphore);
        world.run(3, |kernel| release(kernel, &semaphore, 1));
        assert_eq!(taker.join(), Ok(()));
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_sleeper_is_killed() {
    explore_long(|| {
        let (world, semaphore) = (World::mortal(), semaphore(2, 0));
        let killed = asleep(&world, 1, Dies::Never, &semaphore);
        let taker = asleep(&world, 2, Dies::Never, &semaphore);
        let giver = releaser(&world, 3, Dies::Never, &semaphore, 1);
        let survives = !world.kill_sleeper(1);
        giver.join();
        if survives {
            world.run(4, |kernel| release(kernel, &semaphore, 1));
        }
        assert_eq!(taker.join(), Ok(()));
        assert_eq!(killed.end().is_some(), survives);
        assert_eq!(semaphore.value(), 0);
    });
}
