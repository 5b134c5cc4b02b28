//! Readers in places of their own and a writer's gate, with one line to spoil.

use underpass_shm::layout::rwlock::CLOSED;
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Release, SeqCst};
use underpass_shm::sync::fence;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// A reader looks at the gate while its place is still on its way to the others.
    UnorderedReader,
    /// A writer looks at the places while its gate is.
    UnorderedWriter,
    /// A reader that finds the gate closed stays in its place.
    Intruder,
}

#[derive(Debug)]
struct Spoiled {
    place: AtomicU32,
    gate: AtomicU64,
    pair: Arc<Pair>,
    mistake: Mistake,
}

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self { place: AtomicU32::new(0), gate: AtomicU64::new(0), pair: Pair::new(), mistake })
    }

    fn read(&self) {
        self.place.store(1, Relaxed);
        if self.mistake != Mistake::UnorderedReader {
            fence(SeqCst);
        }
        if self.gate.load(Acquire) == 0 || self.mistake == Mistake::Intruder {
            self.pair.read();
        }
        self.place.store(0, Release);
    }

    fn write(&self) {
        self.gate.store(CLOSED, Relaxed);
        if self.mistake != Mistake::UnorderedWriter {
            fence(SeqCst);
        }
        if self.place.load(Acquire) == 0 {
            self.pair.write();
        }
        self.gate.fetch_and(!CLOSED, AcqRel);
    }
}

fn one_reads_and_one_writes(mistake: Mistake) {
    explore(move || {
        let (world, lock) = (World::new(), Spoiled::new(mistake));
        let reader = world.spawn(1, {
            let lock = lock.clone();
            move |_| lock.read()
        });
        world.run(2, |_| lock.write());
        reader.join();
    });
}

#[test]
fn test_without_a_mistake() {
    one_reads_and_one_writes(Mistake::None);
}

#[test]
#[should_panic(expected = "nobody writes meanwhile")]
fn test_unordered_reader() {
    one_reads_and_one_writes(Mistake::UnorderedReader);
}

#[test]
#[should_panic(expected = "nobody writes meanwhile")]
fn test_unordered_writer() {
    one_reads_and_one_writes(Mistake::UnorderedWriter);
}

#[test]
#[should_panic(expected = "nobody writes meanwhile")]
fn test_intruder() {
    one_reads_and_one_writes(Mistake::Intruder);
}
