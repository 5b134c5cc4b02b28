//! The atomic integer.

use std::sync::Arc;

use underpass_core::Deadline;
use underpass_core::atomic::AtomicInt;
use underpass_shm::layout::atomic::AtomicWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, World, explore, explore_long, explore_longest, join, sure};
use crate::notification::{until_waiting, waiters};

mod onlookers;
mod planted;

fn atomic(slots: usize) -> Arc<AtomicInt> {
    Arc::new(AtomicInt::new(Placed::own(AtomicWords::new(0)), waiters(slots)))
}

fn waiter(world: &Arc<World>, life: u32, dies: Dies, atomic: &Arc<AtomicInt>, expected: i64) -> Running<()> {
    let atomic = atomic.clone();
    world.spawn_dying(life, dies, move |kernel| sure(atomic.wait(kernel, expected, Deadline::Never)))
}

fn adder(world: &Arc<World>, life: u32, dies: Dies, atomic: &Arc<AtomicInt>) -> Running<i64> {
    let atomic = atomic.clone();
    world.spawn_dying(life, dies, move |kernel| sure(atomic.add(kernel, 1)))
}

#[test]
fn test_a_change_lets_all_go() {
    explore(|| {
        let (world, atomic) = (World::new(), atomic(2));
        let waiters = [1, 2].map(|life| waiter(&world, life, Dies::Never, &atomic, 0));
        world.run(3, |kernel| assert_eq!(atomic.add(kernel, -1), Ok(0)));
        join(waiters);
        assert_eq!(atomic.load(), -1);
    });
}

#[test]
fn test_each_waits_for_its_own() {
    explore_longest(|| {
        let (world, atomic) = (World::new(), atomic(2));
        let first = waiter(&world, 1, Dies::Never, &atomic, 0);
        let second = world.spawn(2, {
            let atomic = atomic.clone();
            move |kernel| {
                sure(atomic.wait(kernel, 0, Deadline::Never));
                sure(atomic.wait(kernel, 1, Deadline::Never));
                atomic.load()
            }
        });
        let other = adder(&world, 3, Dies::Never, &atomic);
        world.run(4, |kernel| sure(atomic.add(kernel, 1)));
        other.join();
        first.join();
        assert_eq!(second.join(), 2);
    });
}

#[test]
fn test_wake_lets_so_many_go() {
    explore_long(|| {
        let (world, atomic) = (World::new(), atomic(2));
        let waiters = [1, 2].map(|life| waiter(&world, life, Dies::Never, &atomic, 0));
        until_waiting(&world, 2, || atomic.waiting());
        world.run(3, |kernel| {
            assert_eq!(atomic.wake(kernel, 1), Ok(1));
            assert_eq!(atomic.wake(kernel, 5), Ok(1));
            assert_eq!(atomic.wake(kernel, 5), Ok(0));
        });
        join(waiters);
    });
}

#[test]
fn test_who_finds_no_slot_sees_the_change() {
    explore_long(|| {
        let (world, atomic) = (World::new(), atomic(1));
        let waiters = [1, 2].map(|life| waiter(&world, life, Dies::Never, &atomic, 0));
        world.run(3, |kernel| sure(atomic.add(kernel, 1)));
        join(waiters);
    });
}

#[test]
fn test_changer_dies_before_its_wakes() {
    explore_long(|| {
        let (world, atomic) = (World::mortal(), atomic(2));
        let waiters = [1, 2].map(|life| waiter(&world, life, Dies::Never, &atomic, 0));
        until_waiting(&world, 2, || atomic.waiting());
        let dying = adder(&world, 3, Dies::BeforeWake, &atomic);
        join(waiters);
        dying.end();
        assert_eq!(atomic.load(), 1);
    });
}

#[test]
fn test_changer_dies_right_after_its_change() {
    explore(|| {
        let (world, atomic) = (World::mortal(), atomic(1));
        let dying = adder(&world, 2, Dies::AfterChange, &atomic);
        let waiter = waiter(&world, 1, Dies::Never, &atomic, 0);
        waiter.join();
        dying.end();
        assert_eq!(atomic.load(), 1);
    });
}

#[test]
fn test_changer_dies_while_two_come_for_one_slot() {
    explore_long(|| {
        let (world, atomic) = (World::mortal(), atomic(1));
        let waiters = [1, 2].map(|life| waiter(&world, life, Dies::Never, &atomic, 0));
        let dying = adder(&world, 3, Dies::AfterChange, &atomic);
        join(waiters);
        dying.end();
        assert_eq!(atomic.load(), 1);
    });
}

#[test]
fn test_woken_sleeper_dies_before_it_looks() {
    explore_long(|| {
        let (world, atomic) = (World::mortal(), atomic(2));
        let dying = waiter(&world, 1, Dies::AfterPark, &atomic, 0);
        world.until_asleep(1);
        let waiter = waiter(&world, 2, Dies::Never, &atomic, 0);
        until_waiting(&world, 2, || atomic.waiting());
        // The one that was chosen dies: the next goes in its place.
        world.run(3, |kernel| assert_eq!(atomic.wake(kernel, 1), Ok(1)));
        waiter.join();
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_the_dead_are_not_chosen() {
    explore_long(|| {
        let (world, atomic) = (World::mortal(), atomic(2));
        let killed = waiter(&world, 1, Dies::Never, &atomic, 0);
        world.until_asleep(1);
        let waiter = waiter(&world, 2, Dies::Never, &atomic, 0);
        until_waiting(&world, 2, || atomic.waiting());
        assert!(world.kill_sleeper(1));
        world.run(3, |kernel| assert_eq!(atomic.wake(kernel, 1), Ok(1)));
        waiter.join();
        assert_eq!(killed.end(), None);
    });
}
