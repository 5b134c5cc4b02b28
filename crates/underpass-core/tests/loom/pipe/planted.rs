//! What readers sleep on, with one line to spoil.

use underpass_core::kernel::{Owed, Parked, Watch};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Release};

use super::*;

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The bytes are counted before they are there.
    EarlyCount,
    /// The count does not publish the bytes.
    Unordered,
    /// Who writes wakes one, which may need more than there is.
    WakesOne,
    /// The reader looks before it announces itself.
    AnnouncesLate,
    /// Who shuts it down wakes who sleeps, and raises nothing for those who are about to.
    UnraisedCall,
    /// No baton is named.
    NoBaton,
}

/// Bytes that nobody takes out.
struct Stream {
    written: AtomicU32,
    calls: AtomicU32,
    closed: AtomicU32,
    baton: AtomicU32,
    bytes: Blocks,
}

impl Stream {
    fn new() -> Arc<Self> {
        let zero = || AtomicU32::new(0);
        Arc::new(Self { written: zero(), calls: zero(), closed: zero(), baton: zero(), bytes: Blocks::own(1, 2) })
    }

    fn write(&self, kernel: &dyn Kernel, byte: u8, mistake: Mistake) {
        let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &self.baton));
        let place = (self.written.load(Relaxed) & !SLEEPERS) as usize;
        if mistake != Mistake::EarlyCount {
            self.bytes.write_across(place, &[byte]);
        }
        let order = if mistake == Mistake::Unordered { Relaxed } else { AcqRel };
        let word = loop {
            let word = self.written.load(Relaxed);
            if self.written.compare_exchange(word, (word & !SLEEPERS) + 1, order, Relaxed).is_ok() {
                break word;
            }
        };
        if mistake == Mistake::EarlyCount {
            self.bytes.write_across(place, &[byte]);
        }
        if word & SLEEPERS != 0 {
            kernel.wake(&self.written, if mistake == Mistake::WakesOne { 1 } else { u32::MAX });
        }
    }

    fn shut_down(&self, kernel: &dyn Kernel, mistake: Mistake) {
        self.closed.store(1, Release);
        if mistake != Mistake::UnraisedCall {
            self.calls.fetch_add(1, AcqRel);
        }
        kernel.wake(&self.calls, u32::MAX);
    }

    /// The first `least` bytes; `None`: it was shut down before.
    fn read(&self, kernel: &dyn Kernel, least: usize, mistake: Mistake) -> Option<Vec<u8>> {
        let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &self.baton));
        loop {
            let early = self.written.load(Acquire) & !SLEEPERS;
            let mut watch = Watch::new();
            watch.word(&self.calls, self.calls.load(Acquire));
            let word = self.written.fetch_or(SLEEPERS, AcqRel);
            watch.word(&self.written, word | SLEEPERS);
            let there = if mistake == Mistake::AnnouncesLate { early } else { word & !SLEEPERS };
            if there as usize >= least {
                let mut out = vec![0; least];
                self.bytes.read_across(0, &mut out);
                return Some(out);
            }
            if self.closed.load(Acquire) != 0 {
                return None;
            }
            if kernel.park(&watch, &[&self.baton], None) == Parked::Baton {
                self.calls.fetch_add(1, AcqRel);
                kernel.wake(&self.calls, u32::MAX);
            }
        }
    }
}

/// One who needs both bytes, and one whom the first is enough.
fn two_read(mistake: Mistake, dies: Dies) {
    explore(move || {
        let world = if matches!(dies, Dies::Never) { World::new() } else { World::mortal() };
        let stream = Stream::new();
        let readers = [1, 2].map(|least| {
            let stream = stream.clone();
            world.spawn(least, move |kernel| stream.read(kernel, least as usize, mistake))
        });
        let writer = {
            let stream = stream.clone();
            world.spawn_dying(3, dies, move |kernel| {
                stream.write(kernel, 7, mistake);
                stream.write(kernel, 8, mistake);
            })
        };
        if writer.end().is_none() && stream.written.load(Acquire) & !SLEEPERS < 2 {
            world.run(4, |kernel| stream.write(kernel, 8, Mistake::None));
        }
        assert_eq!(join(readers), [Some(vec![7]), Some(vec![7, 8])]);
    });
}

/// The count on which the reader sleeps does not change.
fn one_is_ended(mistake: Mistake) {
    explore(move || {
        let (world, stream) = (World::new(), Stream::new());
        let reader = {
            let stream = stream.clone();
            world.spawn(1, move |kernel| stream.read(kernel, 1, mistake))
        };
        world.run(2, |kernel| stream.shut_down(kernel, mistake));
        assert_eq!(reader.join(), None);
    });
}

#[test]
fn test_without_a_mistake() {
    two_read(Mistake::None, Dies::Never);
    two_read(Mistake::None, Dies::BeforeWake);
    one_is_ended(Mistake::None);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_early_count() {
    two_read(Mistake::EarlyCount, Dies::Never);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_unordered() {
    two_read(Mistake::Unordered, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_wakes_one() {
    two_read(Mistake::WakesOne, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_announces_late() {
    two_read(Mistake::AnnouncesLate, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_unraised_call() {
    one_is_ended(Mistake::UnraisedCall);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    two_read(Mistake::NoBaton, Dies::BeforeWake);
}
