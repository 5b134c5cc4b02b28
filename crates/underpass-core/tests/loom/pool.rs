//! The pool: two who want one block, who waits and is told, handing on, and deaths of owners.

use std::sync::Arc;

use underpass_core::kernel::Kernel;
use underpass_core::pool::{Pool, Size, Ticket};
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::pool::{BlockWords, PoolWords};
use underpass_shm::place::{Blocks, Placed, PlacedSlice};

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, join, sure};

mod planted;

/// A pool of sizes with one block of so many bytes each.
fn pool(sizes: &[u64]) -> Arc<Pool> {
    let owners = sizes.iter().map(|_| BlockWords::new()).collect();
    let of_size = |(first, bytes): (usize, &u64)| Size { bytes: *bytes, count: 1, first, blocks: Blocks::own(1, 1) };
    let sizes = sizes.iter().enumerate().map(of_size).collect();
    Arc::new(Pool::new(Placed::own(PoolWords::new()), PlacedSlice::own(owners), sizes))
}

/// Writes into a block what its owner alone may, and looks whether it is alone.
fn use_block(pool: &Pool, ticket: &Ticket, byte: u8) {
    let blocks = &pool.sizes()[ticket.block].blocks;
    blocks.write(0, &[byte]);
    let mut out = [0];
    blocks.read(0, &mut out);
    assert_eq!(out, [byte]);
}

fn alloc(kernel: &dyn Kernel, pool: &Pool, length: usize) -> Result<Ticket> {
    pool.alloc(kernel, length, Deadline::Never)
}

/// Takes a block, uses it and gives it back.
fn turn(kernel: &dyn Kernel, pool: &Pool, length: usize) {
    let ticket = sure(alloc(kernel, pool, length));
    use_block(pool, &ticket, 7);
    sure(pool.release(kernel, &ticket));
}

fn spawn<T: 'static>(
    world: &Arc<World>,
    life: u32,
    dies: Dies,
    pool: &Arc<Pool>,
    run: impl FnOnce(&ThreadKernel, &Pool) -> T + 'static,
) -> Running<T> {
    let pool = pool.clone();
    world.spawn_dying(life, dies, move |kernel| run(kernel, &pool))
}

#[test]
fn test_two_take_turns_at_one_block() {
    explore(|| {
        let (world, pool) = (World::new(), pool(&[1]));
        let others = [1, 2].map(|life| spawn(&world, life, Dies::Never, &pool, |kernel, pool| turn(kernel, pool, 1)));
        join(others);
        assert_eq!(pool.owned().count(), 0);
    });
}

#[test]
fn test_each_of_two_who_wait_gets_what_fits() {
    explore_long(|| {
        let (world, pool) = (World::new(), pool(&[1, 2]));
        let held = world.run(3, |kernel| [1, 2].map(|length| sure(alloc(kernel, &pool, length))));
        let waiters = [1, 2].map(|length| {
            spawn(&world, length, Dies::Never, &pool, move |kernel, pool| turn(kernel, pool, length as usize))
        });
        world.run(3, |kernel| held.iter().for_each(|ticket| sure(pool.release(kernel, ticket))));
        join(waiters);
    });
}

#[test]
fn test_a_reference_is_received_once() {
    explore(|| {
        let (world, pool) = (World::new(), pool(&[1]));
        let ticket = world.run(3, |kernel| sure(alloc(kernel, &pool, 1)));
        use_block(&pool, &ticket, 3);
        let receivers = [1, 2].map(|life| {
            spawn(&world, life, Dies::Never, &pool, move |kernel, pool| {
                let got = pool.receive(kernel, ticket.block, ticket.generation, 1).ok();
                got.inspect(|mine| use_block(pool, mine, life as u8)).is_some()
            })
        });
        let mut got = join(receivers);
        got.sort_unstable();
        assert_eq!(got, [false, true]);
        world.run(3, |kernel| assert!(matches!(pool.release(kernel, &ticket), Err(Error::Misuse(_)))));
    });
}

#[test]
fn test_what_is_taken_back_is_not_received_as_well() {
    explore(|| {
        let (world, pool) = (World::new(), pool(&[1]));
        let ticket = world.run(3, |kernel| sure(alloc(kernel, &pool, 1)));
        let receiver = spawn(&world, 1, Dies::Never, &pool, move |kernel, pool| {
            pool.receive(kernel, ticket.block, ticket.generation, 1).is_ok()
        });
        let back = world.run(3, |kernel| pool.release(kernel, &ticket).is_ok());
        assert_ne!(receiver.join(), back);
        assert_eq!(pool.owned().count(), usize::from(!back));
    });
}

#[test]
fn test_owner_dies_while_another_waits() {
    explore(|| {
        let (world, pool) = (World::mortal(), pool(&[1]));
        let owner = spawn(&world, 1, Dies::Never, &pool, |kernel, pool| {
            let ticket = sure(alloc(kernel, pool, 1));
            use_block(pool, &ticket, 1);
            kernel.die();
        });
        let waiter = spawn(&world, 2, Dies::Never, &pool, |kernel, pool| turn(kernel, pool, 1));
        owner.end();
        waiter.join();
    });
}

/// The kernel tells one of the two of the death.
#[test]
fn test_owner_of_two_dies_while_two_wait() {
    explore_long(|| {
        let (world, pool) = (World::mortal(), pool(&[1, 1]));
        world.run(1, |kernel| [1, 1].map(|length| sure(alloc(kernel, &pool, length))));
        let owner = spawn(&world, 1, Dies::Never, &pool, |kernel, _| kernel.die());
        let waiters = [2, 3].map(|life| {
            // Neither gives it back.
            spawn(&world, life, Dies::Never, &pool, |kernel, pool| sure(alloc(kernel, pool, 1)).block)
        });
        owner.end();
        let mut got = join(waiters);
        got.sort_unstable();
        assert_eq!(got, [0, 1]);
    });
}

#[test]
fn test_who_gives_back_dies_before_its_wake() {
    explore_long(|| {
        let (world, pool) = (World::mortal(), pool(&[1]));
        let dying = spawn(&world, 1, Dies::BeforeWake, &pool, |kernel, pool| turn(kernel, pool, 1));
        let waiters = [2, 3].map(|life| spawn(&world, life, Dies::Never, &pool, |kernel, pool| turn(kernel, pool, 1)));
        dying.end();
        join(waiters);
    });
}

/// A putter dies when its message has arrived, before it has secured the block. One takes the message, another needs a block.
fn taken_while_needed(secures: bool) {
    explore(move || {
        let (world, pool) = (World::mortal(), pool(&[1]));
        let ticket = world.run(3, |kernel| sure(alloc(kernel, &pool, 1)));
        use_block(&pool, &ticket, 3);
        let putter = spawn(&world, 3, Dies::Never, &pool, |kernel, _| kernel.die());
        let taker = spawn(&world, 1, Dies::Never, &pool, move |kernel, pool| {
            if secures && !sure(pool.queue(ticket.block, ticket.generation, 1)) {
                return;
            }
            let mut out = [0];
            pool.read(ticket.block, &mut out);
            assert_eq!(out, [3], "another's bytes");
            let mine = sure(pool.receive(kernel, ticket.block, ticket.generation, 1));
            use_block(pool, &mine, 1);
            sure(pool.release(kernel, &mine));
        });
        let needy = spawn(&world, 2, Dies::Never, &pool, |kernel, pool| {
            if let Ok(mine) = pool.alloc(kernel, 1, Deadline::NoWait) {
                use_block(pool, &mine, 2);
                sure(pool.release(kernel, &mine));
            }
        });
        putter.end();
        taker.join();
        needy.join();
        assert_eq!((pool.queued().count(), pool.owned().count()), (0, 0));
    });
}

#[test]
fn test_what_has_arrived_is_delivered_or_void() {
    taken_while_needed(true);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_a_message_read_unsecured_is_found() {
    taken_while_needed(false);
}

/// Whoever puts secures the block while one gets the message, or another throws it away.
#[test]
fn test_what_is_got_or_purged_is_not_secured() {
    explore(|| {
        let (world, pool) = (World::new(), pool(&[1]));
        let ticket = world.run(3, |kernel| sure(alloc(kernel, &pool, 1)));
        let getter = spawn(&world, 1, Dies::Never, &pool, move |kernel, pool| {
            if let Ok(mine) = pool.receive(kernel, ticket.block, ticket.generation, 1) {
                use_block(pool, &mine, 1);
                sure(pool.release(kernel, &mine));
            }
        });
        let purger = spawn(&world, 2, Dies::Never, &pool, move |kernel, pool| {
            sure(pool.end(kernel, ticket.block, ticket.generation, 1));
        });
        sure(pool.queue(ticket.block, ticket.generation, 1));
        getter.join();
        purger.join();
        assert_eq!((pool.queued().count(), pool.owned().count()), (0, 0));
    });
}
