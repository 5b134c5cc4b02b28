//! Messages that are written and read where they lie.

use underpass_core::broadcast::{Lent, Taken};

use super::*;

fn lend(broadcast: &Broadcast, kernel: &dyn Kernel, number: u64) -> Lent {
    let lent = sure(broadcast.loan(kernel, 16, Deadline::Never));
    broadcast.fill(&lent, &pattern(number));
    lent
}

fn publish_in_place(broadcast: &Broadcast, kernel: &dyn Kernel, number: u64) {
    let lent = lend(broadcast, kernel, number);
    sure(broadcast.commit(kernel, &lent, 16));
}

fn take(reader: &Reader, kernel: &dyn Kernel) -> (Taken, [u8; 16]) {
    let taken = sure(reader.take(kernel, Deadline::NoWait));
    let mut seen = [0; 16];
    reader.look(&taken, &mut seen);
    (taken, seen)
}

#[test]
fn test_what_is_written_in_place_is_got_whole_and_in_order() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        world.run(1, |kernel| publish(&broadcast, kernel, 1..=2));
        let oldest = subscribe(&world, 2, &broadcast, Start::Oldest);
        let writer = {
            let broadcast = broadcast.clone();
            // It overwrites the first.
            world.spawn(1, move |kernel| publish_in_place(&broadcast, kernel, 3))
        };
        world.run(2, |kernel| {
            let mut last = 0;
            while let Ok(got) = get(&oldest, kernel, Deadline::NoWait) {
                last += 1;
                assert_eq!(got, last + oldest.lost());
            }
        });
        writer.join();
    });
}

#[test]
fn test_a_commit_wakes_who_waits() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        let reader = reader(&world, 1, &broadcast);
        world.run(2, |kernel| publish_in_place(&broadcast, kernel, 1));
        assert_eq!(reader.join(), Ok(1));
    });
}

#[test]
fn test_one_that_dies_before_its_wake_has_committed() {
    explore(|| {
        let (world, broadcast) = (World::mortal(), broadcast());
        let reader = reader(&world, 1, &broadcast);
        let writer = {
            let broadcast = broadcast.clone();
            world.spawn_dying(2, Dies::BeforeWake, move |kernel| publish_in_place(&broadcast, kernel, 1))
        };
        writer.end();
        let end = reader.join();
        assert!(matches!(end, Ok(1) | Err(Error::PeerDied { pid: 2, .. })), "{end:?}");
    });
}

/// It is never seen, and is in nobody's way.
#[test]
fn test_the_loan_of_the_dead_is_over() {
    explore(|| {
        let (world, broadcast) = (World::mortal(), broadcast());
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        let dead = {
            let broadcast = broadcast.clone();
            world.spawn(2, move |kernel| {
                lend(&broadcast, kernel, 9);
                kernel.die();
            })
        };
        assert!(dead.end().is_none());
        let next = {
            let broadcast = broadcast.clone();
            world.spawn(3, move |kernel| publish_in_place(&broadcast, kernel, 1))
        };
        let got = world.run(1, |kernel| {
            loop {
                match get(&reader, kernel, Deadline::Never) {
                    Err(Error::PeerDied { pid: 2, .. }) => {}
                    other => break other,
                }
            }
        });
        assert_eq!(got, Ok(1));
        next.join();
    });
}

/// Two threads of the writer's.
#[test]
fn test_while_there_is_a_loan_nobody_else_publishes() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        let other = {
            let broadcast = broadcast.clone();
            world.spawn_in(4, 1, move |kernel| broadcast.publish(kernel, &pattern(1), Deadline::Never))
        };
        let lent = world.run_in(4, 2, |kernel| {
            let lent = broadcast.loan(kernel, 16, Deadline::Never)?;
            broadcast.fill(&lent, &pattern(2));
            broadcast.commit(kernel, &lent, 16)
        });
        sure(lent);
        let published = other.join();
        let got = world.run(1, |kernel| [(); 2].map(|()| get(&reader, kernel, Deadline::NoWait)));
        match published {
            Ok(()) => assert!(matches!(got, [Ok(1), Ok(2)] | [Ok(2), Ok(1)]), "{got:?}"),
            Err(Error::Misuse(_)) => assert_eq!(got, [Ok(2), Err(Error::WouldBlock)]),
            Err(error) => panic!("{error:?}"),
        }
    });
}

// ── what is read in place ───────────────────────────────────────────────────────────────────────────────────────────

/// Where the writer waits for nobody.
#[test]
fn test_a_message_that_was_not_overwritten_by_the_end_is_whole() {
    explore(|| {
        let (world, broadcast) = (World::new(), broadcast());
        world.run(1, |kernel| publish(&broadcast, kernel, 1..=1));
        let reader = subscribe(&world, 2, &broadcast, Start::Oldest);
        let writer = {
            let broadcast = broadcast.clone();
            world.spawn(1, move |kernel| publish(&broadcast, kernel, 2..=3))
        };
        world.run(2, |kernel| {
            let (taken, seen) = take(&reader, kernel);
            let lost = reader.lost();
            match reader.done(kernel, &taken) {
                Ok(()) => assert_eq!((number(seen), reader.lost()), (taken.number + 1, lost)),
                Err(Error::Overwritten(which)) => assert_eq!((which, reader.lost()), (taken.number, lost + 1)),
                Err(error) => panic!("{error:?}"),
            }
        });
        writer.join();
    });
}

#[test]
fn test_a_lease_holds_the_writer_back_until_it_ends() {
    explore(|| {
        let (world, broadcast) = (World::new(), lossless(1));
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        world.run(2, |kernel| publish(&broadcast, kernel, 1..=2));
        let writer = {
            let broadcast = broadcast.clone();
            world.spawn(2, move |kernel| publish_in_place(&broadcast, kernel, 3))
        };
        world.run(1, |kernel| {
            let (first, _) = take(&reader, kernel);
            // Leases end in any order: the first keeps what is behind it.
            let (second, seen) = take(&reader, kernel);
            sure(reader.done(kernel, &second));
            assert_eq!(number(seen), 2);
            let mut seen = [0; 16];
            reader.look(&first, &mut seen);
            assert_eq!(number(seen), 1);
            sure(reader.done(kernel, &first));
        });
        writer.join();
    });
}

#[test]
fn test_who_leaves_keeps_its_place_until_its_last_lease_ends() {
    explore(|| {
        let (world, broadcast) = (World::new(), lossless(1));
        let reader = subscribe(&world, 1, &broadcast, Start::Now);
        world.run(2, |kernel| publish(&broadcast, kernel, 1..=2));
        let writer = writer_of_the_third(&world, &broadcast);
        world.run(1, |kernel| {
            let (first, _) = take(&reader, kernel);
            reader.leave(kernel);
            let mut seen = [0; 16];
            reader.look(&first, &mut seen);
            assert_eq!(number(seen), 1);
            sure(reader.done(kernel, &first));
        });
        writer.join();
    });
}

#[test]
fn test_the_lease_of_the_dead_holds_nobody_back() {
    explore(|| {
        let (world, broadcast) = (World::mortal(), lossless(1));
        world.run(2, |kernel| publish(&broadcast, kernel, 1..=2));
        let dead = {
            let broadcast = broadcast.clone();
            world.spawn(1, move |kernel| {
                let reader = sure(Reader::new(&broadcast, kernel, Start::Oldest));
                let _ = reader.take(kernel, Deadline::NoWait);
                kernel.die();
            })
        };
        writer_of_the_third(&world, &broadcast).join();
        assert!(dead.end().is_none());
    });
}

fn writer_of_the_third(world: &Arc<World>, broadcast: &Arc<Broadcast>) -> Running<()> {
    let broadcast = broadcast.clone();
    world.spawn(2, move |kernel| publish(&broadcast, kernel, 3..=3))
}

/// What a loan does otherwise than a publish, and a lease otherwise than a copy, with one line to spoil.
mod mistakes {
    use underpass_shm::sync::AtomicU64;
    use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};
    use underpass_shm::sync::fence;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Mistake {
        None,
        /// What is overwritten is given up when the loan is committed, and not when it is given.
        GivesUpLate,
        /// The place goes on to what was not got, though the message is still read.
        Unpinned,
        /// Who ends a lease looks at once, and not again at the end.
        LooksFirst,
    }

    /// One slot: message 1, and a loan that overwrites it.
    fn lossy(mistake: Mistake) {
        explore(move || {
            let words = Arc::new([1, 1].map(AtomicU64::new));
            let start = Arc::new(AtomicU64::new(0));
            let writer = {
                let (words, start) = (words.clone(), start.clone());
                loom::thread::spawn(move || {
                    if mistake != Mistake::GivesUpLate {
                        start.store(1, Release);
                        fence(Release);
                    }
                    words.iter().for_each(|word| word.store(2, Relaxed));
                    start.store(1, Release);
                })
            };
            let early = start.load(Acquire) == 0;
            let seen = [0, 1].map(|index: usize| words[index].load(Relaxed));
            fence(Acquire);
            let whole = if mistake == Mistake::LooksFirst { early } else { start.load(Relaxed) == 0 };
            assert!(!whole || seen == [1, 1], "torn");
            writer.join().expect("it lives");
        });
    }

    /// The same, where the writer waits for a place: two leases, of which the second ends first.
    fn lossless(mistake: Mistake) {
        explore(move || {
            let (word, place) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
            let writer = {
                let (word, place) = (word.clone(), place.clone());
                loom::thread::spawn(move || {
                    fence(SeqCst);
                    if place.load(Acquire) > 1 {
                        word.store(3, Relaxed);
                    }
                })
            };
            if mistake == Mistake::Unpinned {
                place.store(3, Release);
            }
            assert_eq!(word.load(Relaxed), 1, "overwritten");
            place.store(3, Release);
            writer.join().expect("it lives");
        });
    }

    #[test]
    fn test_without_a_mistake() {
        lossy(Mistake::None);
        lossless(Mistake::None);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn test_a_loan_that_gives_up_late_is_found() {
        lossy(Mistake::GivesUpLate);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn test_a_lease_that_looks_first_is_found() {
        lossy(Mistake::LooksFirst);
    }

    #[test]
    #[should_panic(expected = "overwritten")]
    fn test_a_lease_that_pins_nothing_is_found() {
        lossless(Mistake::Unpinned);
    }
}
