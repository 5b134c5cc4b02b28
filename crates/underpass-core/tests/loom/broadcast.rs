//! The broadcast: what a reader gets is whole and in order, what it lost is counted, and whoever sleeps is told.

use std::sync::Arc;

use underpass_core::broadcast::{Broadcast, Message, Reader, Start};
use underpass_core::kernel::Kernel;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::broadcast::{BroadcastWords, PlaceWords};
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::Relaxed;

use crate::kernel::{Dies, Running, World, explore, explore_long, sure};

mod in_place;
mod places;
mod planted;

/// Two messages of up to 16 bytes lie in it.
const WORDS: usize = 8;

fn broadcast() -> Arc<Broadcast> {
    Arc::new(over(BroadcastWords::new(), 0))
}

/// One whose writer waits for as many readers at most, in 64 bytes.
fn lossless(readers: usize) -> Arc<Broadcast> {
    Arc::new(over(BroadcastWords::new(), readers))
}

fn over(words: BroadcastWords, readers: usize) -> Broadcast {
    let ring = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
    let places = (0..readers).map(|_| PlaceWords::new()).collect();
    Broadcast::new(Placed::own(words), PlacedSlice::own(places), PlacedSlice::own(ring))
}

/// Two words, which are the same in every message.
fn pattern(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_ne_bytes());
    bytes[8..].copy_from_slice(&number.to_ne_bytes());
    bytes
}

/// What was published with that pattern; torn is told.
fn number(bytes: [u8; 16]) -> u64 {
    let (first, second) = bytes.split_at(8);
    assert_eq!(first, second, "torn");
    u64::from_ne_bytes(first.try_into().expect("eight bytes"))
}

fn get(reader: &Reader, kernel: &dyn Kernel, deadline: Deadline) -> Result<u64> {
    let mut got = [0; 16];
    reader.get(kernel, deadline, |message: Message<'_>| {
        assert_eq!(message.length, 16);
        message.copy_to(&mut got);
        Ok(())
    })?;
    Ok(number(got))
}

fn publish(broadcast: &Broadcast, kernel: &dyn Kernel, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        sure(broadcast.publish(kernel, &pattern(number), Deadline::Never));
    }
}

fn writer(world: &Arc<World>, life: u32, dies: Dies, broadcast: &Arc<Broadcast>, last: u64) -> Running<()> {
    let broadcast = broadcast.clone();
    world.spawn_dying(life, dies, move |kernel| publish(&broadcast, kernel, 1..=last))
}

fn subscribe(world: &Arc<World>, life: u32, broadcast: &Broadcast, start: Start) -> Reader {
    world.run(life, |kernel| sure(Reader::new(broadcast, kernel, start)))
}

fn reader(world: &Arc<World>, life: u32, broadcast: &Arc<Broadcast>) -> Running<Result<u64>> {
    let reader = subscribe(world, life, broadcast, Start::Now);
    world.spawn(life, move |kernel| get(&reader, kernel, Deadline::Never))
}

#[test]
fn test_who_waits_gets_the_message() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        let reader = reader(&world, 1, &broadcast);
        world.run(2, |kernel| publish(&broadcast, kernel, 1..=1));
        assert_eq!(reader.join(), Ok(1));
    });
}

#[test]
fn test_all_who_wait_get_it() {
    explore_long(|| {
        let (world, broadcast) = (World::new(), broadcast());
        let readers = [1, 2].map(|life| reader(&world, life, &broadcast));
        world.run(3, |kernel| publish(&broadcast, kernel, 1..=1));
        for reader in readers {
            assert_eq!(reader.join(), Ok(1));
        }
    });
}

#[test]
fn test_nothing_is_torn_and_what_is_lost_is_counted() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        // The third overwrites the first.
        world.run(1, |kernel| publish(&broadcast, kernel, 1..=2));
        let oldest = subscribe(&world, 2, &broadcast, Start::Oldest);
        let writer = {
            let broadcast = broadcast.clone();
            world.spawn(1, move |kernel| publish(&broadcast, kernel, 3..=4))
        };
        world.run(2, |kernel| {
            let mut last = 0;
            while let Ok(got) = get(&oldest, kernel, Deadline::NoWait) {
                // Those in between, and no others.
                last += 1;
                assert_eq!(got, last + oldest.lost());
            }
        });
        writer.join();
    });
}

#[test]
fn test_who_comes_in_the_middle_begins_with_a_whole_one() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        world.run(1, |kernel| publish(&broadcast, kernel, 1..=1));
        let writer = {
            let broadcast = broadcast.clone();
            world.spawn(1, move |kernel| publish(&broadcast, kernel, 2..=3))
        };
        world.run(2, |kernel| {
            for start in [Start::Oldest, Start::Now] {
                let reader = sure(Reader::new(&broadcast, kernel, start));
                let got = get(&reader, kernel, Deadline::NoWait);
                assert!(matches!(got, Ok(1..=3) | Err(Error::WouldBlock)), "{got:?}");
            }
        });
        writer.join();
    });
}

#[test]
fn test_who_dies_before_its_wake_has_everybody_told() {
    explore_long(|| {
        let (world, broadcast) = (World::mortal(), broadcast());
        let readers = [1, 2].map(|life| reader(&world, life, &broadcast));
        writer(&world, 3, Dies::BeforeWake, &broadcast, 1).end();
        for reader in readers {
            assert!(matches!(reader.join(), Ok(1) | Err(Error::PeerDied { pid: 3, .. })));
        }
    });
}

#[test]
fn test_a_dead_writer_is_told_and_followed() {
    explore_long(|| {
        let (world, broadcast) = (World::mortal(), broadcast());
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        let reading = world.spawn(1, move |kernel| {
            let first = get(&reader, kernel, Deadline::Never);
            (first, get(&reader, kernel, Deadline::Never))
        });
        let dead = {
            let broadcast = broadcast.clone();
            world.spawn(2, move |kernel| {
                publish(&broadcast, kernel, 1..=1);
                kernel.die();
            })
        };
        assert!(dead.end().is_none());
        world.run(3, |kernel| publish(&broadcast, kernel, 2..=2));
        let (first, second) = reading.join();
        assert_eq!(first, Ok(1));
        assert!(matches!(second, Ok(2) | Err(Error::PeerDied { pid: 2, .. })), "{second:?}");
    });
}

#[test]
fn test_another_is_refused_while_the_writer_lives() {
    explore(|| {
        let (world, broadcast) = (World::mortal(), broadcast());
        let other = {
            let broadcast = broadcast.clone();
            world.spawn(1, move |kernel| broadcast.publish(kernel, &pattern(1), Deadline::Never))
        };
        let mine = world.run(2, |kernel| broadcast.publish(kernel, &pattern(2), Deadline::Never));
        let ends = [mine, other.join()];
        assert_eq!(ends.iter().filter(|end| matches!(end, Err(Error::Misuse(_)))).count(), 1);
        assert_eq!(broadcast.count(), 1);
    });
}

/// The writer's process has two threads: one publishes, one shuts it down.
#[test]
fn test_nothing_is_published_after_the_end() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        let publisher = {
            let broadcast = broadcast.clone();
            world.spawn_in(4, 1, move |kernel| broadcast.publish(kernel, &pattern(1), Deadline::Never))
        };
        let got = world.run_in(4, 2, |kernel| {
            sure(broadcast.shutdown(kernel));
            get(&reader, kernel, Deadline::NoWait)
        });
        match publisher.join() {
            Ok(()) => assert_eq!(got, Ok(1)),
            refused => assert_eq!((refused, got), (Err(Error::EndOfStream), Err(Error::EndOfStream))),
        }
    });
}

/// The writer is in the middle of a message, and does not go on.
#[test]
fn test_who_is_refused_does_not_wait_for_the_writer() {
    explore(|| {
        let words = BroadcastWords::new();
        words.lock.word.store(1, Relaxed);
        words.writer.store(1, Relaxed);
        let broadcast = over(words, 0);
        World::new().run(2, |kernel| {
            for refused in [broadcast.publish(kernel, &pattern(1), Deadline::Never), broadcast.shutdown(kernel)] {
                assert!(matches!(refused, Err(Error::Misuse(_))), "{refused:?}");
            }
        });
    });
}

#[test]
fn test_a_shutdown_ends_who_waits() {
    explore_long(|| {
        let (world, broadcast) = (World::new(), broadcast());
        let readers = [1, 2].map(|life| reader(&world, life, &broadcast));
        world.run(3, |kernel| sure(broadcast.shutdown(kernel)));
        for reader in readers {
            assert_eq!(reader.join(), Err(Error::EndOfStream));
        }
    });
}

/// What was copied is worth nothing by then, and why it was refused is known elsewhere.
#[test]
fn test_a_refusal_is_told_though_the_message_is_overwritten() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        world.run(1, |kernel| {
            publish(&broadcast, kernel, 1..=1);
            let refused = reader.get(kernel, Deadline::NoWait, |_| {
                publish(&broadcast, kernel, 2..=4);
                Err(Error::Refused)
            });
            assert_eq!(refused, Err(Error::Refused));
        });
    });
}

// ── a writer that waits ─────────────────────────────────────────────────────────────────────────────────────────────

/// The third message has to wait until the first was got.
#[test]
fn test_a_reader_that_goes_on_lets_the_writer_go_on() {
    explore(|| {
        let (world, broadcast) = (World::new(), lossless(1));
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        let writer = writer(&world, 2, Dies::Never, &broadcast, 3);
        let got = world.run(1, |kernel| [(); 3].map(|()| get(&reader, kernel, Deadline::Never)));
        assert_eq!(got, [Ok(1), Ok(2), Ok(3)]);
        writer.join();
    });
}

#[test]
fn test_a_reader_that_leaves_lets_the_writer_go_on() {
    explore(|| {
        let (world, broadcast) = (World::new(), lossless(1));
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        let writer = writer(&world, 2, Dies::Never, &broadcast, 3);
        world.run(1, |kernel| {
            reader.leave(kernel);
            assert!(matches!(get(&reader, kernel, Deadline::NoWait), Err(Error::Misuse(_))));
        });
        writer.join();
    });
}

#[test]
fn test_a_dead_reader_holds_nobody_back() {
    explore(|| {
        let (world, broadcast) = (World::mortal(), lossless(1));
        world.run(2, |kernel| publish(&broadcast, kernel, 1..=1));
        let dead = {
            let broadcast = broadcast.clone();
            world.spawn(1, move |kernel| {
                sure(Reader::new(&broadcast, kernel, Start::Oldest));
                kernel.die();
            })
        };
        world.run(2, |kernel| publish(&broadcast, kernel, 2..=3));
        assert!(dead.end().is_none());
    });
}

/// Whoever comes while the first message is overwritten gets all that follow the one it begins with.
#[test]
fn test_who_comes_late_loses_nothing_from_there_on() {
    explore(|| {
        let (world, broadcast) = (World::new(), lossless(1));
        world.run(2, |kernel| publish(&broadcast, kernel, 1..=2));
        let writer = {
            let broadcast = broadcast.clone();
            world.spawn(2, move |kernel| publish(&broadcast, kernel, 3..=4))
        };
        world.run(1, |kernel| {
            let reader = sure(Reader::new(&broadcast, kernel, Start::Oldest));
            let mut last = sure(get(&reader, kernel, Deadline::Never));
            while last < 4 {
                let next = sure(get(&reader, kernel, Deadline::Never));
                assert_eq!(next, last + 1);
                last = next;
            }
        });
        writer.join();
    });
}

#[test]
fn test_places_are_bounded_and_the_deads_are_taken_over() {
    explore(|| {
        let (world, broadcast) = (World::mortal(), lossless(1));
        let dead = {
            let broadcast = broadcast.clone();
            world.spawn(1, move |kernel| {
                sure(Reader::new(&broadcast, kernel, Start::Now));
                kernel.die();
            })
        };
        assert!(dead.end().is_none());
        world.run(2, |kernel| {
            let reader = sure(Reader::new(&broadcast, kernel, Start::Now));
            let more = Reader::new(&broadcast, kernel, Start::Now);
            assert!(matches!(more, Err(Error::Misuse(_))), "{more:?}");
            reader.leave(kernel);
            sure(Reader::new(&broadcast, kernel, Start::Now));
        });
    });
}
