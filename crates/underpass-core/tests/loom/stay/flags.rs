//! Tasks that are given flags of a notification in the instant of their change.

use underpass_core::notification::{ALL, CONSUME, Notification};
use underpass_shm::layout::notification::NotificationWords;

use super::*;

const LOOK: Wish = Wish { value: 1, how: 0 };
const TAKE: Wish = Wish { value: 1, how: CONSUME };

fn notification(slots: usize) -> Arc<Notification> {
    Arc::new(Notification::new(Placed::own(NotificationWords::new(0)), waiters(slots)))
}

fn given(world: &Arc<World>, life: u32, notification: &Arc<Notification>, wish: Wish) -> Running<u64> {
    let (notification, of) = (notification.clone(), world.clone());
    world.spawn(life, move |kernel| sure(wait(&of, kernel, &notification, wish)))
}

fn until_in_slots(count: usize, notification: &Notification) {
    while notification.waiting() < count {
        loom::thread::yield_now();
    }
}

#[test]
fn test_a_flag_that_is_set_and_cleared_at_once_reaches_a_task() {
    explore_long(|| {
        let (world, notification) = (world(true), notification(2));
        let task = given(&world, 1, &notification, LOOK);
        until_in_slots(1, &notification);
        world.run(2, |kernel| {
            sure(notification.notify(kernel, 1));
            sure(notification.clear(kernel, 1));
        });
        assert_eq!(task.join(), 1);
        assert_eq!(notification.bits(), 0);
    });
}

#[test]
fn test_a_task_that_comes_beside_a_post_is_given_it() {
    explore(|| {
        let (world, notification) = (world(true), notification(2));
        let task = given(&world, 1, &notification, TAKE);
        world.run(2, |kernel| sure(notification.notify(kernel, 3)));
        assert_eq!(task.join(), 1);
        assert_eq!(notification.bits(), 2);
    });
}

#[test]
fn test_one_post_reaches_a_task_and_a_sleeper_that_both_consume_it() {
    explore_long(|| {
        let (world, notification) = (world(true), notification(2));
        let task = given(&world, 1, &notification, TAKE);
        until_in_slots(1, &notification);
        let sleeper = world.spawn(2, {
            let notification = notification.clone();
            move |kernel| sure(notification.wait(kernel, TAKE, Deadline::Never))
        });
        until_in_slots(2, &notification);
        world.run(3, |kernel| sure(notification.notify(kernel, 1)));
        assert_eq!((task.join(), sleeper.join()), (1, 1));
        assert_eq!(notification.bits(), 0);
    });
}

/// A task is given flags that it consumes, and dies, or gives up, before it takes them; then another waits for them.
fn flags_come_back(ends: fn(&Stay<Notification>, &ThreadKernel)) {
    explore_long(move || {
        let (world, notification) = (world(false), notification(2));
        let task = world.spawn(1, {
            let notification = notification.clone();
            move |kernel| {
                let stay = seated(kernel, &notification, TAKE);
                while !notification.waiters().is_granted(0) {
                    loom::thread::yield_now();
                }
                ends(&stay, kernel);
            }
        });
        until_in_slots(1, &notification);
        world.run(3, |kernel| sure(notification.notify(kernel, 1)));
        let sleeper = world.run(2, |kernel| notification.wait(kernel, TAKE, Deadline::Never));
        assert_eq!(sleeper, Ok(1));
        task.end();
        assert_eq!(notification.bits(), 0);
    });
}

#[test]
fn test_flags_of_a_task_that_dies_are_set_again() {
    flags_come_back(|_, kernel| kernel.die());
}

#[test]
fn test_flags_of_a_task_that_gives_up_are_set_again() {
    flags_come_back(|stay, kernel| sure(stay.give_up(kernel)));
}

/// One that sleeps for more than a post had, behind a task that was given the post and dies before its loop looks.
#[test]
fn test_flags_of_a_task_that_dies_reach_one_who_sleeps() {
    explore_long(|| {
        let (world, notification) = (world(false), notification(2));
        let task = world.spawn(1, {
            let notification = notification.clone();
            move |kernel| {
                let stay = seated(kernel, &notification, TAKE);
                while !notification.waiters().is_granted(0) {
                    loom::thread::yield_now();
                }
                drop(stay);
                kernel.die();
            }
        });
        until_in_slots(1, &notification);
        let sleeper = world.spawn(2, {
            let notification = notification.clone();
            let both = Wish { value: 5, how: ALL | CONSUME };
            move |kernel| sure(notification.wait(kernel, both, Deadline::Never))
        });
        until_in_slots(2, &notification);
        world.until_asleep(1);
        world.run(3, |kernel| {
            sure(notification.notify(kernel, 1));
            sure(notification.notify(kernel, 4));
        });
        assert_eq!(sleeper.join(), 5);
        assert_eq!(task.end(), None::<()>);
        assert_eq!(notification.bits(), 0);
    });
}
