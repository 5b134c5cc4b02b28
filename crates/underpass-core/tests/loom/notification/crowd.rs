//! More who wait than the first row of slots has: rows of two here, so that only the first has a slot in front of the crowd.

use underpass_shm::sync::AtomicU64;

use super::*;

/// With so many rows behind the first; without any the slots behind it are there, and nobody looks at them.
fn crowded(rows: usize) -> Arc<Notification> {
    let rows = PlacedSlice::own((0..rows).map(|_| AtomicU64::new(0)).collect());
    let waiters = Waiters::in_rows_of(2, Placed::own(WaitersWords::new()), slots(4), rows);
    Arc::new(Notification::new(Placed::own(NotificationWords::new(0)), waiters))
}

/// Two who sleep, one of them in the crowd.
fn one_post_reaches_the_crowd(rows: usize) {
    explore(move || {
        let (world, notification) = (World::new(), crowded(rows));
        let waiters = [1, 2].map(|life| waiter(&world, life, Dies::Never, &notification, watch(1)));
        world.run(3, |kernel| assert!(sure(notification.notify(kernel, 1)) & !1 == 0));
        assert_eq!(join(waiters), [1, 1]);
        assert_eq!(notification.waiting(), 0);
    });
}

#[test]
fn test_one_post_reaches_the_crowd() {
    one_post_reaches_the_crowd(1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_a_crowd_without_rows_is_found() {
    one_post_reaches_the_crowd(0);
}

/// One of the crowd has gone: whoever forgets its slot does not forget the other's.
#[test]
fn test_who_leaves_the_crowd_hides_nobody() {
    explore_long(|| {
        let (world, notification) = (World::new(), crowded(1));
        let [first, second, third] = [(1, 1), (2, 2), (3, 4)].map(|(life, bit)| {
            let waiter = waiter(&world, life, Dies::Never, &notification, any(bit));
            until_waiting(&world, life as usize, || notification.waiting());
            waiter
        });
        world.run(4, |kernel| assert_eq!(notification.notify(kernel, 2), Ok(0)));
        assert_eq!(second.join(), 2);
        world.run(4, |kernel| {
            assert_eq!(notification.notify(kernel, 4), Ok(0));
            assert_eq!(notification.notify(kernel, 1), Ok(0));
        });
        assert_eq!(join([first, third]), [1, 4]);
    });
}

/// One of the crowd dies of what it was given, which another needs.
#[test]
fn test_what_one_of_the_crowd_was_given_comes_back() {
    explore_long(|| {
        let (world, notification) = (World::mortal(), crowded(1));
        let first = waiter(&world, 1, Dies::Never, &notification, all(3));
        until_waiting(&world, 1, || notification.waiting());
        let dying = waiter(&world, 2, Dies::AfterPark, &notification, any(1));
        until_waiting(&world, 2, || notification.waiting());
        world.run(3, |kernel| {
            sure(notification.notify(kernel, 1));
            sure(notification.notify(kernel, 2));
        });
        assert_eq!(first.join(), 3);
        assert_eq!(dying.end(), None);
    });
}
