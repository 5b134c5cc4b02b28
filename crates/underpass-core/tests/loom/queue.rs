//! The queue: both sides, leases, and the ends.

use std::sync::Arc;

use underpass_core::error::Phase;
use underpass_core::kernel::Kernel;
use underpass_core::queue::{Queue, Room, Shelf, Ticket, WhenFull};
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::queue::{RoomWords, SlotWords};
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::sync::AtomicU32;

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, explore_longest, join, sure};

mod deaths;
mod drained;
mod full;
mod orders;
mod planted;
mod purges;
mod removed;
mod turns;

fn queue(capacity: usize) -> Arc<Queue> {
    queue_over(Placed::own(RoomWords::new()), capacity)
}

fn queue_over(words: Placed<RoomWords>, capacity: usize) -> Arc<Queue> {
    queue_with(words, capacity, None)
}

fn queue_with(words: Placed<RoomWords>, capacity: usize, shelf: Option<Shelf>) -> Arc<Queue> {
    Arc::new(Queue::new(room(words, capacity, shelf, false), None, None, WhenFull::Wait))
}

fn room(words: Placed<RoomWords>, capacity: usize, shelf: Option<Shelf>, has_letters: bool) -> Room {
    let ring = || PlacedSlice::own((0..capacity.next_power_of_two()).map(|_| AtomicU32::new(0)).collect());
    let room = Room {
        words,
        slots: PlacedSlice::own((0..capacity).map(|_| SlotWords::new()).collect()),
        ring: ring(),
        free: ring(),
        blocks: Blocks::own(1, capacity),
        longest: 1,
        shelf,
        has_letters,
    };
    room.format();
    room
}

fn put(kernel: &dyn Kernel, queue: &Queue, message: u8) -> Result<()> {
    queue.put(kernel, &[message], 0, Deadline::Never)
}

fn put_front(kernel: &dyn Kernel, queue: &Queue, message: u8) -> Result<()> {
    let ticket = queue.loan(kernel, 1, 0, None, Deadline::Never)?;
    let put = queue.commit_front(kernel, &ticket, &[message], 0);
    if put.is_err() {
        sure(queue.abandon(kernel, &ticket));
    }
    put
}

fn get_until(kernel: &dyn Kernel, queue: &Queue, deadline: Deadline) -> Result<u8> {
    let mut got = [0];
    queue.get(kernel, deadline, |message| {
        assert_eq!(message.length, 1);
        message.copy_to(&mut got);
        Ok(())
    })?;
    Ok(got[0])
}

fn get(kernel: &dyn Kernel, queue: &Queue) -> Result<u8> {
    get_until(kernel, queue, Deadline::Never)
}

fn read(queue: &Queue, ticket: &Ticket) -> u8 {
    let mut got = [0];
    queue.blocks().read(ticket.slot, &mut got);
    got[0]
}

/// A thread that works with the queue.
fn spawn<T: 'static>(
    world: &Arc<World>,
    life: u32,
    dies: Dies,
    queue: &Arc<Queue>,
    run: impl FnOnce(&ThreadKernel, &Queue) -> T + 'static,
) -> Running<T> {
    let queue = queue.clone();
    world.spawn_dying(life, dies, move |kernel| run(kernel, &queue))
}

fn putter(world: &Arc<World>, life: u32, dies: Dies, queue: &Arc<Queue>) -> Running<()> {
    spawn(world, life, dies, queue, move |kernel, queue| sure(put(kernel, queue, life as u8)))
}

fn getter(world: &Arc<World>, life: u32, dies: Dies, queue: &Arc<Queue>) -> Running<u8> {
    spawn(world, life, dies, queue, |kernel, queue| sure(get(kernel, queue)))
}

fn sorted<const N: usize>(mut messages: [u8; N]) -> [u8; N] {
    messages.sort_unstable();
    messages
}

#[test]
fn test_two_putters_share_one_slot() {
    explore_longest(|| {
        let (world, queue) = (World::new(), queue(1));
        let putters = [1, 2].map(|life| putter(&world, life, Dies::Never, &queue));
        let got = world.run(3, |kernel| [(); 2].map(|()| sure(get(kernel, &queue))));
        assert_eq!(sorted(got), [1, 2]);
        join(putters);
        assert_eq!(queue.depth(), 0);
    });
}

#[test]
fn test_one_putter_feeds_two_getters_in_order() {
    explore_long(|| {
        let (world, queue) = (World::new(), queue(2));
        let getters = [1, 2].map(|life| getter(&world, life, Dies::Never, &queue));
        world.run(3, |kernel| {
            sure(put(kernel, &queue, 1));
            sure(put(kernel, &queue, 2));
        });
        assert_eq!(sorted(join(getters)), [1, 2]);
    });
}

#[test]
fn test_slots_are_reused_in_order() {
    explore_long(|| {
        let (world, queue) = (World::new(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let putter = putter(&world, 1, Dies::Never, &queue);
        world.run(3, |kernel| assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [3, 1]));
        putter.join();
    });
}

#[test]
fn test_message_put_back_comes_again() {
    for front in [true, false] {
        explore_long(move || {
            let (world, queue) = (World::new(), queue(1));
            let worker = spawn(&world, 1, Dies::Never, &queue, move |kernel, queue| {
                let ticket = sure(queue.take(kernel, Deadline::Never));
                sure(queue.put_back(kernel, &ticket, front));
            });
            let other = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| {
                let ticket = sure(queue.take(kernel, Deadline::Never));
                assert_eq!(read(queue, &ticket), 7);
                let delivery = ticket.delivery;
                // The first worker may still have to have its turn.
                sure(queue.put_back(kernel, &ticket, true));
                delivery
            });
            world.run(3, |kernel| sure(put(kernel, &queue, 7)));
            worker.join();
            assert!(other.join() <= 2);
            world.run(3, |kernel| assert_eq!(get_until(kernel, &queue, Deadline::NoWait), Ok(7)));
        });
    }
}

#[test]
fn test_lease_holds_the_slot_until_done() {
    explore_long(|| {
        let (world, queue) = (World::new(), queue(1));
        let worker = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            let ticket = sure(queue.take(kernel, Deadline::Never));
            let message = read(queue, &ticket);
            sure(queue.done(kernel, &ticket));
            message
        });
        world.run(2, |kernel| {
            sure(put(kernel, &queue, 1));
            sure(put(kernel, &queue, 2));
        });
        assert_eq!(worker.join(), 1);
        world.run(2, |kernel| assert_eq!(sure(get(kernel, &queue)), 2));
    });
}

#[test]
fn test_loan_is_a_message_once_committed() {
    explore(|| {
        let (world, queue) = (World::new(), queue(1));
        let lender = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            let ticket = sure(queue.loan(kernel, 1, 0, None, Deadline::Never));
            sure(queue.abandon(kernel, &ticket));
            let ticket = sure(queue.loan(kernel, 1, 0, None, Deadline::Never));
            queue.blocks().write(ticket.slot, &[5]);
            sure(queue.commit(kernel, &ticket, 1));
        });
        world.run(2, |kernel| assert_eq!(sure(get(kernel, &queue)), 5));
        lender.join();
    });
}

#[test]
fn test_shutdown_ends_all_who_wait() {
    explore_long(|| {
        let (world, queue) = (World::new(), queue(1));
        let getters = [1, 2].map(|life| spawn(&world, life, Dies::Never, &queue, |kernel, queue| get(kernel, queue)));
        world.run(3, |kernel| {
            sure(put(kernel, &queue, 3));
            queue.shutdown(kernel);
        });
        let ends = join(getters);
        assert!(ends.contains(&Ok(3)) && ends.contains(&Err(Error::EndOfStream)), "{ends:?}");
    });
}

#[test]
fn test_shutdown_waits_for_the_leased_message() {
    explore(|| {
        let (world, queue) = (World::new(), queue(1));
        let ticket = world.run(3, |kernel| {
            sure(put(kernel, &queue, 3));
            sure(queue.take(kernel, Deadline::Never))
        });
        let other = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| get(kernel, queue));
        let closer = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| queue.shutdown(kernel));
        world.run(3, |kernel| sure(queue.done(kernel, &ticket)));
        closer.join();
        assert_eq!(other.join(), Err(Error::EndOfStream));
    });
}

#[test]
fn test_shutdown_turns_waiting_putters_away() {
    explore(|| {
        let (world, queue) = (World::new(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let putter = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| put(kernel, queue, 1));
        world.run(3, |kernel| queue.shutdown(kernel));
        assert_eq!(putter.join(), Err(Error::EndOfStream));
    });
}

#[test]
fn test_purge_turns_waiting_putters_away() {
    explore(|| {
        let (world, queue) = (World::new(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let putter = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| put(kernel, queue, 1));
        let thrown = world.run(3, |kernel| sure(queue.purge(kernel)));
        match putter.join() {
            Ok(()) => assert_eq!(thrown as u32 + queue.depth(), 2),
            Err(error) => assert_eq!((error, queue.depth()), (Error::Reset, 0)),
        }
    });
}

#[test]
fn test_join_returns_when_the_last_lease_ends() {
    explore_long(|| {
        let (world, queue) = (World::new(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let worker = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            let ticket = sure(queue.take(kernel, Deadline::Never));
            sure(queue.done(kernel, &ticket));
        });
        let joiner = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| sure(queue.join(kernel, Deadline::Never)));
        world.run(3, |kernel| sure(queue.join(kernel, Deadline::Never)));
        joiner.join();
        worker.join();
    });
}

#[test]
fn test_join_and_a_waiting_putter_do_not_take_each_others_wakes() {
    explore_longest(|| {
        let (world, queue) = (World::new(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let putter = putter(&world, 1, Dies::Never, &queue);
        let joiner = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| sure(queue.join(kernel, Deadline::Never)));
        world.run(3, |kernel| {
            sure(get(kernel, &queue));
            sure(get(kernel, &queue));
        });
        putter.join();
        joiner.join();
    });
}

#[test]
fn test_last_putter_leaves() {
    explore(|| {
        let (world, queue) = (World::new(), queue(1));
        let putter = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| {
            sure(queue.join_putters(kernel));
            sure(put(kernel, queue, 1));
            sure(queue.leave_putters(kernel));
        });
        world.run(2, |kernel| {
            assert_eq!(get(kernel, &queue), Ok(1));
            assert_eq!(get(kernel, &queue), Err(Error::EndOfStream));
        });
        putter.join();
    });
}

#[test]
fn test_two_messages_wake_both_getters() {
    explore(|| {
        let (world, queue) = (World::new(), queue(2));
        let getters = [1, 2].map(|life| getter(&world, life, Dies::Never, &queue));
        world.until_asleep(2);
        world.run(3, |kernel| {
            sure(put(kernel, &queue, 1));
            sure(put(kernel, &queue, 2));
        });
        assert_eq!(sorted(join(getters)), [1, 2]);
    });
}

#[test]
fn test_two_slots_wake_both_putters() {
    explore(|| {
        let (world, queue) = (World::new(), queue(2));
        world.run(3, |kernel| {
            sure(put(kernel, &queue, 3));
            sure(put(kernel, &queue, 3));
        });
        let putters = [1, 2].map(|life| putter(&world, life, Dies::Never, &queue));
        world.until_asleep(2);
        world.run(3, |kernel| assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [3, 3]));
        join(putters);
        assert_eq!(queue.depth(), 2);
    });
}

#[test]
fn test_joiner_that_slept_longest_does_not_take_a_putters_wake() {
    explore_long(|| {
        let (world, queue) = (World::new(), queue(2));
        world.run(3, |kernel| {
            sure(put(kernel, &queue, 3));
            sure(put(kernel, &queue, 4));
        });
        let joiner = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| sure(queue.join(kernel, Deadline::Never)));
        world.until_asleep(1);
        let putter = putter(&world, 1, Dies::Never, &queue);
        world.until_asleep(2);
        world.run(3, |kernel| assert_eq!(sure(get(kernel, &queue)), 3));
        // It has its slot before the queue is drained.
        putter.join();
        world.run(3, |kernel| assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [4, 1]));
        joiner.join();
    });
}

#[test]
fn test_putter_that_slept_longest_does_not_take_a_joiners_wake() {
    explore_long(|| {
        let (world, queue) = (World::new(), queue(1));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let putter = putter(&world, 1, Dies::Never, &queue);
        world.until_asleep(1);
        let joiner = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| sure(queue.join(kernel, Deadline::Never)));
        world.until_asleep(2);
        world.run(3, |kernel| assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [3, 1]));
        putter.join();
        joiner.join();
    });
}

/// The first entry of the roster is free, and the putter stands on the second.
#[test]
fn test_a_putter_that_takes_over_is_not_overlooked() {
    explore(|| {
        let (world, queue) = (World::new(), queue(1));
        world.run(4, |kernel| sure(queue.join_putters(kernel)));
        world.run(1, |kernel| sure(queue.join_putters(kernel)));
        world.run(4, |kernel| sure(queue.leave_putters(kernel)));
        let heir = {
            let (world, queue) = (world.clone(), queue.clone());
            world.clone().spawn(2, move |kernel| {
                sure(queue.join_putters(kernel));
                world.run(1, |kernel| sure(queue.leave_putters(kernel)));
            })
        };
        let got = world.run(3, |kernel| get_until(kernel, &queue, Deadline::NoWait));
        assert_eq!(got, Err(Error::WouldBlock));
        heir.join();
    });
}
