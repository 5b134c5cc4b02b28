//! The stack: each word is popped once, by whomever, whoever dies.

use std::sync::Arc;

use underpass_core::kernel::Kernel;
use underpass_core::stack::Stack;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::stack::StackWords;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::AtomicU64;

use crate::kernel::{Dies, Running, World, explore, explore_long, join, sure};
use crate::notification::{until_waiting, waiters};

mod planted;

const PLACES: usize = 4;

fn stack(slots: usize, capacity: u32) -> Arc<Stack> {
    let places = PlacedSlice::own((0..PLACES).map(|_| AtomicU64::new(0)).collect());
    Arc::new(Stack::new(Placed::own(StackWords::new()), places, waiters(slots), capacity))
}

fn popper(world: &Arc<World>, life: u32, dies: Dies, stack: &Arc<Stack>) -> Running<Result<u64>> {
    let stack = stack.clone();
    world.spawn_dying(life, dies, move |kernel| stack.pop(kernel, Deadline::Never))
}

/// One that sleeps in a slot, the `life`th to do so.
fn asleep(world: &Arc<World>, life: u32, dies: Dies, stack: &Arc<Stack>) -> Running<Result<u64>> {
    let running = popper(world, life, dies, stack);
    until_waiting(world, life as usize, || stack.waiting());
    running
}

fn pusher(world: &Arc<World>, life: u32, dies: Dies, stack: &Arc<Stack>, word: u64) -> Running<()> {
    let stack = stack.clone();
    world.spawn_dying(life, dies, move |kernel| sure(stack.push(kernel, word)))
}

/// What is popped here, without waiting, until nothing is left.
fn left(kernel: &dyn Kernel, stack: &Stack) -> Vec<u64> {
    std::iter::from_fn(|| stack.pop(kernel, Deadline::NoWait).ok()).collect()
}

#[test]
fn test_each_word_is_popped_once() {
    explore_long(|| {
        let (world, stack) = (World::new(), stack(2, 2));
        let popper = popper(&world, 1, Dies::Never, &stack);
        let pusher = pusher(&world, 2, Dies::Never, &stack, 7);
        world.run(3, |kernel| sure(stack.push(kernel, 8)));
        pusher.join();
        let mut popped = vec![sure(popper.join())];
        popped.extend(world.run(3, |kernel| left(kernel, &stack)));
        popped.sort_unstable();
        assert_eq!((popped, stack.depth()), (vec![7, 8], 0));
    });
}

#[test]
fn test_newcomer_takes_nothing_from_a_sleeper() {
    explore(|| {
        let (world, stack) = (World::new(), stack(2, 1));
        let sleeper = asleep(&world, 1, Dies::Never, &stack);
        let newcomer = world.spawn(2, {
            let stack = stack.clone();
            move |kernel| stack.pop(kernel, Deadline::NoWait)
        });
        world.run(3, |kernel| sure(stack.push(kernel, 7)));
        assert_eq!(sleeper.join(), Ok(7));
        assert_eq!(newcomer.join(), Err(Error::WouldBlock));
    });
}

#[test]
fn test_more_wait_than_there_are_slots() {
    explore_long(|| {
        let (world, stack) = (World::new(), stack(1, 2));
        let poppers = [1, 2].map(|life| popper(&world, life, Dies::Never, &stack));
        world.until_asleep(2);
        world.run(3, |kernel| {
            sure(stack.push(kernel, 7));
            sure(stack.push(kernel, 8));
        });
        let mut popped = join(poppers).map(sure);
        popped.sort_unstable();
        assert_eq!((popped, stack.depth()), ([7, 8], 0));
    });
}

#[test]
fn test_pusher_dies_before_its_wake() {
    explore_long(|| {
        let (world, stack) = (World::mortal(), stack(2, 1));
        let poppers = [1, 2].map(|life| asleep(&world, life, Dies::Never, &stack));
        let dying = pusher(&world, 3, Dies::BeforeWake, &stack, 7);
        assert_eq!(dying.end(), None);
        world.run(4, |kernel| sure(stack.push(kernel, 8)));
        let mut popped = join(poppers).map(sure);
        popped.sort_unstable();
        assert_eq!((popped, stack.depth()), ([7, 8], 0));
    });
}

#[test]
fn test_word_of_one_who_dies_woken_is_handed_on() {
    explore_long(|| {
        let (world, stack) = (World::mortal(), stack(2, 1));
        let dying = asleep(&world, 1, Dies::AfterPark, &stack);
        let popper = asleep(&world, 2, Dies::Never, &stack);
        world.run(3, |kernel| sure(stack.push(kernel, 7)));
        assert_eq!(popper.join(), Ok(7));
        assert_eq!(dying.end(), None);
        assert_eq!(stack.depth(), 0);
    });
}

/// It comes back on top, also where the stack has been filled meanwhile.
#[test]
fn test_word_of_one_who_dies_woken_comes_back() {
    explore_long(|| {
        let (world, stack) = (World::mortal(), stack(2, 1));
        let dying = asleep(&world, 1, Dies::AfterPark, &stack);
        world.run(3, |kernel| {
            sure(stack.push(kernel, 7));
            sure(stack.push(kernel, 8));
        });
        assert_eq!(dying.end(), None);
        let mut popped = world.run(3, |kernel| left(kernel, &stack));
        popped.sort_unstable();
        assert_eq!((popped, stack.depth()), (vec![7, 8], 0));
    });
}

/// Who brings a word back, from one who died to one who waits, may die on the way: it comes back once.
#[test]
fn test_word_comes_back_once() {
    explore_long(|| {
        let (world, stack) = (World::mortal(), stack(2, 1));
        let dying = asleep(&world, 1, Dies::AfterPark, &stack);
        let popper = asleep(&world, 2, Dies::Never, &stack);
        world.run(3, |kernel| sure(stack.push(kernel, 7)));
        let bringer = world.spawn_dying(4, Dies::BeforeWake, {
            let stack = stack.clone();
            // Finds nothing for itself, but what the dead one has left.
            move |kernel| stack.pop(kernel, Deadline::NoWait)
        });
        assert_eq!(popper.join(), Ok(7));
        (dying.end(), bringer.end());
        assert_eq!(world.run(3, |kernel| left(kernel, &stack)), []);
    });
}

#[test]
fn test_time_runs_out_as_a_word_is_handed_over() {
    explore(|| {
        let (world, stack) = (World::new(), stack(2, 1));
        let late = world.spawn(1, {
            let stack = stack.clone();
            move |kernel| stack.pop(kernel, Deadline::At(1))
        });
        until_waiting(&world, 1, || stack.waiting());
        let pusher = pusher(&world, 2, Dies::Never, &stack, 7);
        world.expire_sleeper(1);
        pusher.join();
        assert_eq!(stack.depth(), u32::from(late.join().is_err()));
    });
}

#[test]
fn test_what_a_signal_leaves_is_handed_on() {
    explore_long(|| {
        let (world, stack) = (World::new(), stack(2, 1));
        let ended = asleep(&world, 1, Dies::Never, &stack);
        let popper = asleep(&world, 2, Dies::Never, &stack);
        assert!(world.interrupt_sleeper(1));
        world.run(3, |kernel| sure(stack.push(kernel, 7)));
        if ended.join().is_ok() {
            world.run(3, |kernel| sure(stack.push(kernel, 7)));
        }
        assert_eq!(popper.join(), Ok(7));
    });
}
