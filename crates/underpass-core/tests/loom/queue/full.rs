//! Rooms that drop a message when they are full: nobody finds them in between, and each is counted once.

use underpass_core::wait::Patience;
use underpass_shm::layout::queue::DROPPING;
use underpass_shm::sync::Ordering::{Relaxed, Release};

use super::*;

/// A queue that drops its oldest, with the room that it is over.
fn dropping(capacity: usize) -> (Arc<Queue>, Room) {
    let room = room(Placed::own(RoomWords::new()), capacity, None, false);
    (Arc::new(Queue::new(room.clone(), None, None, WhenFull::DropOldest)), room)
}

/// A putter drops the message that a getter comes for: that one gets it, or the new one. Unless, as a mistake, the room is left in
/// between.
fn nobody_finds_it_empty(leaves: bool) {
    explore(move || {
        let (world, (queue, room)) = (World::new(), dropping(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 1)));
        let putter = spawn(&world, 1, Dies::Never, &queue, move |kernel, queue| {
            if !leaves {
                return sure(put(kernel, queue, 2));
            }
            let (me, patience) = (sure(kernel.me()), Patience::new());
            let _side = sure(room.putters(kernel, &patience, me));
            if sure(room.free_slot(0)).is_none() {
                let _getters = sure(room.getters(kernel, &patience, me));
                sure(room.make_room(kernel, 0));
            }
            let slot = sure(room.free_slot(0)).expect("a free slot");
            room.write(slot, &[2], 0);
            room.place(slot, 0);
            sure(room.arrive(kernel, 1, true));
        });
        let got = world.run(2, |kernel| sure(get_until(kernel, &queue, Deadline::NoWait)));
        putter.join();
        world.run(3, |kernel| {
            let (left, dropped) = (queue.depth(), sure(queue.dropped(kernel)));
            assert!([(1, 1, 0), (2, 0, 1)].contains(&(got, left, dropped)));
        });
    });
}

#[test]
fn test_getter_finds_the_old_message_or_the_new_one() {
    nobody_finds_it_empty(false);
}

#[test]
#[should_panic(expected = "WouldBlock")]
fn test_room_that_is_left_between_the_two() {
    nobody_finds_it_empty(true);
}

#[test]
fn test_two_putters_drop_what_is_too_much() {
    explore_long(|| {
        let (world, (queue, _)) = (World::new(), dropping(1));
        let putters = [1, 2].map(|life| putter(&world, life, Dies::Never, &queue));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        join(putters);
        world.run(3, |kernel| assert_eq!((queue.depth(), queue.dropped(kernel)), (1, Ok(2))));
    });
}

#[test]
fn test_borrower_is_told_of_what_it_may_drop() {
    explore_long(|| {
        let (world, (queue, _)) = (World::new(), dropping(1));
        let ticket = world.run(3, |kernel| {
            sure(put(kernel, &queue, 3));
            sure(queue.take(kernel, Deadline::Never))
        });
        let borrower = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            sure(queue.loan(kernel, 1, 0, None, Deadline::Never));
        });
        world.run(3, |kernel| sure(queue.put_back(kernel, &ticket, true)));
        borrower.join();
    });
}

/// Who drops dies after so many of its stores; what it announced says how many had been dropped, or, as a mistake, counts this one.
fn counted(stores: u32, says: u64) -> u64 {
    let (sender, counts) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    explore(move || {
        let (world, (queue, room)) = (World::mortal(), dropping(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 1)));
        let dying = spawn(&world, 1, Dies::Never, &queue, move |kernel, _| {
            let _side = sure(room.getters(kernel, &Patience::new(), sure(kernel.me())));
            let (words, intent) = (&room.words, &room.words.get.intent);
            intent.operand.store(1, Relaxed);
            intent.head.store(0, Relaxed);
            intent.freed.store(1, Relaxed);
            intent.beside.store(says, Relaxed);
            intent.step.store(DROPPING, Release);
            if stores > 0 {
                words.get.head.store(1, Release);
            }
            if stores > 1 {
                words.dropped.store(1, Release);
            }
            kernel.die();
        });
        assert_eq!(dying.end(), None::<()>);
        world.run(2, |kernel| {
            let dropped = sure(queue.dropped(kernel));
            let _ = sender.lock().map(|sender| sender.send(dropped));
            assert_eq!(u64::from(queue.depth()), 1 - dropped.min(1));
            // What was dropped is room again.
            assert_eq!(queue.loan(kernel, 1, 0, None, Deadline::NoWait).is_ok(), true);
        });
    });
    counts.iter().max().unwrap_or(0)
}

#[test]
fn test_drop_that_a_death_ended_is_counted_once() {
    assert_eq!([0, 1, 2].map(|stores| counted(stores, 0)), [0, 1, 1]);
}

#[test]
#[should_panic(expected = "left: 2")]
fn test_drop_that_is_announced_as_counted() {
    assert_eq!(counted(2, 1), 1);
}
