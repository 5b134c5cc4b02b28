//! The notification, and with it the slots of those who wait.

use std::sync::Arc;

use underpass_core::notification::{ALL, CONSUME, Notification};
use underpass_core::waiters::{Waiters, Wish};
use underpass_core::{Deadline, Error};
use underpass_shm::layout::notification::NotificationWords;
use underpass_shm::layout::waiters::{SlotWords, WaitersWords};
use underpass_shm::place::{Placed, PlacedSlice};

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, explore_longest, join, sure};

mod crowd;
mod planted;

fn slots(count: usize) -> PlacedSlice<SlotWords> {
    PlacedSlice::own((0..count).map(|_| SlotWords::new()).collect())
}

pub fn waiters(count: usize) -> Waiters {
    Waiters::new(Placed::own(WaitersWords::new()), slots(count), PlacedSlice::own(Vec::new()))
}

fn notification(slots: usize) -> Arc<Notification> {
    Arc::new(Notification::new(Placed::own(NotificationWords::new(0)), waiters(slots)))
}

const fn any(value: u64) -> Wish {
    Wish { value, how: CONSUME }
}

const fn all(value: u64) -> Wish {
    Wish { value, how: CONSUME | ALL }
}

const fn watch(value: u64) -> Wish {
    Wish { value, how: 0 }
}

fn wait(kernel: &ThreadKernel, notification: &Notification, wish: Wish) -> u64 {
    sure(notification.wait(kernel, wish, Deadline::Never))
}

fn waiter(world: &Arc<World>, life: u32, dies: Dies, notification: &Arc<Notification>, wish: Wish) -> Running<u64> {
    let notification = notification.clone();
    world.spawn_dying(life, dies, move |kernel| wait(kernel, &notification, wish))
}

fn notifier(world: &Arc<World>, life: u32, dies: Dies, notification: &Arc<Notification>, bits: u64) -> Running<u64> {
    let notification = notification.clone();
    world.spawn_dying(life, dies, move |kernel| sure(notification.notify(kernel, bits)))
}

/// Until so many sleep in their slots: one who sleeps may sleep for the lock, and one who has a slot may hold it.
pub fn until_waiting(world: &World, count: usize, waiting: impl Fn() -> usize) {
    while waiting() < count {
        loom::thread::yield_now();
    }
    world.until_asleep(count);
}

#[test]
fn test_every_flag_is_taken_once() {
    explore(|| {
        let (world, notification) = (World::new(), notification(2));
        let waiters = [1, 2].map(|bit| waiter(&world, bit, Dies::Never, &notification, any(u64::from(bit))));
        world.run(3, |kernel| {
            sure(notification.notify(kernel, 1));
            sure(notification.notify(kernel, 2));
        });
        assert_eq!(join(waiters), [1, 2]);
        assert_eq!(notification.bits(), 0);
    });
}

/// A signal ends a sleeper that is given a flag, while another is about to sleep for it.
#[test]
fn test_what_a_signal_leaves_reaches_one_about_to_sleep() {
    explore(|| {
        let (world, notification) = (World::new(), notification(2));
        let ended = world.spawn(1, {
            let notification = notification.clone();
            move |kernel| notification.wait(kernel, any(1), Deadline::Never)
        });
        until_waiting(&world, 1, || notification.waiting());
        assert!(world.interrupt_sleeper(1));
        world.run(3, |kernel| assert_eq!(notification.notify(kernel, 1), Ok(0)));
        let waiter = waiter(&world, 2, Dies::Never, &notification, any(1));
        match ended.join() {
            Err(Error::Interrupted) => {}
            given => {
                assert_eq!(given, Ok(1));
                world.run(3, |kernel| assert_eq!(notification.notify(kernel, 1), Ok(0)));
            }
        }
        assert_eq!(waiter.join(), 1);
    });
}

#[test]
fn test_one_post_reaches_all_who_sleep() {
    explore_longest(|| {
        let (world, notification) = (World::new(), notification(3));
        let waiters = [(1, any(1)), (2, all(3)), (3, watch(2))]
            .map(|(life, wish)| waiter(&world, life, Dies::Never, &notification, wish));
        until_waiting(&world, 3, || notification.waiting());
        world.run(4, |kernel| assert_eq!(notification.notify(kernel, 7), Ok(0)));
        assert_eq!(join(waiters), [1, 3, 2]);
        assert_eq!(notification.bits(), 4);
    });
}

#[test]
fn test_flags_that_are_cleared_at_once_have_been_seen() {
    explore_long(|| {
        let (world, notification) = (World::new(), notification(2));
        let waiters = [1, 2].map(|life| waiter(&world, life, Dies::Never, &notification, watch(1)));
        until_waiting(&world, 2, || notification.waiting());
        world.run(3, |kernel| {
            sure(notification.notify(kernel, 1));
            sure(notification.clear(kernel, 1));
        });
        assert_eq!(join(waiters), [1, 1]);
    });
}

#[test]
fn test_newcomers_take_nothing_from_sleepers() {
    explore(|| {
        let (world, notification) = (World::new(), notification(2));
        let sleeper = waiter(&world, 1, Dies::Never, &notification, any(1));
        until_waiting(&world, 1, || notification.waiting());
        let newcomer = world.spawn(2, {
            let notification = notification.clone();
            move |kernel| notification.wait(kernel, any(1), Deadline::NoWait)
        });
        world.run(3, |kernel| sure(notification.notify(kernel, 1)));
        assert_eq!(sleeper.join(), 1);
        assert_eq!(newcomer.join(), Err(Error::WouldBlock));
    });
}

#[test]
fn test_two_notifiers_complete_one_wish() {
    explore(|| {
        let (world, notification) = (World::new(), notification(2));
        let waiter = waiter(&world, 1, Dies::Never, &notification, all(3));
        let other = notifier(&world, 2, Dies::Never, &notification, 1);
        world.run(3, |kernel| sure(notification.notify(kernel, 2)));
        other.join();
        assert_eq!(waiter.join(), 3);
        assert_eq!(notification.bits(), 0);
    });
}

#[test]
fn test_who_finds_no_slot_waits_for_one() {
    explore_long(|| {
        let (world, notification) = (World::new(), notification(1));
        let waiters = [1, 2].map(|bit| waiter(&world, bit, Dies::Never, &notification, any(u64::from(bit))));
        world.run(3, |kernel| {
            sure(notification.notify(kernel, 2));
            sure(notification.notify(kernel, 1));
        });
        assert_eq!(join(waiters), [1, 2]);
        assert_eq!(notification.bits(), 0);
    });
}

#[test]
fn test_notifier_dies_before_its_wakes() {
    explore_long(|| {
        let (world, notification) = (World::mortal(), notification(2));
        let waiters = [1, 2].map(|life| waiter(&world, life, Dies::Never, &notification, any(1)));
        until_waiting(&world, 2, || notification.waiting());
        let dying = notifier(&world, 3, Dies::BeforeWake, &notification, 1);
        assert_eq!(join(waiters), [1, 1]);
        assert_eq!(dying.end(), None);
        assert_eq!(notification.bits(), 0);
    });
}

#[test]
fn test_notifier_dies_beside_another() {
    explore_long(|| {
        let (world, notification) = (World::mortal(), notification(2));
        let waiter = waiter(&world, 1, Dies::Never, &notification, all(3));
        until_waiting(&world, 1, || notification.waiting());
        let dying = notifier(&world, 2, Dies::BeforeWake, &notification, 1);
        world.run(3, |kernel| {
            sure(notification.notify(kernel, 2));
            // The other may have died before its own.
            sure(notification.notify(kernel, 1));
        });
        assert_eq!(waiter.join(), 3);
        dying.end();
    });
}

#[test]
fn test_woken_consumer_dies_before_it_looks() {
    explore_long(|| {
        let (world, notification) = (World::mortal(), notification(2));
        let dying = waiter(&world, 1, Dies::AfterPark, &notification, any(1));
        world.until_asleep(1);
        let waiter = waiter(&world, 2, Dies::Never, &notification, all(3));
        until_waiting(&world, 2, || notification.waiting());
        world.run(3, |kernel| {
            sure(notification.notify(kernel, 1));
            sure(notification.notify(kernel, 2));
        });
        // It was woken with the first flag, and has not taken it.
        assert_eq!(waiter.join(), 3);
        assert_eq!(dying.end(), None);
        assert_eq!(notification.bits(), 0);
    });
}

#[test]
fn test_consumer_is_killed_in_its_sleep() {
    explore_long(|| {
        let (world, notification) = (World::mortal(), notification(2));
        let killed = waiter(&world, 1, Dies::Never, &notification, any(1));
        let killer = world.clone();
        let notifier = notifier(&world, 2, Dies::Never, &notification, 1);
        let killed_asleep = killer.kill_sleeper(1);
        notifier.join();
        let taken = killed.end().is_some();
        assert!(!(taken && killed_asleep));
        // What it did not take is there for the next.
        if !taken {
            world.run(3, |kernel| assert_eq!(wait(kernel, &notification, any(1)), 1));
        }
        assert_eq!(notification.bits(), 0);
    });
}

#[test]
fn test_slot_of_the_dead_is_used_again() {
    explore_long(|| {
        let (world, notification) = (World::mortal(), notification(1));
        let killed = waiter(&world, 1, Dies::Never, &notification, any(1));
        world.until_asleep(1);
        assert!(world.kill_sleeper(1));
        let next = waiter(&world, 2, Dies::Never, &notification, any(2));
        world.run(3, |kernel| sure(notification.notify(kernel, 2)));
        assert_eq!(next.join(), 2);
        assert_eq!(killed.end(), None);
    });
}
