//! Rooms with a shelf: getters sort in what putters bring meanwhile, and die in the middle.

use underpass_core::queue::{End, Order};
use underpass_shm::layout::queue::{ShelfEntry, ShelfWords};

use super::*;

fn ordered(order: Order, capacity: usize) -> Arc<Queue> {
    queue_with(Placed::own(RoomWords::new()), capacity, Some(shelf(order, capacity)))
}

fn shelf(order: Order, capacity: usize) -> Shelf {
    let entries = PlacedSlice::own((0..capacity).map(|_| ShelfEntry::new()).collect());
    Shelf { words: Placed::own(ShelfWords::new()), entries, order }
}

/// A message that is as urgent as it says.
fn put_urgent(kernel: &dyn Kernel, queue: &Queue, message: u8) {
    sure(queue.put(kernel, &[message], message.into(), Deadline::Never));
}

#[test]
fn test_urgent_message_overtakes_what_is_there() {
    explore_long(|| {
        let (world, queue) = (World::new(), ordered(Order::Priority, 2));
        let putter = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| put_urgent(kernel, queue, 7));
        let got = world.run(3, |kernel| {
            put_urgent(kernel, &queue, 3);
            [(); 2].map(|()| sure(get(kernel, &queue)))
        });
        assert_eq!(sorted(got), [3, 7]);
        putter.join();
        world.run(3, |kernel| {
            for message in [2, 5] {
                put_urgent(kernel, &queue, message);
            }
            assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [5, 2]);
        });
    });
}

#[test]
fn test_two_getters_share_a_stack() {
    explore_long(|| {
        let (world, queue) = (World::new(), ordered(Order::Lifo, 2));
        let getters = [1, 2].map(|life| getter(&world, life, Dies::Never, &queue));
        world.run(3, |kernel| {
            sure(put(kernel, &queue, 1));
            sure(put(kernel, &queue, 2));
        });
        assert_eq!(sorted(join(getters)), [1, 2]);
    });
}

#[test]
fn test_one_slot_goes_round() {
    explore_long(|| {
        let (world, queue) = (World::new(), ordered(Order::Lifo, 1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let putter = putter(&world, 1, Dies::Never, &queue);
        world.run(3, |kernel| assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [3, 1]));
        putter.join();
    });
}

#[test]
fn test_message_put_in_front_wakes_a_getter() {
    for order in [None, Some(Order::Priority)] {
        explore_long(move || {
            let (world, queue) = (World::new(), order.map_or_else(|| queue(2), |order| ordered(order, 2)));
            let getter = getter(&world, 1, Dies::Never, &queue);
            world.run(2, |kernel| {
                sure(put_front(kernel, &queue, 4));
            });
            assert_eq!(getter.join(), 4);
        });
    }
}

#[test]
fn test_message_put_in_front_while_the_queue_ends() {
    explore_long(|| {
        let (world, queue) = (World::new(), queue(1));
        let putter = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| put_front(kernel, queue, 4));
        let got = world.run(2, |kernel| {
            queue.shutdown(kernel);
            get(kernel, &queue)
        });
        let put = putter.join();
        // Who got nothing had seen the end: then there is nothing, now or later.
        let ends = (Err(Error::EndOfStream), Err(Error::EndOfStream));
        assert!((&put, &got) == (&Ok(()), &Ok(4)) || (put, got) == ends);
        assert_eq!(queue.depth(), 0);
    });
}

#[test]
fn test_lender_dies_before_its_message_is_in_front() {
    explore(|| {
        let (world, queue) = (World::mortal(), queue(1));
        let dying = spawn(&world, 1, Dies::AtTheClock, &queue, |kernel, queue| put_front(kernel, queue, 4));
        world.run(2, |kernel| {
            sure(put(kernel, &queue, 2));
            assert_eq!(sure(get(kernel, &queue)), 2);
        });
        dying.end();
    });
}

#[test]
fn test_worker_dies_with_the_heap_in_disorder() {
    explore_long(|| {
        let (world, queue) = (World::mortal(), ordered(Order::Priority, 3));
        world.run(3, |kernel| [5, 3, 4].map(|message| put_urgent(kernel, &queue, message)));
        let dying = spawn(&world, 1, Dies::AtTheClock, &queue, |kernel, queue| queue.take(kernel, Deadline::NoWait));
        let other = getter(&world, 2, Dies::Never, &queue);
        assert_eq!(other.join(), 5);
        dying.end();
        world.run(3, |kernel| {
            assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [4, 3]);
            sure(queue.join(kernel, Deadline::Never));
        });
    });
}

/// A putter that is as fast as who gets, which it does while that one gets.
#[test]
fn test_one_call_gets_what_was_there() {
    for order in [None, Some(Order::Priority)] {
        explore(move || {
            let (world, queue) = (World::new(), order.map_or_else(|| queue(2), |order| ordered(order, 2)));
            world.run(1, |kernel| {
                sure(put(kernel, &queue, 1));
                let got = queue.get_many(kernel, 4, Deadline::NoWait, &mut |_| {
                    // The room may be full meanwhile.
                    let _ = queue.put(kernel, &[2], 0, Deadline::NoWait);
                    Ok(())
                });
                assert_eq!(got, Ok(1));
                assert_eq!(get_until(kernel, &queue, Deadline::NoWait), Ok(2));
            });
        });
    }
}

/// A getter dies when it has taken the first out of the heap, and not yet its key; who comes then builds the heap, or not.
fn heir_finds(builds: bool) {
    explore(move || {
        let world = World::mortal();
        let shelf = shelf(Order::Lifo, 3);
        for slot in 0..3 {
            shelf.add(slot, End::Arriving, slot);
        }
        let dying = world.spawn_dying(1, Dies::Never, {
            let shelf = shelf.clone();
            move |kernel| {
                shelf.remove(0, 3);
                kernel.die();
            }
        });
        assert_eq!(dying.end(), None::<()>);
        if builds {
            assert_eq!(shelf.rebuild(), 3);
        }
        assert_eq!([0, 1, 2].map(|index| shelf.nth(index, 3)), [2, 1, 0]);
    });
}

#[test]
fn test_heir_that_builds_the_heap() {
    heir_finds(true);
}

#[test]
#[should_panic(expected = "left == right")]
fn test_heir_that_takes_the_heap_as_it_is() {
    heir_finds(false);
}
