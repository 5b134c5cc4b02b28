//! The latch, with one line to spoil.

use underpass_core::kernel::{Owed, Watch};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who opens it wakes one, as a semaphore's release does, and that one passes nothing on.
    WakesOne,
    /// Who opens it looks for sleepers first and takes from the count afterwards.
    LooksFirst,
    /// Who sleeps does so on whatever the word is by then.
    StaleExpectation,
    /// No baton is named.
    NoBaton,
    /// The count goes down without order: what was done before an arrival need not be seen.
    Unordered,
}

fn wait(words: &LatchWords, kernel: &dyn Kernel, mistake: Mistake) {
    let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &words.baton));
    loop {
        let word = words.word.load(Acquire);
        if word & !SLEEPERS == 0 {
            return;
        }
        if word & SLEEPERS != 0 || words.word.compare_exchange(word, word | SLEEPERS, Relaxed, Relaxed).is_ok() {
            let mut watch = Watch::new();
            let stale = mistake == Mistake::StaleExpectation;
            watch.word(&words.word, if stale { words.word.load(Relaxed) } else { word | SLEEPERS });
            if kernel.park(&watch, &[&words.baton], None) == underpass_core::kernel::Parked::Baton {
                kernel.wake(&words.word, u32::MAX);
            }
        }
    }
}

fn count_down(words: &LatchWords, kernel: &dyn Kernel, mistake: Mistake) {
    let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &words.baton));
    let sleepers = if mistake == Mistake::WakesOne { 1 } else { u32::MAX };
    let order = if mistake == Mistake::Unordered { Relaxed } else { AcqRel };
    let seen = words.word.load(Relaxed);
    loop {
        let word = words.word.load(Relaxed);
        let left = (word & !SLEEPERS) - 1;
        let kept = if left == 0 { 0 } else { word & SLEEPERS };
        if words.word.compare_exchange(word, left | kept, order, Relaxed).is_ok() {
            let told = if mistake == Mistake::LooksFirst { seen } else { word };
            if left == 0 && told & SLEEPERS != 0 {
                kernel.wake(&words.word, sleepers);
            }
            return;
        }
    }
}

/// Two who wait, and as many who arrive as are to come; the first of them may die.
fn program(mistake: Mistake, count: u32, dies: Dies) {
    explore(move || {
        let world = if matches!(dies, Dies::Never) { World::new() } else { World::mortal() };
        let words = Arc::new(LatchWords::new(count));
        let work = Arc::new(Work(UnsafeCell::new(0)));
        let waiters = [1, 2].map(|life| {
            let (words, work) = (words.clone(), work.clone());
            world.spawn(life, move |kernel| {
                wait(&words, kernel, mistake);
                // SAFETY: S3, loom checks it.
                work.0.with(|work| assert_eq!(unsafe { *work }, 1));
            })
        });
        let first = {
            let words = words.clone();
            world.spawn_dying(3, dies, move |kernel| {
                // SAFETY: S3, loom checks it.
                work.0.with_mut(|work| unsafe { *work = 1 });
                count_down(&words, kernel, mistake);
            })
        };
        if count > 1 {
            world.run(4, |kernel| count_down(&words, kernel, mistake));
        }
        first.end();
        join(waiters);
    });
}

#[test]
fn test_without_a_mistake() {
    program(Mistake::None, 1, Dies::Never);
    program(Mistake::None, 1, Dies::BeforeWake);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_wakes_one() {
    program(Mistake::WakesOne, 1, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_looks_first() {
    program(Mistake::LooksFirst, 1, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_stale_expectation() {
    program(Mistake::StaleExpectation, 1, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    program(Mistake::NoBaton, 1, Dies::BeforeWake);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_unordered() {
    program(Mistake::Unordered, 1, Dies::Never);
}
