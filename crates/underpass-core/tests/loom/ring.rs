//! Rings: writers that claim at the same time, who waits and is told, and deaths of either side.

use std::sync::Arc;

use underpass_core::kernel::Kernel;
use underpass_core::ring::{Ring, Writers};
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::ring::RingWords;
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::sync::AtomicU64;

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, join, sure};

mod planted;

const GRAIN: usize = 8;

/// One of so many grains, and of three packets at most.
fn ring(grains: usize, writers: Writers) -> Arc<Ring> {
    let packets = PlacedSlice::own((0..4).map(|_| AtomicU64::new(0)).collect());
    let (words, bytes) = (Placed::own(RingWords::new()), Blocks::own(GRAIN, grains));
    Arc::new(Ring::new(words, packets, bytes, (grains * GRAIN) as u64, writers))
}

fn write(kernel: &dyn Kernel, ring: &Ring, byte: u8) {
    sure(ring.write(kernel, &[byte], Deadline::Never));
}

fn read_by(kernel: &dyn Kernel, ring: &Ring, deadline: Deadline) -> Result<u8> {
    let packet = ring.take(kernel, deadline)?;
    let mut out = [0];
    ring.copy_to(&packet, &mut out);
    ring.free_packet(kernel, &packet).map(|()| out[0])
}

fn read(kernel: &dyn Kernel, ring: &Ring) -> u8 {
    sure(read_by(kernel, ring, Deadline::Never))
}

fn spawn<T: 'static>(
    world: &Arc<World>,
    life: u32,
    dies: Dies,
    ring: &Arc<Ring>,
    run: impl FnOnce(&ThreadKernel, &Ring) -> T + 'static,
) -> Running<T> {
    let ring = ring.clone();
    world.spawn_dying(life, dies, move |kernel| run(kernel, &ring))
}

#[test]
fn test_two_writers_and_a_reader_that_waits() {
    explore_long(|| {
        let (world, ring) = (World::new(), ring(4, Writers::Any));
        let writers = [1, 2]
            .map(|life| spawn(&world, life, Dies::Never, &ring, move |kernel, ring| write(kernel, ring, life as u8)));
        let mut got = world.run(3, |kernel| [read(kernel, &ring), read(kernel, &ring)]);
        join(writers);
        got.sort_unstable();
        assert_eq!((got, ring.depth(), ring.skipped()), ([1, 2], 0, 0));
    });
}

#[test]
fn test_two_claim_and_neither_waits() {
    explore(|| {
        let (world, ring) = (World::new(), ring(4, Writers::Any));
        let other = spawn(&world, 1, Dies::Never, &ring, |kernel, ring| write(kernel, ring, 1));
        world.run(2, |kernel| write(kernel, &ring, 2));
        other.join();
        let mut got = world.run(3, |kernel| [read(kernel, &ring), read(kernel, &ring)]);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn test_a_writer_waits_for_room() {
    explore_long(|| {
        let (world, ring) = (World::new(), ring(2, Writers::One));
        let writer = spawn(&world, 1, Dies::Never, &ring, |kernel, ring| {
            [1, 2, 3].into_iter().for_each(|byte| write(kernel, ring, byte));
        });
        let got = world.run(2, |kernel| [1, 2, 3].map(|_| read(kernel, &ring)));
        writer.join();
        assert_eq!(got, [1, 2, 3]);
    });
}

#[test]
fn test_packets_come_in_the_order_of_their_claims() {
    explore(|| {
        let (world, ring) = (World::new(), ring(4, Writers::Any));
        let first = world.run(1, |kernel| sure(ring.claim(kernel, 1, Deadline::Never)));
        world.run(2, |kernel| write(kernel, &ring, 2));
        let writer = spawn(&world, 1, Dies::Never, &ring, move |kernel, ring| {
            ring.fill(&first, &[1]);
            sure(ring.commit(kernel, &first, 1));
        });
        let got = world.run(3, |kernel| [read(kernel, &ring), read(kernel, &ring)]);
        writer.join();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn test_an_abandoned_packet_is_passed_while_the_reader_waits_for_it() {
    explore(|| {
        let (world, ring) = (World::new(), ring(4, Writers::Any));
        let first = world.run(1, |kernel| sure(ring.claim(kernel, 1, Deadline::Never)));
        world.run(2, |kernel| write(kernel, &ring, 2));
        let writer = spawn(&world, 1, Dies::Never, &ring, move |kernel, ring| sure(ring.abandon(kernel, &first)));
        let got = world.run(3, |kernel| read(kernel, &ring));
        writer.join();
        assert_eq!((got, ring.skipped()), (2, 1));
    });
}

/// The reader may sleep already, and has to be told of the claim to watch its owner.
#[test]
fn test_who_claims_and_dies_holds_up_nobody() {
    explore_long(|| {
        let (world, ring) = (World::mortal(), ring(4, Writers::Any));
        let dying = spawn(&world, 1, Dies::Never, &ring, |kernel, ring| {
            sure(ring.claim(kernel, 1, Deadline::Never));
            kernel.die();
        });
        let writer = spawn(&world, 2, Dies::Never, &ring, |kernel, ring| write(kernel, ring, 2));
        let got = world.run(3, |kernel| read(kernel, &ring));
        dying.end();
        writer.join();
        assert_eq!(got, 2);
    });
}

/// The whole ring is a dead one's, and the reader sleeps.
#[test]
fn test_room_that_a_dead_one_claimed_is_found() {
    explore_long(|| {
        let (world, ring) = (World::mortal(), ring(2, Writers::Any));
        let reader = spawn(&world, 3, Dies::Never, &ring, |kernel, ring| read(kernel, ring));
        let dying = spawn(&world, 1, Dies::Never, &ring, |kernel, ring| {
            for _ in 0..2 {
                sure(ring.claim(kernel, 1, Deadline::Never));
            }
            kernel.die();
        });
        dying.end();
        world.run(2, |kernel| write(kernel, &ring, 2));
        assert_eq!((reader.join(), ring.skipped()), (2, 2));
    });
}

#[test]
fn test_a_writer_dies_before_its_wake() {
    explore_long(|| {
        let (world, ring) = (World::mortal(), ring(4, Writers::Any));
        let dying = spawn(&world, 1, Dies::BeforeWake, &ring, |kernel, ring| write(kernel, ring, 1));
        let got = world.run(3, |kernel| read(kernel, &ring));
        dying.end();
        assert_eq!(got, 1);
    });
}

#[test]
fn test_the_only_writer_dies_and_its_reader_is_told() {
    explore(|| {
        let (world, ring) = (World::mortal(), ring(4, Writers::One));
        let dying = spawn(&world, 1, Dies::Never, &ring, |kernel, ring| {
            sure(ring.claim(kernel, 1, Deadline::Never));
            kernel.die();
        });
        let writer =
            spawn(&world, 3, Dies::Never, &ring, |kernel, ring| match read_by(kernel, ring, Deadline::NoWait) {
                Err(Error::WouldBlock | Error::PeerDied { pid: 1, .. }) => {}
                other => panic!("{other:?}"),
            });
        dying.end();
        writer.join();
    });
}

#[test]
fn test_the_only_writer_dies_while_its_reader_sleeps() {
    explore(|| {
        let (world, ring) = (World::mortal(), ring(4, Writers::One));
        world.run(1, |kernel| write(kernel, &ring, 1));
        assert_eq!(world.run(3, |kernel| read(kernel, &ring)), 1);
        let dying = spawn(&world, 1, Dies::Never, &ring, |kernel, _| kernel.die());
        let got = world.run(3, |kernel| read_by(kernel, &ring, Deadline::Never));
        dying.end();
        assert!(matches!(got, Err(Error::PeerDied { pid: 1, .. })));
    });
}

/// Whoever waits for room gets it, or is told.
#[test]
fn test_the_reader_dies_before_its_wake() {
    explore_long(|| {
        let (world, ring) = (World::mortal(), ring(2, Writers::Any));
        // It is known as the reader before.
        world.run(1, |kernel| write(kernel, &ring, 0));
        world.run(3, |kernel| read(kernel, &ring));
        world.run(1, |kernel| [1, 2].into_iter().for_each(|byte| write(kernel, &ring, byte)));
        let dying = spawn(&world, 3, Dies::BeforeWake, &ring, |kernel, ring| read(kernel, ring));
        let writer = spawn(&world, 1, Dies::Never, &ring, |kernel, ring| ring.write(kernel, &[3], Deadline::Never));
        // One that had nobody to wake lives on, and reads on.
        let reader = if dying.end().is_some() { 3 } else { 4 };
        assert_eq!(writer.join(), Ok(()));
        assert_eq!(world.run(reader, |kernel| read(kernel, &ring)), 2);
    });
}

#[test]
fn test_the_reader_dies_with_a_packet() {
    explore(|| {
        let (world, ring) = (World::mortal(), ring(2, Writers::Any));
        world.run(1, |kernel| [1, 2].into_iter().for_each(|byte| write(kernel, &ring, byte)));
        let dying = spawn(&world, 3, Dies::Never, &ring, |kernel, ring| {
            sure(ring.take(kernel, Deadline::Never));
            kernel.die();
        });
        let writer = spawn(&world, 1, Dies::Never, &ring, |kernel, ring| ring.write(kernel, &[3], Deadline::Never));
        dying.end();
        // A full ring, and nobody who reads.
        assert!(matches!(writer.join(), Err(Error::PeerDied { pid: 3, .. })));
        assert_eq!(world.run(4, |kernel| [read(kernel, &ring), read(kernel, &ring)]), [1, 2]);
    });
}
