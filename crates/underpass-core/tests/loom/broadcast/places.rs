//! The order in which a reader takes its place and a writer overwrites, with mistakes in it that loom has to find.
//!
//! [`underpass_core::broadcast`] is the algorithm; these lines are its skeleton: one slot that is overwritten, one place, and one word on
//! which the writer sleeps.

use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use underpass_shm::sync::{AtomicU32, fence};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// A reader looks where it may begin before it has its place.
    LooksFirst,
    /// Nothing orders a reader's place with its look.
    UnorderedReader,
    /// The writer looks for readers, and only then says what it overwrites.
    SaysSoLater,
    /// Nothing orders what the writer says with its look.
    UnorderedWriter,
    /// A reader says that it is done before it has copied.
    DoneFirst,
    /// A reader looks whether the writer sleeps before it says that it is done.
    TellsFirst,
}

const NOBODY: u64 = u64::MAX;

/// Messages 1 and then 2 are in the slot.
struct Slot {
    bytes: AtomicU64,
    start: AtomicU64,
    /// What the reader has not got; 0: it has just come.
    place: AtomicU64,
    asleep: AtomicU32,
}

impl Slot {
    /// Overwrites the first; false: a reader is in the way.
    fn overwrite(&self, mistake: Mistake) -> bool {
        let is_held = || self.place.load(Acquire) < 2;
        if mistake == Mistake::SaysSoLater {
            if is_held() {
                return false;
            }
            self.start.store(2, Release);
        } else {
            self.start.store(2, Release);
            if mistake != Mistake::UnorderedWriter {
                fence(SeqCst);
            }
            if is_held() {
                return false;
            }
        }
        self.bytes.store(2, Relaxed);
        true
    }

    /// What a reader gets that comes now; none: the first has been given up.
    fn read(&self, mistake: Mistake) -> Option<u64> {
        let early = self.start.load(Acquire);
        self.place.store(0, Relaxed);
        if mistake != Mistake::UnorderedReader {
            fence(SeqCst);
        }
        let start = if mistake == Mistake::LooksFirst { early } else { self.start.load(Acquire) };
        if start > 1 {
            return None;
        }
        self.place.store(1, Release);
        if mistake == Mistake::DoneFirst {
            self.place.store(2, Release);
        }
        let got = self.bytes.load(Relaxed);
        self.place.store(2, Release);
        Some(got)
    }
}

fn comes(mistake: Mistake) {
    explore(move || {
        let slot = Arc::new(Slot {
            bytes: AtomicU64::new(1),
            start: AtomicU64::new(1),
            place: AtomicU64::new(NOBODY),
            asleep: AtomicU32::new(0),
        });
        let writer = {
            let slot = slot.clone();
            loom::thread::spawn(move || slot.overwrite(mistake))
        };
        assert!(matches!(slot.read(mistake), None | Some(1)), "overwritten");
        let _ = writer.join().expect("it lives");
    });
}

fn goes_on(mistake: Mistake) {
    explore(move || {
        let slot = Arc::new(Slot {
            bytes: AtomicU64::new(1),
            start: AtomicU64::new(1),
            place: AtomicU64::new(1),
            asleep: AtomicU32::new(0),
        });
        let writer = {
            let slot = slot.clone();
            loom::thread::spawn(move || {
                slot.asleep.fetch_or(1, AcqRel);
                fence(SeqCst);
                slot.overwrite(Mistake::None)
            })
        };
        let early = slot.asleep.load(Relaxed);
        if mistake == Mistake::DoneFirst {
            slot.place.store(2, Release);
        }
        assert_eq!(slot.bytes.load(Relaxed), 1, "overwritten");
        slot.place.store(2, Release);
        fence(SeqCst);
        let told = if mistake == Mistake::TellsFirst { early } else { slot.asleep.load(Relaxed) } != 0;
        assert!(writer.join().expect("it lives") || told, "asleep for ever");
    });
}

#[test]
fn test_without_a_mistake() {
    comes(Mistake::None);
    goes_on(Mistake::None);
}

macro_rules! found {
    ($($name:ident $program:ident $mistake:ident $says:literal),* $(,)?) => {
        $(#[test]
        #[should_panic(expected = $says)]
        fn $name() {
            $program(Mistake::$mistake);
        })*
    };
}

found!(
    test_a_reader_that_looks_first_is_found comes LooksFirst "overwritten",
    test_a_reader_without_order_is_found comes UnorderedReader "overwritten",
    test_a_writer_that_says_so_later_is_found comes SaysSoLater "overwritten",
    test_a_writer_without_order_is_found comes UnorderedWriter "overwritten",
    test_a_reader_that_is_done_first_is_found goes_on DoneFirst "overwritten",
    test_a_reader_that_tells_first_is_found goes_on TellsFirst "asleep for ever",
);
