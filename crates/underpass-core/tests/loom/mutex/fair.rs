//! The mutex that is handed over: nobody overtakes, what the dead were handed goes on, and what a death means is the same.

use underpass_core::waiters::Order;

use super::*;
use crate::notification::{until_waiting, waiters};

mod planted;
mod tasks;

fn guarded(slots: usize) -> Arc<Guarded> {
    let mutex = Mutex::fair(Placed::own(MutexWords::new()), false, waiters(slots), Order::Arrival);
    Arc::new(Guarded { mutex, count: UnsafeCell::new(0) })
}

fn acquire(world: &Arc<World>, life: u32, guarded: &Arc<Guarded>) {
    world.run(life, |kernel| sure(guarded.mutex.acquire(kernel, Deadline::Never)));
}

fn release(world: &Arc<World>, life: u32, guarded: &Arc<Guarded>) {
    world.run(life, |kernel| sure(guarded.mutex.release(kernel)));
}

/// One that sleeps in a slot, the `life`th to do so, and counts.
fn asleep(world: &Arc<World>, life: u32, dies: Dies, guarded: &Arc<Guarded>) -> Running<End> {
    let running = raiser(world, life, dies, guarded);
    until_waiting(world, life as usize, || guarded.mutex.waiting());
    running
}

#[test]
fn test_one_at_a_time() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded(2));
        let others = [1, 2].map(|life| raiser(&world, life, Dies::Never, &guarded));
        assert_eq!(join(others), [End::Counted; 2]);
        assert_eq!(guarded.counted(), 2);
        assert_eq!(world.run(3, |kernel| guarded.raise(kernel, Deadline::NoWait)), End::Counted);
    });
}

/// The fast paths beside one who queues.
#[test]
fn test_release_without_the_lock_misses_nobody_who_queues() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded(2));
        let other = raiser(&world, 1, Dies::Never, &guarded);
        world.run(2, |kernel| {
            if guarded.mutex.acquire(kernel, Deadline::NoWait).is_ok() {
                guarded.count();
                sure(guarded.mutex.release(kernel));
            }
        });
        assert_eq!(other.join(), End::Counted);
    });
}

#[test]
fn test_newcomer_takes_nothing_from_a_sleeper() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded(2));
        acquire(&world, 3, &guarded);
        let sleeper = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| guarded.mutex.acquire(kernel, Deadline::Never)
        });
        until_waiting(&world, 1, || guarded.mutex.waiting());
        let newcomer = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.mutex.acquire(kernel, Deadline::NoWait)
        });
        release(&world, 3, &guarded);
        assert_eq!(sleeper.join(), Ok(()));
        assert_eq!(newcomer.join(), Err(Error::WouldBlock));
    });
}

#[test]
fn test_two_who_sleep_have_it_one_after_the_other() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded(2));
        acquire(&world, 3, &guarded);
        let sleepers = [1, 2].map(|life| asleep(&world, life, Dies::Never, &guarded));
        release(&world, 3, &guarded);
        assert_eq!(join(sleepers), [End::Counted; 2]);
    });
}

#[test]
fn test_more_waiters_than_slots() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded(1));
        acquire(&world, 3, &guarded);
        let sleepers = [1, 2].map(|life| raiser(&world, life, Dies::Never, &guarded));
        world.until_asleep(2);
        release(&world, 3, &guarded);
        assert_eq!(join(sleepers), [End::Counted; 2]);
    });
}

#[test]
fn test_time_runs_out_as_it_is_handed_over() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded(2));
        acquire(&world, 2, &guarded);
        let late = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise(kernel, Deadline::At(1))
        });
        until_waiting(&world, 1, || guarded.mutex.waiting());
        let giver = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| sure(guarded.mutex.release(kernel))
        });
        world.expire_sleeper(1);
        giver.join();
        let late = late.join();
        assert_eq!(guarded.counted(), u32::from(late == End::Counted));
        // Whoever comes next finds it free.
        assert_eq!(world.run(3, |kernel| guarded.raise(kernel, Deadline::NoWait)), End::Counted);
    });
}

#[test]
fn test_what_a_signal_leaves_is_handed_on() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded(2));
        acquire(&world, 3, &guarded);
        let ended = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| match guarded.mutex.acquire(kernel, Deadline::Never) {
                Ok(()) => guarded.mutex.release(kernel),
                Err(error) => Err(error),
            }
        });
        until_waiting(&world, 1, || guarded.mutex.waiting());
        let taker = asleep(&world, 2, Dies::Never, &guarded);
        assert!(world.interrupt_sleeper(1));
        release(&world, 3, &guarded);
        assert!(matches!(ended.join(), Ok(()) | Err(Error::Interrupted)));
        assert_eq!(taker.join(), End::Counted);
    });
}

#[test]
fn test_owner_dies_between_its_release_and_its_wake() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        acquire(&world, 3, &guarded);
        let others = [1, 2].map(|life| asleep(&world, life, Dies::Never, &guarded));
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let guarded = guarded.clone();
            move |kernel| sure(guarded.mutex.release(kernel))
        });
        assert_eq!(join(others), [End::Counted; 2]);
        assert_eq!(dying.end(), None);
    });
}

/// It was handed over to one that is killed on its way: that one has held nothing.
#[test]
fn test_one_who_dies_woken_is_passed_over() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        acquire(&world, 3, &guarded);
        let dying = asleep(&world, 1, Dies::AfterPark, &guarded);
        let taker = asleep(&world, 2, Dies::Never, &guarded);
        release(&world, 3, &guarded);
        assert_eq!(taker.join(), End::Counted);
        assert_eq!(dying.end(), None);
        assert_eq!(guarded.counted(), 1);
    });
}

#[test]
fn test_one_who_dies_woken_while_nobody_waits_leaves_it_free() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        acquire(&world, 3, &guarded);
        let dying = asleep(&world, 1, Dies::AfterPark, &guarded);
        release(&world, 3, &guarded);
        assert_eq!(dying.end(), None);
        assert_eq!(world.run(4, |kernel| guarded.raise(kernel, Deadline::Never)), End::Counted);
    });
}

#[test]
fn test_sleeper_is_killed() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        acquire(&world, 3, &guarded);
        let killed = asleep(&world, 1, Dies::Never, &guarded);
        let taker = asleep(&world, 2, Dies::Never, &guarded);
        world.kill_sleeper(1);
        release(&world, 3, &guarded);
        assert!(matches!(taker.join(), End::Counted));
        killed.end();
    });
}

/// Two who sleep while a third has it: the first gets it and dies, and the second has to be told.
#[test]
fn test_death_of_one_it_was_handed_to_is_told() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        acquire(&world, 3, &guarded);
        let dying = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| sure(guarded.raise_and_die(kernel))
        });
        until_waiting(&world, 1, || guarded.mutex.waiting());
        let waiter = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.mutex.acquire(kernel, Deadline::Never)
        });
        until_waiting(&world, 2, || guarded.mutex.waiting());
        release(&world, 3, &guarded);
        assert!(matches!(waiter.join(), Err(Error::OwnerDied(_))));
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_all_who_wait_for_the_dead_are_told() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        acquire(&world, 1, &guarded);
        let waiters = [2, 3].map(|life| raiser(&world, life, Dies::Never, &guarded));
        let dying = world.spawn(1, |kernel: &ThreadKernel| -> () { kernel.die() });
        assert_eq!(join(waiters), [End::Told; 2]);
        dying.end();
        assert_eq!(world.run(4, |kernel| guarded.raise(kernel, Deadline::Never)), End::Told);
    });
}

/// Who is in line behind one that recovers waits for it.
#[test]
fn test_one_who_recovers_is_handed_what_the_dead_left() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        acquire(&world, 1, &guarded);
        let repairer = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.recover(kernel, true)
        });
        until_waiting(&world, 1, || guarded.mutex.waiting());
        let waiter = raiser(&world, 3, Dies::Never, &guarded);
        until_waiting(&world, 2, || guarded.mutex.waiting());
        world.spawn(1, |kernel: &ThreadKernel| -> () { kernel.die() }).end();
        assert_eq!(repairer.join(), End::Repaired);
        assert_eq!(waiter.join(), End::Counted);
    });
}

#[test]
fn test_recovery_that_fails_tells_all_who_wait() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        assert_eq!(dying_owner(&world, &guarded).end(), None);
        let waiter = raiser(&world, 2, Dies::Never, &guarded);
        assert_eq!(world.run(4, |kernel| guarded.recover(kernel, false)), End::Repaired);
        assert_eq!(waiter.join(), End::Told);
    });
}

/// One who was handed what the dead left dies before it comes: the next is told of the first death.
#[test]
fn test_recoverer_dies_woken() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded(2));
        acquire(&world, 1, &guarded);
        let dying = world.spawn_dying(2, Dies::AfterPark, {
            let guarded = guarded.clone();
            move |kernel| guarded.recover(kernel, true)
        });
        until_waiting(&world, 1, || guarded.mutex.waiting());
        let waiter = raiser(&world, 3, Dies::Never, &guarded);
        until_waiting(&world, 2, || guarded.mutex.waiting());
        world.spawn(1, |kernel: &ThreadKernel| -> () { kernel.die() }).end();
        assert_eq!(waiter.join(), End::Told);
        assert_eq!(dying.end(), None);
    });
}
