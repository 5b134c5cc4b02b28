//! Deaths on either side of a queue.

use underpass_shm::sync::Ordering::Relaxed;

use super::*;

#[test]
fn test_last_putter_dies() {
    explore(|| {
        let (world, queue) = (World::mortal(), queue(1));
        let putter = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            sure(queue.join_putters(kernel));
            sure(put(kernel, queue, 1));
            kernel.die();
        });
        world.run(2, |kernel| {
            assert_eq!(get(kernel, &queue), Ok(1));
            assert_eq!(get(kernel, &queue), Err(Error::PeerDied { pid: 1, phase: Phase::Wait }));
        });
        assert_eq!(putter.end(), None::<()>);
    });
}

#[test]
fn test_putter_dies_before_its_wake() {
    explore(|| {
        let (world, queue) = (World::mortal(), queue(1));
        let getter = getter(&world, 1, Dies::Never, &queue);
        let dying = putter(&world, 2, Dies::BeforeWake, &queue);
        assert_eq!(getter.join(), 2);
        dying.end();
    });
}

#[test]
fn test_getter_dies_before_its_wake() {
    explore(|| {
        let (world, queue) = (World::mortal(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let putter = putter(&world, 1, Dies::Never, &queue);
        let dying = getter(&world, 2, Dies::BeforeWake, &queue);
        putter.join();
        dying.end();
    });
}

#[test]
fn test_woken_getter_dies_before_it_looks() {
    explore_long(|| {
        let (world, queue) = (World::mortal(), queue(2));
        let dying = getter(&world, 1, Dies::AfterPark, &queue);
        let other = getter(&world, 2, Dies::Never, &queue);
        world.run(3, |kernel| {
            sure(put(kernel, &queue, 3));
            // One each, if both live.
            sure(put(kernel, &queue, 3));
        });
        assert_eq!(other.join(), 3);
        let left = u32::from(dying.end().is_none());
        assert_eq!(queue.depth(), left);
    });
}

#[test]
fn test_woken_putter_dies_before_it_looks() {
    explore_longest(|| {
        let (world, queue) = (World::mortal(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let dying = putter(&world, 1, Dies::AfterPark, &queue);
        let other = putter(&world, 2, Dies::Never, &queue);
        world.run(3, |kernel| [(); 2].map(|()| sure(get(kernel, &queue))));
        other.join();
        let left = u32::from(dying.end().is_some());
        assert_eq!(queue.depth(), left);
    });
}

#[test]
fn test_message_of_a_dead_worker_goes_to_the_next() {
    explore_long(|| {
        let (world, queue) = (World::mortal(), queue(1));
        let dying = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            sure(queue.take(kernel, Deadline::Never));
            kernel.die();
        });
        let other = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| {
            // It may be first; then the other one's death comes later.
            let ticket = sure(queue.take(kernel, Deadline::Never));
            assert_eq!(read(queue, &ticket), 3);
            sure(queue.put_back(kernel, &ticket, true));
        });
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        other.join();
        assert_eq!(dying.end(), None::<()>);
        world.run(3, |kernel| assert_eq!(sure(get(kernel, &queue)), 3));
    });
}

#[test]
fn test_loan_of_a_dead_putter_is_free_again() {
    explore(|| {
        let (world, queue) = (World::mortal(), queue(1));
        let dying = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            sure(queue.loan(kernel, 1, 0, None, Deadline::Never));
            kernel.die();
        });
        world.run(2, |kernel| {
            sure(put(kernel, &queue, 2));
            assert_eq!(sure(get(kernel, &queue)), 2);
        });
        assert_eq!(dying.end(), None::<()>);
        world.run(2, |kernel| sure(queue.join(kernel, Deadline::Never)));
    });
}

#[test]
fn test_joiner_outlives_the_last_worker() {
    explore_long(|| {
        let (world, queue) = (World::mortal(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let dying = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            sure(queue.take(kernel, Deadline::Never));
            kernel.die();
        });
        let other = getter(&world, 2, Dies::Never, &queue);
        world.run(3, |kernel| sure(queue.join(kernel, Deadline::Never)));
        assert_eq!(other.join(), 3);
        // It finds nothing any more, so it ends only now if the other was first.
        world.run(3, |kernel| sure(put(kernel, &queue, 4)));
        assert_eq!(dying.end(), None::<()>);
    });
}

#[test]
fn test_getter_dies_while_it_copies() {
    explore_long(|| {
        let (world, queue) = (World::mortal(), queue(1));
        let dying = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            let _ = queue.get(kernel, Deadline::NoWait, |_| kernel.die());
        });
        let other = getter(&world, 2, Dies::Never, &queue);
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        assert_eq!(other.join(), 3);
        dying.end();
    });
}

#[test]
fn test_worker_dies_in_the_middle_of_a_lease() {
    explore_long(|| {
        let (world, queue) = (World::mortal(), queue(1));
        let dying = spawn(&world, 1, Dies::AtTheClock, &queue, |kernel, queue| queue.take(kernel, Deadline::NoWait));
        let other = getter(&world, 2, Dies::Never, &queue);
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        assert_eq!(other.join(), 3);
        dying.end();
        world.run(3, |kernel| sure(queue.join(kernel, Deadline::Never)));
    });
}

#[test]
fn test_putter_dies_in_the_middle_of_a_loan() {
    explore_long(|| {
        let (world, queue) = (World::mortal(), queue(1));
        let dying = spawn(&world, 1, Dies::AtTheClock, &queue, |kernel, queue| {
            queue.loan(kernel, 1, 0, None, Deadline::NoWait).map(drop)
        });
        let putter = putter(&world, 2, Dies::Never, &queue);
        world.run(3, |kernel| assert_eq!(sure(get(kernel, &queue)), 2));
        putter.join();
        dying.end();
        world.run(3, |kernel| sure(queue.join(kernel, Deadline::Never)));
    });
}

/// Who buried a message died before it was a letter, and somebody has put one by hand into that slot when it is buried again.
fn buried_again(has_letters: bool) {
    explore(move || {
        let world = World::mortal();
        let letters = room(Placed::own(RoomWords::new()), 2, None, has_letters);
        let main = room(Placed::own(RoomWords::new()), 1, None, false);
        let queue = Arc::new(Queue::new(main, Some(letters.clone()), Some(1), WhenFull::Wait));
        world.run(3, |kernel| sure(put(kernel, &queue, 7)));
        let dying = spawn(&world, 1, Dies::Never, &queue, move |kernel, queue| {
            let ticket = sure(queue.take(kernel, Deadline::Never));
            // As far as it came.
            let grave = sure(letters.free_slot(0)).expect("a free slot");
            letters.slots[grave].origin.store(ticket.number, Relaxed);
            kernel.die();
        });
        assert_eq!(dying.end(), None::<()>);
        world.run(2, |kernel| {
            let letters = queue.dead_letters().expect("a queue with dead letters");
            sure(put(kernel, &letters, 9));
            assert_eq!(get_until(kernel, &queue, Deadline::NoWait), Err(Error::WouldBlock));
            assert_eq!([(); 2].map(|()| get_until(kernel, &letters, Deadline::NoWait)), [Ok(9), Ok(7)]);
        });
    });
}

#[test]
fn test_letter_by_hand_before_a_burial_is_repeated() {
    buried_again(true);
}

#[test]
#[should_panic(expected = "[Ok(9), Err(WouldBlock)]")]
fn test_letter_by_hand_that_keeps_the_origin() {
    buried_again(false);
}
