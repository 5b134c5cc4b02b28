//! The lock's slow path, with one line to spoil.

use super::*;
use underpass_core::kernel::{Owed, Parked, Watch};
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

/// The lock's slow path with one line to spoil.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who has slept takes the lock as if nobody slept.
    ForgetsSleepers,
    /// The release looks for sleepers first and frees afterwards, in two steps.
    LooksBeforeItFrees,
    /// The release does not publish what it protects.
    RelaxedRelease,
    /// No baton is named.
    NoBaton,
    /// A sleeper that becomes the owner leaves the others watching the owner before.
    TellsNobody,
    /// Nobody watches the owner.
    UnwatchedOwner,
    /// Sleeps on whatever the word is by then.
    StaleExpectation,
}

fn acquire(alone: &Alone, kernel: &dyn Kernel, me: u32, mistake: Mistake) {
    let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &alone.baton));
    let mut slept = false;
    loop {
        let word = alone.lock.word.load(Relaxed);
        let owner = underpass_shm::life::Life(word & !SLEEPERS);
        if owner.0 == 0 || !kernel.alive(owner) {
            let dead = owner.0 != 0;
            let kept = if (slept || dead) && mistake != Mistake::ForgetsSleepers { SLEEPERS } else { word & SLEEPERS };
            if alone.lock.word.compare_exchange(word, me | kept, Acquire, Relaxed).is_ok() {
                if (slept || dead) && !matches!(mistake, Mistake::TellsNobody | Mistake::ForgetsSleepers) {
                    kernel.wake(&alone.lock.word, 1);
                }
                return;
            }
            continue;
        }
        let announced =
            word & SLEEPERS != 0 || alone.lock.word.compare_exchange(word, word | SLEEPERS, Relaxed, Relaxed).is_ok();
        if announced {
            let mut watch = Watch::new();
            let expected =
                if mistake == Mistake::StaleExpectation { alone.lock.word.load(Relaxed) } else { word | SLEEPERS };
            watch.word(&alone.lock.word, expected);
            if mistake != Mistake::UnwatchedOwner {
                watch.life(owner);
            }
            if kernel.park(&watch, &[&alone.baton], None) == Parked::Baton {
                alone.recall(kernel);
            }
            slept = true;
        }
    }
}

fn release(alone: &Alone, kernel: &dyn Kernel, mistake: Mistake) {
    let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &alone.baton));
    let wake = |word: &AtomicU32| _ = kernel.wake(word, 1);
    match mistake {
        Mistake::LooksBeforeItFrees => {
            let sleepers = alone.lock.word.load(Relaxed) & SLEEPERS != 0;
            alone.lock.word.store(0, Release);
            if sleepers {
                wake(&alone.lock.word);
            }
        }
        _ => {
            let order = if mistake == Mistake::RelaxedRelease { Relaxed } else { AcqRel };
            if alone.lock.word.swap(0, order) & SLEEPERS != 0 {
                wake(&alone.lock.word);
            }
        }
    }
}

fn raise(guarded: &Guarded, kernel: &ThreadKernel, mistake: Mistake, dies: bool) {
    acquire(&guarded.words, kernel, sure(kernel.me()).thread.0, mistake);
    // SAFETY: S3, loom checks it.
    guarded.count.with_mut(|count| unsafe { *count += 1 });
    if dies {
        kernel.die();
    }
    release(&guarded.words, kernel, mistake);
}

fn program(mistake: Mistake, dies: Dies, inside: bool) {
    explore(move || {
        let (world, guarded) = (World::mortal(), Guarded::new());
        let dying = world.spawn_dying(1, dies, {
            let guarded = guarded.clone();
            move |kernel| raise(&guarded, kernel, mistake, inside)
        });
        let other = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| raise(&guarded, kernel, mistake, false)
        });
        world.run(3, |kernel| raise(&guarded, kernel, mistake, false));
        other.join();
        dying.end();
    });
}

#[test]
fn test_without_a_mistake() {
    for dies in [Dies::Never, Dies::BeforeWake, Dies::AfterPark] {
        program(Mistake::None, dies, false);
    }
    program(Mistake::None, Dies::Never, true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_forgotten_sleepers() {
    program(Mistake::ForgetsSleepers, Dies::Never, false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_look_before_free() {
    program(Mistake::LooksBeforeItFrees, Dies::Never, false);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_relaxed_release() {
    program(Mistake::RelaxedRelease, Dies::Never, false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton_and_no_wake() {
    program(Mistake::NoBaton, Dies::BeforeWake, false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton_and_a_dead_sleeper() {
    program(Mistake::NoBaton, Dies::AfterPark, false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_new_owner_tells_nobody() {
    program(Mistake::TellsNobody, Dies::Never, true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_unwatched_owner() {
    program(Mistake::UnwatchedOwner, Dies::Never, true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_stale_expectation() {
    program(Mistake::StaleExpectation, Dies::Never, false);
}
