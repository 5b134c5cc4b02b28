//! The broadcast's ring, with one line to spoil.

use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};
use underpass_shm::sync::{AtomicU32, fence};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The reader does not look whether it was lapped.
    LooksNot,
    /// The reader looks before it copies, and not after.
    LooksFirst,
    /// The writer says that the oldest is gone after it has overwritten it.
    SaysSoLater,
    /// Nothing orders the writer's word with its stores.
    UnorderedWriter,
    /// Nothing orders the reader's copy with its look.
    UnorderedReader,
    /// The count goes up before the bytes are there.
    CountsFirst,
    /// The writer looks for sleepers before it counts.
    WakesFirst,
}

/// One slot that is overwritten by every message: two words, the oldest that is whole, the count.
struct Ring {
    bytes: [AtomicU64; 2],
    start: AtomicU64,
    count: AtomicU64,
    asleep: AtomicU32,
}

impl Ring {
    fn publish(&self, number: u64, mistake: Mistake) -> bool {
        if mistake == Mistake::CountsFirst {
            self.count.store(number, Release);
        }
        let sleeps = self.asleep.load(Relaxed) != 0;
        if mistake != Mistake::SaysSoLater {
            self.start.store(number - 1, Relaxed);
        }
        if mistake != Mistake::UnorderedWriter {
            fence(Release);
        }
        self.bytes.iter().for_each(|word| word.store(number, Relaxed));
        if mistake == Mistake::SaysSoLater {
            self.start.store(number - 1, Release);
        }
        self.count.store(number, Release);
        fence(SeqCst);
        if mistake == Mistake::WakesFirst { sleeps } else { self.asleep.load(Relaxed) != 0 }
    }

    /// The message of that number; none: it is not there yet, or not any more.
    fn get(&self, number: u64, mistake: Mistake) -> Option<[u64; 2]> {
        if self.count.load(Acquire) < number {
            return None;
        }
        let early = self.start.load(Acquire) < number;
        let bytes = [0, 1].map(|place: usize| self.bytes[place].load(Relaxed));
        if mistake != Mistake::UnorderedReader {
            fence(Acquire);
        }
        let whole = match mistake {
            Mistake::LooksNot => true,
            Mistake::LooksFirst => early,
            _ => self.start.load(Relaxed) < number,
        };
        whole.then_some(bytes)
    }
}

fn program(mistake: Mistake) {
    explore(move || {
        let word = || AtomicU64::new(0);
        let ring = Ring { bytes: [word(), word()], start: word(), count: word(), asleep: AtomicU32::new(0) };
        let ring = Arc::new(ring);
        let writer = {
            let ring = ring.clone();
            loom::thread::spawn(move || {
                let told = [1, 2].map(|number| ring.publish(number, mistake));
                told.contains(&true)
            })
        };
        ring.asleep.store(1, Relaxed);
        fence(SeqCst);
        let seen = ring.count.load(Acquire);
        if let Some(bytes) = ring.get(1, mistake) {
            assert_eq!(bytes, [1, 1], "torn");
        }
        let told = writer.join().expect("it lives");
        assert!(told || seen == 2, "asleep for ever");
    });
}

#[test]
fn test_without_a_mistake() {
    program(Mistake::None);
}

macro_rules! found {
    ($($name:ident $mistake:ident $says:literal),* $(,)?) => {
        $(#[test]
        #[should_panic(expected = $says)]
        fn $name() {
            program(Mistake::$mistake);
        })*
    };
}

found!(
    test_a_reader_that_does_not_look_is_found LooksNot "torn",
    test_a_reader_that_looks_first_is_found LooksFirst "torn",
    test_a_writer_that_says_so_later_is_found SaysSoLater "torn",
    test_a_writer_without_order_is_found UnorderedWriter "torn",
    test_a_reader_without_order_is_found UnorderedReader "torn",
    test_a_count_before_the_bytes_is_found CountsFirst "torn",
    test_a_look_before_the_count_is_found WakesFirst "asleep for ever",
);
