//! The latch: who opens it lets everybody go, and all see what was done before each arrival.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use underpass_core::kernel::Kernel;
use underpass_core::latch::Latch;
use underpass_core::{Deadline, Error};
use underpass_shm::layout::latch::LatchWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, World, explore, explore_long, join, sure};

mod planted;

fn latch(count: u32) -> Arc<Latch> {
    Arc::new(Latch::new(Placed::own(LatchWords::new(count))))
}

fn waiter(world: &Arc<World>, life: u32, latch: &Arc<Latch>) -> Running<()> {
    let latch = latch.clone();
    world.spawn(life, move |kernel| sure(latch.wait(kernel, Deadline::Never)))
}

fn arrival(world: &Arc<World>, life: u32, dies: Dies, latch: &Arc<Latch>) -> Running<()> {
    let latch = latch.clone();
    world.spawn_dying(life, dies, move |kernel| sure(latch.count_down(kernel, 1)))
}

#[test]
fn test_the_last_one_lets_all_go() {
    explore(|| {
        let (world, latch) = (World::new(), latch(2));
        let waiters = [1, 2].map(|life| waiter(&world, life, &latch));
        let other = arrival(&world, 3, Dies::Never, &latch);
        world.run(4, |kernel| sure(latch.count_down(kernel, 1)));
        join(waiters);
        other.join();
        assert_eq!(latch.count(), 0);
    });
}

#[test]
fn test_more_than_are_to_come_is_refused() {
    explore(|| {
        let (world, latch) = (World::new(), latch(2));
        let waiter = waiter(&world, 1, &latch);
        let other = {
            let latch = latch.clone();
            world.spawn(2, move |kernel| latch.count_down(kernel, 2))
        };
        let mine = world.run(3, |kernel| latch.count_down(kernel, 2));
        let ends = [mine, other.join()];
        assert_eq!(ends.iter().filter(|end| matches!(end, Err(Error::Misuse(_)))).count(), 1);
        waiter.join();
    });
}

/// Written before an arrival, read by who waits: loom reports every access that is not ordered.
struct Work(UnsafeCell<u32>);

// SAFETY: S3, loom's cell reports every access that is not exclusive.
unsafe impl Sync for Work {}
// SAFETY: S3.
unsafe impl Send for Work {}

#[test]
fn test_who_waits_sees_what_each_has_done() {
    explore(|| {
        let (world, latch) = (World::new(), latch(2));
        let works = Arc::new([0, 1].map(|_| Work(UnsafeCell::new(0))));
        let workers = [0, 1].map(|number| {
            let (latch, works) = (latch.clone(), works.clone());
            world.spawn(number + 1, move |kernel| {
                // SAFETY: S3, loom checks it.
                works[number as usize].0.with_mut(|work| unsafe { *work = 1 });
                sure(latch.count_down(kernel, 1));
            })
        });
        world.run(3, |kernel| sure(latch.wait(kernel, Deadline::Never)));
        // SAFETY: S3, loom checks it.
        let done: u32 = works.iter().map(|work| work.0.with(|work| unsafe { *work })).sum();
        assert_eq!(done, 2);
        join(workers);
    });
}

#[test]
fn test_who_dies_between_its_store_and_its_wakes_lets_all_go() {
    explore_long(|| {
        let (world, latch) = (World::mortal(), latch(1));
        let waiters = [1, 2].map(|life| waiter(&world, life, &latch));
        arrival(&world, 3, Dies::BeforeWake, &latch).end();
        join(waiters);
    });
}

#[test]
fn test_who_dies_asleep_keeps_nobody_back() {
    explore_long(|| {
        let (world, latch) = (World::mortal(), latch(1));
        let waiters = [1, 2].map(|life| waiter(&world, life, &latch));
        let dead = world.kill_sleeper(1);
        world.run(3, |kernel| sure(latch.count_down(kernel, 1)));
        let [first, second] = waiters;
        assert!(first.end().is_some() || dead);
        second.join();
    });
}
