//! The gauge that getters sleep on, with one line to spoil.

use underpass_core::kernel::{Owed, Watch};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::*;

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who brings a message back wakes the sleepers but leaves their sign, so that one who is about to sleep does.
    KeepsSleepers,
    /// The getter looks before it announces itself.
    AnnouncesLate,
    /// A getter that slept leaves without a look at what else is there.
    TellsNoNext,
    /// The count does not publish the message.
    RelaxedArrival,
    /// The count comes before the message.
    EarlyArrival,
    /// No baton is named.
    NoBaton,
}

/// Messages in a ring, and one that may have come back to the front.
struct Ring {
    tail: AtomicU32,
    baton: AtomicU32,
    head: AtomicU32,
    returned: AtomicU32,
    cells: Blocks,
}

impl Ring {
    fn new() -> Arc<Self> {
        let zero = || AtomicU32::new(0);
        Arc::new(Self { tail: zero(), baton: zero(), head: zero(), returned: zero(), cells: Blocks::own(1, 2) })
    }

    fn put(&self, kernel: &dyn Kernel, message: u8, mistake: Mistake) {
        let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &self.baton));
        let cell = (self.tail.load(Relaxed) & !SLEEPERS) as usize;
        if mistake != Mistake::EarlyArrival {
            self.cells.write(cell, &[message]);
        }
        let order = if mistake == Mistake::RelaxedArrival { Relaxed } else { AcqRel };
        let sleepers = loop {
            let word = self.tail.load(Relaxed);
            if self.tail.compare_exchange(word, (word & !SLEEPERS) + 1, order, Relaxed).is_ok() {
                break word & SLEEPERS != 0;
            }
        };
        if mistake == Mistake::EarlyArrival {
            self.cells.write(cell, &[message]);
        }
        if sleepers {
            kernel.wake(&self.tail, 1);
        }
    }

    fn bring_back(&self, kernel: &dyn Kernel, mistake: Mistake) {
        self.returned.store(1, Release);
        self.tell(kernel, mistake);
    }

    fn tell(&self, kernel: &dyn Kernel, mistake: Mistake) {
        let word = match mistake {
            Mistake::KeepsSleepers => self.tail.fetch_or(0, AcqRel),
            _ => self.tail.fetch_and(!SLEEPERS, AcqRel),
        };
        if word & SLEEPERS != 0 {
            kernel.wake(&self.tail, 1);
        }
    }

    fn get(&self, kernel: &dyn Kernel, mistake: Mistake) -> u8 {
        let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &self.baton));
        let mut slept = false;
        loop {
            let early = if mistake == Mistake::AnnouncesLate { self.try_get() } else { None };
            let word = self.tail.fetch_or(SLEEPERS, AcqRel) | SLEEPERS;
            let late = if mistake == Mistake::AnnouncesLate { None } else { self.try_get() };
            if let Some(message) = early.or(late) {
                let more = self.head.load(Acquire) != self.tail.load(Acquire) & !SLEEPERS;
                if slept && more && mistake != Mistake::TellsNoNext {
                    self.tell(kernel, mistake);
                }
                return message;
            }
            let mut watch = Watch::new();
            watch.word(&self.tail, word);
            kernel.park(&watch, &[&self.baton], None);
            slept = true;
        }
    }

    fn try_get(&self) -> Option<u8> {
        if self.returned.compare_exchange(1, 0, Acquire, Relaxed).is_ok() {
            return Some(9);
        }
        loop {
            let head = self.head.load(Relaxed);
            if head == self.tail.load(Acquire) & !SLEEPERS {
                return None;
            }
            if self.head.compare_exchange(head, head + 1, AcqRel, Relaxed).is_ok() {
                let mut message = [0];
                self.cells.read(head as usize, &mut message);
                return Some(message[0]);
            }
        }
    }
}

fn getter(world: &Arc<World>, life: u32, ring: &Arc<Ring>, mistake: Mistake) -> Running<u8> {
    let ring = ring.clone();
    world.spawn(life, move |kernel| ring.get(kernel, mistake))
}

/// Two messages for two getters.
fn two_arrive(mistake: Mistake) {
    explore(move || {
        let (world, ring) = (World::new(), Ring::new());
        let getters = [1, 2].map(|life| getter(&world, life, &ring, mistake));
        world.run(3, |kernel| {
            ring.put(kernel, 1, mistake);
            ring.put(kernel, 2, mistake);
        });
        assert_eq!(sorted(join(getters)), [1, 2]);
    });
}

/// A message comes back to the front: the count on which the getter sleeps does not change.
fn one_comes_back(mistake: Mistake) {
    explore(move || {
        let (world, ring) = (World::new(), Ring::new());
        let getter = getter(&world, 1, &ring, mistake);
        world.run(2, |kernel| ring.bring_back(kernel, mistake));
        assert_eq!(getter.join(), 9);
    });
}

/// The putter dies before its wake.
fn one_arrives(mistake: Mistake) {
    explore(move || {
        let (world, ring) = (World::mortal(), Ring::new());
        let getter = getter(&world, 1, &ring, mistake);
        let dying = world.spawn_dying(2, Dies::BeforeWake, {
            let ring = ring.clone();
            move |kernel| ring.put(kernel, 1, mistake)
        });
        assert_eq!(getter.join(), 1);
        dying.end();
    });
}

#[test]
fn test_without_a_mistake() {
    two_arrive(Mistake::None);
    one_comes_back(Mistake::None);
    one_arrives(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_tell_that_keeps_sleepers() {
    one_comes_back(Mistake::KeepsSleepers);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_late_announcement() {
    one_comes_back(Mistake::AnnouncesLate);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_getter_that_tells_no_next() {
    two_arrive(Mistake::TellsNoNext);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_relaxed_arrival() {
    two_arrive(Mistake::RelaxedArrival);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_early_arrival() {
    two_arrive(Mistake::EarlyArrival);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    one_arrives(Mistake::NoBaton);
}
