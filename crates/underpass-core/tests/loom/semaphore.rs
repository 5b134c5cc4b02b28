//! The semaphore.

use std::sync::Arc;

use underpass_core::kernel::Kernel;
use underpass_core::semaphore::{MOST, Semaphore};
use underpass_core::{Deadline, Error};
use underpass_shm::layout::semaphore::SemaphoreWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, World, explore, join, sure};

mod fair;
pub mod leased;
mod planted;

fn semaphore(value: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(Placed::own(SemaphoreWords::new(value)), MOST, false))
}

fn acquire(kernel: &dyn Kernel, semaphore: &Semaphore) {
    sure(semaphore.acquire(kernel, Deadline::Never));
}

fn acquirer(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Semaphore>) -> Running<()> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| acquire(kernel, &semaphore))
}

fn releaser(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Semaphore>) -> Running<()> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| sure(semaphore.release(kernel, 1)))
}

#[test]
fn test_every_unit_is_taken() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        let giver = releaser(&world, 3, Dies::Never, &semaphore);
        world.run(4, |kernel| sure(semaphore.release(kernel, 1)));
        join(takers);
        giver.join();
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_one_release_wakes_several() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        world.run(3, |kernel| sure(semaphore.release(kernel, 2)));
        join(takers);
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_wakes_chain_past_who_barges_in() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        world.run(3, |kernel| {
            sure(semaphore.release(kernel, 2));
            if semaphore.acquire(kernel, Deadline::NoWait).is_ok() {
                sure(semaphore.release(kernel, 1));
            }
        });
        join(takers);
    });
}

#[test]
fn test_reset_releases_all_who_wait() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(0));
        let waiters = [1, 2].map(|life| {
            let semaphore = semaphore.clone();
            world.spawn(life, move |kernel| semaphore.acquire(kernel, Deadline::Never))
        });
        world.run(3, |kernel| {
            semaphore.reset(kernel);
            // For those who came after it.
            sure(semaphore.release(kernel, 2));
        });
        let reset = join(waiters).iter().filter(|result| **result == Err(Error::Reset)).count();
        assert_eq!(semaphore.value() as usize, reset);
    });
}

#[test]
fn test_releaser_dies_before_its_wake() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let taker = acquirer(&world, 1, Dies::Never, &semaphore);
        let dying = releaser(&world, 2, Dies::BeforeWake, &semaphore);
        taker.join();
        dying.end();
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_releaser_of_two_dies_before_its_wake() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let semaphore = semaphore.clone();
            move |kernel| sure(semaphore.release(kernel, 2))
        });
        join(takers);
        dying.end();
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_woken_sleeper_dies_before_it_looks() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let dying = acquirer(&world, 1, Dies::AfterPark, &semaphore);
        let taker = acquirer(&world, 2, Dies::Never, &semaphore);
        world.run(3, |kernel| {
            sure(semaphore.release(kernel, 1));
            // Who was quick took the first one and lives.
            sure(semaphore.release(kernel, 1));
        });
        taker.join();
        let left = u32::from(dying.end().is_none());
        assert_eq!(semaphore.value(), left);
    });
}

#[test]
fn test_sleeper_is_killed() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let killed = acquirer(&world, 1, Dies::Never, &semaphore);
        let taker = acquirer(&world, 2, Dies::Never, &semaphore);
        world.run(3, |kernel| sure(semaphore.release(kernel, 1)));
        let survives = !world.kill_sleeper(1);
        if survives {
            world.run(3, |kernel| sure(semaphore.release(kernel, 1)));
        }
        taker.join();
        assert_eq!(killed.end().is_some(), survives);
    });
}

#[test]
fn test_resetter_dies_before_its_wake() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let waiters = [1, 2].map(|life| {
            let semaphore = semaphore.clone();
            world.spawn(life, move |kernel| semaphore.acquire(kernel, Deadline::Never))
        });
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let semaphore = semaphore.clone();
            move |kernel| semaphore.reset(kernel)
        });
        dying.end();
        // For those who came after it.
        world.run(4, |kernel| sure(semaphore.release(kernel, 2)));
        assert!(join(waiters).iter().all(|end| matches!(end, Ok(()) | Err(Error::Reset))));
    });
}
