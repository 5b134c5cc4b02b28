//! The lock of readers and writers: who is inside together, who comes next, and what a death leaves.

use std::sync::Arc;

use underpass_core::error::Phase;
use underpass_core::mutex::Death;
use underpass_core::rwlock::{Prefer, RWLock};
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::rwlock::{PLACES, PlaceWords, RWLockWords};
use underpass_shm::life::Life;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::Relaxed;

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, explore_longest, join, sure};
use crate::notification::waiters;

mod onlookers;
mod planted;
mod tasks;

fn lock(prefer: Prefer) -> Arc<RWLock> {
    let places = (0..PLACES).map(|_| PlaceWords::new()).collect();
    Arc::new(RWLock::new(Placed::own(RWLockWords::new()), PlacedSlice::own(places), waiters(2), prefer))
}

/// What the lock protects: two words that differ while somebody writes.
#[derive(Debug, Default)]
struct Pair(AtomicU32, AtomicU32);

impl Pair {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(0), AtomicU32::new(0)))
    }

    fn read(&self) -> u32 {
        let first = self.0.load(Relaxed);
        assert_eq!(first, self.1.load(Relaxed), "nobody writes meanwhile");
        first
    }

    fn write(&self) {
        let next = self.read() + 1;
        self.0.store(next, Relaxed);
        self.1.store(next, Relaxed);
    }
}

fn read(kernel: &ThreadKernel, lock: &RWLock, pair: &Pair) {
    sure(lock.read(kernel, Deadline::Never));
    pair.read();
    sure(lock.leave(kernel, true));
}

fn write(kernel: &ThreadKernel, lock: &RWLock, pair: &Pair) {
    assert_eq!(lock.write(kernel, Deadline::Never), Ok(None));
    pair.write();
    sure(lock.leave(kernel, true));
}

type Part = fn(&ThreadKernel, &RWLock, &Pair);

fn start(world: &Arc<World>, life: u32, lock: &Arc<RWLock>, pair: &Arc<Pair>, part: Part) -> Running<()> {
    let (lock, pair) = (lock.clone(), pair.clone());
    world.spawn(life, move |kernel| part(kernel, &lock, &pair))
}

const fn death(life: u32) -> Death {
    Death { thread: Life(life), pid: life, held: None }
}

/// Waits until a reader or writer stands in line.
fn until_in_line(lock: &RWLock, count: usize) {
    while lock.waiting() < count {
        loom::thread::yield_now();
    }
}

#[test]
fn test_a_reader_and_a_writer_exclude_each_other() {
    explore(|| {
        let (world, lock, pair) = (World::new(), lock(Prefer::Writers), Pair::new());
        let both = [start(&world, 1, &lock, &pair, read), start(&world, 2, &lock, &pair, write)];
        join(both);
        assert!(lock.is_free());
    });
}

#[test]
fn test_two_writers_exclude_each_other() {
    explore(|| {
        let (world, lock, pair) = (World::new(), lock(Prefer::Arrival), Pair::new());
        join([1, 2].map(|life| start(&world, life, &lock, &pair, write)));
        assert_eq!(pair.read(), 2);
        assert!(lock.is_free());
    });
}

fn two_readers_and_a_writer(prefer: Prefer) {
    explore_long(move || {
        let (world, lock, pair) = (World::new(), lock(prefer), Pair::new());
        let readers = [1, 2].map(|life| start(&world, life, &lock, &pair, read));
        world.run(3, |kernel| write(kernel, &lock, &pair));
        join(readers);
        assert!(lock.is_free());
    });
}

#[test]
fn test_two_readers_and_a_writer_that_goes_first() {
    two_readers_and_a_writer(Prefer::Writers);
}

#[test]
fn test_two_readers_that_go_first_and_a_writer() {
    two_readers_and_a_writer(Prefer::Readers);
}

#[test]
fn test_a_reader_and_two_writers() {
    explore_longest(|| {
        let (world, lock, pair) = (World::new(), lock(Prefer::Writers), Pair::new());
        let writers = [1, 2].map(|life| start(&world, life, &lock, &pair, write));
        world.run(3, |kernel| read(kernel, &lock, &pair));
        join(writers);
        assert!(lock.is_free());
    });
}

#[test]
fn test_more_readers_than_places() {
    explore_longest(|| {
        let (world, lock, pair) = (World::new(), lock(Prefer::Writers), Pair::new());
        let readers = [1, 2].map(|life| start(&world, life, &lock, &pair, read));
        world.run(3, |kernel| read(kernel, &lock, &pair));
        join(readers);
        assert!(lock.is_free());
    });
}

#[test]
fn test_one_of_two_upgraders_writes() {
    explore_long(|| {
        let (world, lock, pair) = (World::new(), lock(Prefer::Writers), Pair::new());
        let both = [1, 2].map(|life| {
            let (lock, pair) = (lock.clone(), pair.clone());
            world.spawn(life, move |kernel| {
                sure(lock.read(kernel, Deadline::Never));
                let before = pair.read();
                let upgraded = lock.upgrade(kernel, Deadline::Never);
                if upgraded.is_ok() {
                    assert_eq!(pair.read(), before, "nobody wrote in between");
                    pair.write();
                }
                sure(lock.leave(kernel, true));
                upgraded
            })
        });
        let refused = join(both).into_iter().filter(Result::is_err).count() as u32;
        assert_eq!(pair.read(), 2 - refused);
        assert!(lock.is_free());
    });
}

#[test]
fn test_nobody_writes_between_a_writer_and_the_reader_that_it_becomes() {
    explore_long(|| {
        let (world, lock, pair) = (World::new(), lock(Prefer::Writers), Pair::new());
        let other = start(&world, 1, &lock, &pair, write);
        world.run(2, |kernel| {
            assert_eq!(lock.write(kernel, Deadline::Never), Ok(None));
            pair.write();
            let mine = pair.read();
            sure(lock.downgrade(kernel));
            assert_eq!(pair.read(), mine, "nobody wrote in between");
            sure(lock.leave(kernel, true));
        });
        join([other]);
        assert!(lock.is_free());
    });
}

#[test]
fn test_a_reader_behind_a_writer_whose_time_is_over() {
    explore_long(|| {
        let (world, lock, pair) = (World::new(), lock(Prefer::Writers), Pair::new());
        sure(world.run(9, |kernel| lock.read(kernel, Deadline::Never)));
        let writer = world.spawn(1, {
            let lock = lock.clone();
            move |kernel| lock.write(kernel, Deadline::At(1))
        });
        until_in_line(&lock, 1);
        world.until_asleep(1);
        let reader = start(&world, 2, &lock, &pair, read);
        world.expire_sleeper(1);
        assert_eq!(writer.join(), Err(Error::TimedOut(Phase::Wait)));
        reader.join();
    });
}

#[test]
fn test_a_signal_takes_away_the_writer_that_readers_wait_for() {
    explore_long(|| {
        let (world, lock, pair) = (World::new(), lock(Prefer::Writers), Pair::new());
        sure(world.run(9, |kernel| lock.read(kernel, Deadline::Never)));
        let writer = world.spawn(1, {
            let lock = lock.clone();
            move |kernel| lock.write(kernel, Deadline::Never)
        });
        until_in_line(&lock, 1);
        world.until_asleep(1);
        let reader = start(&world, 2, &lock, &pair, read);
        assert!(world.interrupt_sleeper(1));
        assert_eq!(writer.join(), Err(Error::Interrupted));
        reader.join();
    });
}

#[test]
fn test_a_reader_dies_inside() {
    explore_long(|| {
        let (world, lock, pair) = (World::mortal(), lock(Prefer::Writers), Pair::new());
        let dying = world.spawn(1, {
            let lock = lock.clone();
            move |kernel| {
                sure(lock.read(kernel, Deadline::Never));
                kernel.die();
            }
        });
        let writers = start(&world, 2, &lock, &pair, write);
        world.run(3, |kernel| write(kernel, &lock, &pair));
        join([writers]);
        assert_eq!(dying.end(), None::<()>);
    });
}

#[test]
fn test_a_writer_dies_inside_and_who_writes_next_repairs() {
    explore_long(|| {
        let (world, lock, pair) = (World::mortal(), lock(Prefer::Writers), Pair::new());
        let dying = world.spawn(1, {
            let lock = lock.clone();
            move |kernel| {
                sure(lock.write(kernel, Deadline::Never));
                kernel.die();
            }
        });
        let reader = world.spawn(2, {
            let lock = lock.clone();
            move |kernel| {
                let done = lock.read(kernel, Deadline::Never);
                if done.is_ok() {
                    sure(lock.leave(kernel, true));
                }
                done
            }
        });
        let died = world.run(3, |kernel| {
            let died = sure(lock.write(kernel, Deadline::Never));
            pair.write();
            sure(lock.leave(kernel, true));
            died
        });
        let seen = reader.join();
        assert!(seen == Ok(()) || seen == Err(Error::OwnerDied(death(1))), "{seen:?}");
        assert_eq!(dying.end(), None::<()>);
        // It has died before this one wrote, or after.
        let left = world.run(3, |kernel| sure(lock.write(kernel, Deadline::Never)));
        assert!(died.is_none() || left.is_none() && died == Some(death(1)));
        assert!(died.is_some() || left == Some(death(1)));
    });
}

#[test]
fn test_one_that_was_let_in_dies_before_it_has_come() {
    explore_long(|| {
        let (world, lock, pair) = (World::mortal(), lock(Prefer::Arrival), Pair::new());
        sure(world.run(9, |kernel| lock.read(kernel, Deadline::Never)));
        let dying = world.spawn_dying(1, Dies::AfterPark, {
            let lock = lock.clone();
            move |kernel| sure(lock.write(kernel, Deadline::Never))
        });
        until_in_line(&lock, 1);
        world.until_asleep(1);
        let reader = start(&world, 2, &lock, &pair, read);
        world.run(9, |kernel| sure(lock.leave(kernel, true)));
        reader.join();
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_whoever_leaves_dies_before_its_wake() {
    explore_long(|| {
        let (world, lock, pair) = (World::mortal(), lock(Prefer::Arrival), Pair::new());
        let leaver = world.spawn_dying(1, Dies::BeforeWake, {
            let lock = lock.clone();
            move |kernel| {
                sure(lock.read(kernel, Deadline::Never));
                sure(lock.leave(kernel, true));
            }
        });
        let writer = start(&world, 2, &lock, &pair, write);
        world.run(3, |kernel| read(kernel, &lock, &pair));
        join([writer]);
        let _ = leaver.end();
        assert!(lock.is_free());
    });
}

#[test]
fn test_a_writer_that_has_left_dies_before_it_lets_anybody_in() {
    explore_long(|| {
        let (world, lock) = (World::mortal(), lock(Prefer::Arrival));
        sure(world.run(1, |kernel| lock.write(kernel, Deadline::Never)));
        let leaver = world.spawn_dying(1, Dies::AfterChange, {
            let lock = lock.clone();
            move |kernel| sure(lock.leave(kernel, true))
        });
        world.run(2, |kernel| {
            // Who died on its way out may be taken to have died inside.
            sure(lock.write(kernel, Deadline::Never));
            sure(lock.leave(kernel, true));
        });
        let _ = leaver.end();
        assert!(lock.is_free());
    });
}

#[test]
fn test_a_writer_that_waits_is_told_of_a_reader_that_came_later_and_died() {
    explore_long(|| {
        let (world, lock, pair) = (World::mortal(), lock(Prefer::Readers), Pair::new());
        sure(world.run(9, |kernel| lock.read(kernel, Deadline::Never)));
        let writer = start(&world, 1, &lock, &pair, write);
        until_in_line(&lock, 1);
        world.until_asleep(1);
        let dying = world.spawn(2, {
            let lock = lock.clone();
            move |kernel| {
                sure(lock.read(kernel, Deadline::Never));
                kernel.die();
            }
        });
        world.run(9, |kernel| sure(lock.leave(kernel, true)));
        join([writer]);
        assert_eq!(dying.end(), None::<()>);
    });
}
