//! The semaphore, with one line to spoil.

use underpass_core::kernel::{Owed, Watch};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::*;
use crate::kernel::ThreadKernel;

/// The semaphore with one line to spoil.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// The release looks for sleepers first and adds its unit afterwards, keeping the bits that it saw.
    LooksBeforeItAdds,
    /// Who has slept takes a unit as if it had been the only sleeper.
    ForgetsSleepers,
    /// Who has slept wakes nobody although units are left, and a release of two wakes one.
    BreaksTheChain,
    /// Sleeps on whatever the word is by then.
    StaleExpectation,
    /// No baton is named.
    NoBaton,
}

fn acquire(words: &SemaphoreWords, kernel: &dyn Kernel, mistake: Mistake) {
    let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &words.baton));
    let mut slept = false;
    loop {
        let word = words.word.load(Relaxed);
        let value = word & !SLEEPERS;
        if value > 0 {
            let kept = if slept && mistake != Mistake::ForgetsSleepers { SLEEPERS } else { word & SLEEPERS };
            if words.word.compare_exchange(word, value - 1 | kept, Acquire, Relaxed).is_ok() {
                if slept && value > 1 && mistake != Mistake::BreaksTheChain {
                    kernel.wake(&words.word, 1);
                }
                return;
            }
        } else if word == SLEEPERS || words.word.compare_exchange(0, SLEEPERS, Relaxed, Relaxed).is_ok() {
            let mut watch = Watch::new();
            let expected = if mistake == Mistake::StaleExpectation { words.word.load(Relaxed) } else { SLEEPERS };
            watch.word(&words.word, expected);
            kernel.park(&watch, &[&words.baton], None);
            slept = true;
        }
    }
}

fn release(words: &SemaphoreWords, kernel: &dyn Kernel, count: u32, mistake: Mistake) {
    let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &words.baton));
    let wakes = if mistake == Mistake::BreaksTheChain { 1 } else { count };
    if mistake == Mistake::LooksBeforeItAdds {
        let sleepers = words.word.load(Relaxed) & SLEEPERS != 0;
        words.word.fetch_add(count, Release);
        if sleepers {
            words.word.fetch_and(!SLEEPERS, AcqRel);
            kernel.wake(&words.word, wakes);
        }
        return;
    }
    loop {
        let word = words.word.load(Relaxed);
        let sum = (word & !SLEEPERS) + count;
        if words.word.compare_exchange(word, sum, AcqRel, Relaxed).is_ok() {
            if word & SLEEPERS != 0 {
                kernel.wake(&words.word, wakes);
            }
            return;
        }
    }
}

/// Two takers; two units in one release, or one each.
fn program(mistake: Mistake, at_once: bool) {
    explore(move || {
        let (world, words) = (World::new(), Arc::new(SemaphoreWords::new(0)));
        let takers = [1, 2].map(|life| {
            let words = words.clone();
            world.spawn(life, move |kernel| acquire(&words, kernel, mistake))
        });
        world.run(3, |kernel| {
            if at_once {
                release(&words, kernel, 2, mistake);
            } else {
                release(&words, kernel, 1, mistake);
                release(&words, kernel, 1, mistake);
            }
        });
        join(takers);
    });
}

fn program_with_death(mistake: Mistake) {
    explore(move || {
        let (world, words) = (World::mortal(), Arc::new(SemaphoreWords::new(0)));
        let part = |run: fn(&SemaphoreWords, &ThreadKernel, Mistake)| {
            let words = words.clone();
            move |kernel: &ThreadKernel| run(&words, kernel, mistake)
        };
        let taker = world.spawn(1, part(|words, kernel, mistake| acquire(words, kernel, mistake)));
        let dying =
            world.spawn_dying(2, Dies::BeforeWake, part(|words, kernel, mistake| release(words, kernel, 1, mistake)));
        taker.join();
        dying.end();
    });
}

#[test]
fn test_without_a_mistake() {
    program(Mistake::None, true);
    program(Mistake::None, false);
    program_with_death(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_look_before_add() {
    program(Mistake::LooksBeforeItAdds, false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_forgotten_sleepers() {
    program(Mistake::ForgetsSleepers, false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_broken_chain() {
    program(Mistake::BreaksTheChain, true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_stale_expectation() {
    program(Mistake::StaleExpectation, false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    program_with_death(Mistake::NoBaton);
}
