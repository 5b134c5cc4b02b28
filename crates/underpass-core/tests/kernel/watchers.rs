//! Many who watch one life, and one who watches many.

use underpass_core::Deadline;
use underpass_core::kernel::{Kernel, LIVES};
use underpass_core::linux;
use underpass_core::wait::{Patience, wait_until};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::SeqCst;

use crate::process::{Process, change, sleep_while, until};
use crate::world::{DEFAULT, OFF, World};

/// More than one `futex_waitv` can watch.
const WATCHERS: usize = 128;

#[test]
fn test_128_watchers_of_one_life_are_all_told() {
    let world = World::new();
    let (process, me) = world.mortal(|| {});
    let watchers: Vec<_> = (0..WATCHERS).map(|report| world.watcher(me.process, OFF, report)).collect();
    process.kill();
    (0..WATCHERS).for_each(|report| world.until_told(report));
    watchers.into_iter().for_each(Process::join);
}

/// Starts a process of many threads: each announces itself at its word, and ends when its word becomes 0.
fn crowd(world: &World, count: usize) -> Process {
    let process = Process::start(|| {
        std::thread::scope(|scope| {
            for index in 0..count {
                scope.spawn(move || {
                    let me = world.kernel.me().expect("a place in the table").thread;
                    world.word(index).store(me.0, SeqCst);
                    sleep_while(world.word(index), me.0);
                });
            }
        });
    });
    until("all are there", || (0..count).all(|index| world.word(index).load(SeqCst) != 0));
    process
}

/// Starts a process that sleeps until one of these lives ends.
fn watcher_of_all(world: &World, lives: &[Life], recheck: u64) -> Process {
    let process = Process::start(|| {
        linux::set_recheck(recheck);
        let wait = wait_until(
            world.kernel,
            world.waiting(Deadline::Never, &Patience::new()),
            || false,
            |watch, _| {
                if lives.iter().any(|life| !world.kernel.alive(*life)) {
                    return Ok(Some(()));
                }
                if let Some(watch) = watch {
                    for life in lives {
                        watch.life(*life);
                    }
                }
                Ok(None)
            },
        );
        wait.expect("one of them ends");
    });
    until("the watcher sleeps", || process.is_parked());
    process
}

/// `index` of 128 threads ends, and the one who watches them all hears of it.
fn end_one_of_128(index: usize, recheck: u64) {
    let world = World::new();
    let crowd = crowd(&world, WATCHERS);
    let lives: Vec<_> = (0..WATCHERS).map(|index| Life(world.word(index).load(SeqCst))).collect();
    let watcher = watcher_of_all(&world, &lives, recheck);
    change(world.word(index), 0);
    watcher.join();
    drop(crowd);
}

#[test]
fn test_end_of_the_first_of_128_lives_is_told_by_the_kernel() {
    end_one_of_128(0, OFF);
}

#[test]
fn test_end_of_the_last_life_that_fits_is_told_by_the_kernel() {
    end_one_of_128(LIVES - 1, OFF);
}

#[test]
fn test_end_of_a_life_that_does_not_fit_is_found_by_the_recheck() {
    end_one_of_128(WATCHERS - 1, DEFAULT);
}
