//! The once: one runs it to its end, and everybody for whom it is done sees what that one did.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use underpass_core::mutex::Mutex;
use underpass_core::once::{Once, Turn};
use underpass_core::{Deadline, Error};
use underpass_shm::layout::mutex::MutexWords;
use underpass_shm::layout::once::OnceWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, join, sure};

mod planted;

/// What is made once; loom reports every access that is not ordered.
struct Made {
    once: Once,
    value: UnsafeCell<u32>,
}

// SAFETY: S3, loom's cell reports every access that is not exclusive.
unsafe impl Sync for Made {}
// SAFETY: S3.
unsafe impl Send for Made {}

impl Made {
    fn new() -> Arc<Self> {
        let turn = Mutex::new(Placed::own(MutexWords::new()), false);
        Arc::new(Self { once: Once::new(Placed::own(OnceWords::new()), turn), value: UnsafeCell::new(0) })
    }

    fn make(&self) {
        // SAFETY: S3, loom checks it.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn made(&self) -> u32 {
        // SAFETY: S3, loom checks it.
        self.value.with(|value| unsafe { *value })
    }

    /// Makes it if it is not made; whether this was the one, and whether somebody had died.
    fn call(&self, kernel: &ThreadKernel) -> (bool, bool) {
        let turn = sure(self.once.begin(kernel, Deadline::Never));
        let (mine, died) = match turn {
            Turn::Done => (false, false),
            Turn::Mine(died) => (true, died.is_some()),
        };
        if mine {
            self.make();
            sure(self.once.end(kernel, true));
        }
        assert!(self.made() >= 1, "it is done");
        (mine, died)
    }
}

fn caller(world: &Arc<World>, life: u32, dies: Dies, made: &Arc<Made>) -> Running<(bool, bool)> {
    let made = made.clone();
    world.spawn_dying(life, dies, move |kernel| made.call(kernel))
}

#[test]
fn test_one_of_three_runs_it() {
    explore(|| {
        let (world, made) = (World::new(), Made::new());
        let others = [1, 2].map(|life| caller(&world, life, Dies::Never, &made));
        let mine = world.run(3, |kernel| made.call(kernel));
        let ran = join(others).into_iter().chain([mine]).filter(|(ran, _)| *ran).count();
        assert_eq!((ran, made.made()), (1, 1));
    });
}

#[test]
fn test_who_fails_leaves_it_to_another() {
    explore(|| {
        let (world, made) = (World::new(), Made::new());
        let other = caller(&world, 1, Dies::Never, &made);
        let failed = world.run(2, |kernel| {
            let turn = sure(made.once.begin(kernel, Deadline::Never));
            if turn == Turn::Mine(None) {
                sure(made.once.end(kernel, false));
            }
            turn != Turn::Done
        });
        let (ran, died) = other.join();
        assert!(ran && !died, "{failed}");
        assert_eq!(made.made(), 1);
    });
}

#[test]
fn test_who_dies_in_the_middle_is_replaced() {
    explore_long(|| {
        let (world, made) = (World::mortal(), Made::new());
        let others = [2, 3].map(|life| caller(&world, life, Dies::Never, &made));
        let dying = world.spawn(1, {
            let made = made.clone();
            move |kernel| {
                if sure(made.once.begin(kernel, Deadline::Never)) == Turn::Mine(None) {
                    made.make();
                    kernel.die();
                }
            }
        });
        let ends = join(others);
        let died = dying.end().is_none();
        assert_eq!(ends.iter().filter(|(ran, _)| *ran).count(), 1);
        assert_eq!(ends.iter().any(|(_, told)| *told), died);
    });
}

#[test]
fn test_who_dies_when_it_is_done_leaves_it_done() {
    explore_long(|| {
        let (world, made) = (World::mortal(), Made::new());
        let dying = caller(&world, 1, Dies::BeforeWake, &made);
        let others = [2, 3].map(|life| caller(&world, life, Dies::Never, &made));
        let ends = join(others);
        dying.end();
        assert!(ends.iter().filter(|(ran, _)| *ran).count() <= 1);
        assert_eq!(made.made(), 1);
    });
}

#[test]
fn test_nobody_waits_for_itself() {
    explore(|| {
        let (world, made) = (World::new(), Made::new());
        world.run(1, |kernel| {
            assert_eq!(made.once.begin(kernel, Deadline::Never), Ok(Turn::Mine(None)));
            assert!(matches!(made.once.begin(kernel, Deadline::Never), Err(Error::Misuse(_))));
            sure(made.once.end(kernel, true));
            assert_eq!(made.once.end(kernel, true), Err(Error::NotOwner));
        });
    });
}
