//! The barrier: who passes together, and who is told what when somebody dies.

use std::sync::Arc;

use underpass_core::barrier::{Barrier, Break, Cause};
use underpass_core::error::Phase;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::barrier::BarrierWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, World, explore, explore_long, explore_longest, join, sure};
use crate::notification::{until_waiting, waiters};

mod planted;

const fn died(pid: u32) -> Result<u32> {
    Err(Error::Broken(Break { cause: Cause::Died, pid }))
}

const fn aborted(pid: u32) -> Result<u32> {
    Err(Error::Broken(Break { cause: Cause::Aborted, pid }))
}

fn barrier(slots: usize, parties: u32) -> Arc<Barrier> {
    Arc::new(Barrier::new(Placed::own(BarrierWords::new()), waiters(slots), parties))
}

fn waiter(world: &Arc<World>, life: u32, dies: Dies, barrier: &Arc<Barrier>) -> Running<Result<u32>> {
    let barrier = barrier.clone();
    world.spawn_dying(life, dies, move |kernel| barrier.wait(kernel, Deadline::Never))
}

/// One who sleeps in a slot, and then others may come.
fn asleep(world: &Arc<World>, life: u32, barrier: &Arc<Barrier>) -> Running<Result<u32>> {
    let running = waiter(world, life, Dies::Never, barrier);
    until_waiting(world, 1, || barrier.waiting());
    running
}

#[test]
fn test_two_meet() {
    explore(|| {
        let (world, barrier) = (World::new(), barrier(2, 2));
        let both = [1, 2].map(|life| waiter(&world, life, Dies::Never, &barrier));
        let mut indices = join(both).map(sure);
        indices.sort_unstable();
        assert_eq!(indices, [0, 1]);
        assert_eq!(barrier.waiting(), 0);
    });
}

#[test]
fn test_two_meet_again() {
    explore_long(|| {
        let (world, barrier) = (World::new(), barrier(2, 2));
        let both = [1, 2].map(|life| {
            let barrier = barrier.clone();
            world.spawn(life, move |kernel| [(), ()].map(|()| sure(barrier.wait(kernel, Deadline::Never))))
        });
        let [one, other] = join(both);
        assert!((0..2).all(|turn| one[turn] + other[turn] == 1));
    });
}

#[test]
fn test_who_passed_is_told_so_though_it_is_broken_since() {
    explore(|| {
        let (world, barrier) = (World::new(), barrier(2, 2));
        let sleeper = asleep(&world, 1, &barrier);
        world.run(2, |kernel| {
            assert_eq!(barrier.wait(kernel, Deadline::Never), Ok(1));
            sure(barrier.abort(kernel));
            sure(barrier.reset(kernel));
        });
        assert_eq!(sleeper.join(), Ok(0));
    });
}

#[test]
fn test_an_abort_and_the_last_to_come() {
    explore_long(|| {
        let (world, barrier) = (World::new(), barrier(2, 2));
        let sleeper = asleep(&world, 1, &barrier);
        let last = waiter(&world, 2, Dies::Never, &barrier);
        world.run(3, |kernel| sure(barrier.abort(kernel)));
        let ends = [sleeper.join(), last.join()];
        assert!(ends == [Ok(0), Ok(1)] || ends == [aborted(3), aborted(3)], "{ends:?}");
    });
}

#[test]
fn test_a_timeout_and_the_last_to_come() {
    explore_long(|| {
        let (world, barrier) = (World::new(), barrier(2, 2));
        let sleeper = world.spawn(1, {
            let barrier = barrier.clone();
            move |kernel| barrier.wait(kernel, Deadline::At(1))
        });
        until_waiting(&world, 1, || barrier.waiting());
        let last = waiter(&world, 2, Dies::Never, &barrier);
        world.expire_sleeper(1);
        let late = Err(Error::TimedOut(Phase::Wait));
        let ends = [sleeper.join(), last.join()];
        let broken = Err(Error::Broken(Break { cause: Cause::TimedOut, pid: 1 }));
        assert!(ends == [Ok(0), Ok(1)] || ends == [late, broken], "{ends:?}");
    });
}

#[test]
fn test_one_whom_a_signal_takes_away_has_not_come() {
    explore_long(|| {
        let (world, barrier) = (World::new(), barrier(2, 2));
        let leaver = asleep(&world, 1, &barrier);
        world.until_asleep(1);
        assert!(world.interrupt_sleeper(1));
        assert_eq!(leaver.join(), Err(Error::Interrupted));
        let next = waiter(&world, 2, Dies::Never, &barrier);
        let index = world.run(3, |kernel| sure(barrier.wait(kernel, Deadline::Never)));
        assert_eq!(next.join(), Ok(1 - index));
    });
}

#[test]
fn test_last_to_come_dies_before_its_wakes() {
    explore_longest(|| {
        let (world, barrier) = (World::mortal(), barrier(3, 3));
        let known = barrier.clone();
        world.run(3, move |kernel| sure(known.join(kernel)));
        let sleepers = [1, 2].map(|life| waiter(&world, life, Dies::Never, &barrier));
        until_waiting(&world, 2, || barrier.waiting());
        let dying = waiter(&world, 3, Dies::BeforeWake, &barrier);
        let mut indices = join(sleepers).map(sure);
        indices.sort_unstable();
        assert_eq!(indices, [0, 1]);
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_joiner_dies_before_it_has_told() {
    explore(|| {
        let (world, barrier) = (World::mortal(), barrier(2, 2));
        let sleeper = asleep(&world, 1, &barrier);
        let dying = world.spawn_dying(2, Dies::BeforeWake, {
            let barrier = barrier.clone();
            move |kernel| sure(barrier.join(kernel))
        });
        assert_eq!(sleeper.join(), died(2));
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_one_who_joined_dies_elsewhere() {
    explore(|| {
        let (world, barrier) = (World::mortal(), barrier(2, 2));
        let sleeper = waiter(&world, 1, Dies::Never, &barrier);
        let dying = world.spawn(2, {
            let barrier = barrier.clone();
            move |kernel| {
                sure(barrier.join(kernel));
                kernel.die();
            }
        });
        assert_eq!(sleeper.join(), died(2));
        assert_eq!(dying.end(), None::<()>);
    });
}

#[test]
fn test_one_who_waits_is_killed() {
    explore_long(|| {
        let (world, barrier) = (World::mortal(), barrier(3, 3));
        let killed = asleep(&world, 1, &barrier);
        let sleeper = waiter(&world, 2, Dies::Never, &barrier);
        world.until_asleep(1);
        let asleep = world.kill_sleeper(1);
        assert!(asleep || world.kill_sleeper(1));
        assert_eq!(sleeper.join(), died(1));
        assert_eq!(killed.end(), None);
    });
}

#[test]
fn test_aborter_dies_before_its_wakes() {
    explore_long(|| {
        let (world, barrier) = (World::mortal(), barrier(3, 3));
        let sleepers = [1, 2].map(|life| waiter(&world, life, Dies::Never, &barrier));
        until_waiting(&world, 2, || barrier.waiting());
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let barrier = barrier.clone();
            move |kernel| sure(barrier.abort(kernel))
        });
        assert_eq!(join(sleepers), [aborted(3), aborted(3)]);
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_resetter_dies_before_its_wakes() {
    explore_long(|| {
        let (world, barrier) = (World::mortal(), barrier(2, 2));
        let sleeper = asleep(&world, 1, &barrier);
        let dying = world.spawn_dying(2, Dies::BeforeWake, {
            let barrier = barrier.clone();
            move |kernel| sure(barrier.reset(kernel))
        });
        assert_eq!(sleeper.join(), Err(Error::Reset));
        assert_eq!(dying.end(), None);
    });
}
