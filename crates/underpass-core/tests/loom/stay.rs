//! Those who wait in steps: they are told as sleepers are, leave nothing behind, and their deaths are told.

use std::sync::Arc;

use underpass_core::atomic::AtomicInt;
use underpass_core::barrier::Barrier;
use underpass_core::kernel::Kernel;
use underpass_core::many::{self, Enough, Member};
use underpass_core::stay::{Slotted, Stay, Steps};
use underpass_core::waiters::Wish;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::atomic::AtomicWords;
use underpass_shm::layout::barrier::BarrierWords;
use underpass_shm::layout::bell::WatchersWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, ThreadKernel, Watched, World, explore, explore_long, explore_longest, join, sure};
use crate::notification::{until_waiting, waiters};

mod flags;
mod handed;
mod planted;

const NONCE: u64 = 71;

fn world(immortal: bool) -> Arc<World> {
    World::of(immortal, vec![Watched { words: Vec::new(), watchers: WatchersWords::new(), nonce: NONCE }])
}

fn atomic(slots: usize) -> Arc<AtomicInt> {
    Arc::new(AtomicInt::new(Placed::own(AtomicWords::new(0)), waiters(slots)))
}

fn barrier(slots: usize, parties: u32) -> Arc<Barrier> {
    Arc::new(Barrier::new(Placed::own(BarrierWords::new()), waiters(slots), parties))
}

/// What a task does that waits, and its event loop.
fn wait<T: Slotted>(world: &World, kernel: &ThreadKernel, object: &Arc<T>, wish: Wish) -> Result<u64> {
    let stay = Stay::new(object.clone(), wish);
    loop {
        match stay.step(kernel) {
            Err(Error::WouldBlock) => {}
            ended => return ended,
        }
        let member = Member { object: &stay, kernel, watchers: world.watchers(0), nonce: NONCE };
        many::wait(&[member], Enough::Any, Deadline::Never)?;
    }
}

fn task(world: &Arc<World>, life: u32, dies: Dies, atomic: &Arc<AtomicInt>) -> Running<()> {
    let (atomic, of) = (atomic.clone(), world.clone());
    world.spawn_dying(life, dies, move |kernel| {
        sure(wait(&of, kernel, &atomic, AtomicInt::wish(0)));
    })
}

fn waiter(world: &Arc<World>, life: u32, atomic: &Arc<AtomicInt>) -> Running<()> {
    let atomic = atomic.clone();
    world.spawn(life, move |kernel| sure(atomic.wait(kernel, 0, Deadline::Never)))
}

fn party(world: &Arc<World>, life: u32, barrier: &Arc<Barrier>) -> Running<Result<u32>> {
    let (barrier, of) = (barrier.clone(), world.clone());
    world.spawn(life, move |kernel| {
        let wish = Barrier::wish(kernel.me()?);
        wait(&of, kernel, &barrier, wish).and_then(Barrier::judge)
    })
}

#[test]
fn test_a_change_lets_a_task_go() {
    explore(|| {
        let (world, atomic) = (world(true), atomic(2));
        let task = task(&world, 1, Dies::Never, &atomic);
        world.run(2, |kernel| assert_eq!(atomic.add(kernel, 1), Ok(0)));
        task.join();
    });
}

#[test]
fn test_a_task_that_found_no_slot_is_told_of_one() {
    explore_longest(|| {
        let (world, atomic) = (world(true), atomic(1));
        let both = [1, 2].map(|life| task(&world, life, Dies::Never, &atomic));
        world.run(3, |kernel| sure(atomic.add(kernel, 1)));
        join(both);
    });
}

#[test]
fn test_wake_counts_a_task_and_a_sleeper() {
    explore_long(|| {
        let (world, atomic) = (world(true), atomic(2));
        let task = task(&world, 1, Dies::Never, &atomic);
        let waiter = waiter(&world, 2, &atomic);
        until_waiting(&world, 2, || atomic.waiting());
        world.run(3, |kernel| {
            assert_eq!(atomic.wake(kernel, 1), Ok(1));
            assert_eq!(atomic.wake(kernel, 5), Ok(1));
        });
        task.join();
        waiter.join();
    });
}

#[test]
fn test_a_changer_dies_before_it_has_told_a_task() {
    explore_long(|| {
        let (world, atomic) = (world(false), atomic(2));
        let task = task(&world, 1, Dies::Never, &atomic);
        until_waiting(&world, 1, || atomic.waiting());
        let dying = world.spawn_dying(2, Dies::BeforeWake, {
            let atomic = atomic.clone();
            move |kernel| sure(atomic.add(kernel, 1))
        });
        task.join();
        dying.end();
    });
}

/// One in a slot, whose event loop does not look.
fn seated<T: Slotted>(kernel: &ThreadKernel, object: &Arc<T>, wish: Wish) -> Stay<T> {
    let stay = Stay::new(object.clone(), wish);
    assert_eq!(stay.step(kernel), Err(Error::WouldBlock));
    stay
}

#[test]
fn test_a_task_that_was_chosen_dies_before_it_looks() {
    explore_long(|| {
        let (world, atomic) = (world(false), atomic(2));
        let dying = world.spawn(1, {
            let atomic = atomic.clone();
            move |kernel| {
                let stay = seated(kernel, &atomic, AtomicInt::wish(0));
                while !atomic.waiters().is_granted(0) {
                    loom::thread::yield_now();
                }
                drop(stay);
                kernel.die();
            }
        });
        while atomic.waiting() < 1 {
            loom::thread::yield_now();
        }
        let waiter = waiter(&world, 2, &atomic);
        while atomic.waiting() < 2 {
            loom::thread::yield_now();
        }
        world.until_asleep(1);
        world.run(3, |kernel| assert_eq!(atomic.wake(kernel, 1), Ok(1)));
        waiter.join();
        assert_eq!(dying.end(), None::<()>);
    });
}

#[test]
fn test_a_task_that_gives_up_hands_on_what_it_was_given() {
    explore_long(|| {
        let (world, atomic) = (world(true), atomic(2));
        let leaver = world.spawn(1, {
            let atomic = atomic.clone();
            move |kernel| {
                let stay = seated(kernel, &atomic, AtomicInt::wish(0));
                while !atomic.waiters().is_granted(0) {
                    loom::thread::yield_now();
                }
                sure(stay.give_up(kernel));
            }
        });
        while atomic.waiting() < 1 {
            loom::thread::yield_now();
        }
        let waiter = waiter(&world, 2, &atomic);
        while atomic.waiting() < 2 {
            loom::thread::yield_now();
        }
        world.run(3, |kernel| assert_eq!(atomic.wake(kernel, 1), Ok(1)));
        waiter.join();
        leaver.join();
    });
}

#[test]
fn test_a_task_and_a_sleeper_meet() {
    explore_long(|| {
        let (world, barrier) = (world(true), barrier(2, 2));
        let task = party(&world, 1, &barrier);
        let index = world.run(2, |kernel| sure(barrier.wait(kernel, Deadline::Never)));
        assert_eq!(task.join(), Ok(1 - index));
    });
}

#[test]
fn test_a_task_leaves_or_has_passed() {
    explore(|| {
        let (world, barrier) = (world(true), barrier(2, 2));
        let leaver = world.spawn(1, {
            let barrier = barrier.clone();
            move |kernel| {
                let wish = Barrier::wish(kernel.me()?);
                let stay = Stay::new(barrier, wish);
                match stay.step(kernel) {
                    Err(Error::WouldBlock) if sure(stay.leave(kernel)) => Err(Error::Interrupted),
                    Err(Error::WouldBlock) => stay.step(kernel).and_then(Barrier::judge),
                    ended => ended.and_then(Barrier::judge),
                }
            }
        });
        let other = world.run(2, |kernel| {
            let stay = Stay::new(barrier.clone(), Barrier::wish(sure(kernel.me())));
            stay.step(kernel).and_then(Barrier::judge)
        });
        match leaver.join() {
            Ok(index) => assert!(other == Err(Error::WouldBlock) || other == Ok(1 - index), "{other:?}"),
            ended => assert_eq!((ended, other), (Err(Error::Interrupted), Err(Error::WouldBlock))),
        }
    });
}
