//! The mutex, with one line to spoil. What it shares with the lock inside objects is spoiled there.

use underpass_core::kernel::{Kernel, Owed, Parked, Watch};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::mutex::OWNER_DEAD;
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use super::*;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// An acquirer that finds the owner dead goes on as if it were free.
    TakesFromTheDead,
    /// A sleeper that is told of a death leaves and tells nobody.
    KeepsTheNews,
    /// A sleeper whose time runs out takes its watch with it.
    KeepsTheWatch,
    /// A recovery that fails leaves the dead owner's state, and wakes nobody.
    GivesUpSilently,
    /// Who died is written down after the word says that somebody did.
    ObituaryComesLate,
}

fn acquire(words: &MutexWords, kernel: &dyn Kernel, deadline: Option<u64>, mistake: Mistake) -> End {
    let me = sure(kernel.me()).thread.0;
    let word = &words.lock.word;
    let _owed = Owed::name(kernel, &words.baton);
    let mut slept = false;
    loop {
        let seen = word.load(Acquire);
        let owner = seen & !SLEEPERS;
        let dead = owner != 0 && (owner == OWNER_DEAD || !kernel.alive(Life(owner)));
        if owner == 0 || dead && mistake == Mistake::TakesFromTheDead {
            let kept = if slept || dead { SLEEPERS } else { seen & SLEEPERS };
            if word.compare_exchange(seen, me | kept, Acquire, Relaxed).is_ok() {
                if slept || dead {
                    kernel.wake(word, 1);
                }
                return End::Counted;
            }
            continue;
        }
        if dead {
            let obituary = u64::from(owner) << 32 | u64::from(kernel.pid(Life(owner)));
            let bury = || word.compare_exchange(seen, OWNER_DEAD | seen & SLEEPERS, AcqRel, Relaxed).is_ok();
            if owner != OWNER_DEAD && mistake == Mistake::ObituaryComesLate {
                bury();
                words.died.store(obituary, Relaxed);
            } else if owner != OWNER_DEAD {
                words.died.store(obituary, Relaxed);
                bury();
            }
            assert_eq!(words.died.load(Relaxed) as u32, 1, "the one that died is named");
            if slept && mistake != Mistake::KeepsTheNews {
                kernel.wake(&words.baton, 1);
            }
            return End::Told;
        }
        if seen & SLEEPERS == 0 && word.compare_exchange(seen, seen | SLEEPERS, Relaxed, Relaxed).is_err() {
            continue;
        }
        let mut watch = Watch::new();
        watch.word(word, seen | SLEEPERS);
        watch.life(Life(owner));
        match kernel.park(&watch, &[&words.baton], deadline) {
            Parked::Expired => {
                if slept && mistake != Mistake::KeepsTheWatch {
                    kernel.wake(word, 1);
                }
                return End::Late;
            }
            Parked::Baton => _ = kernel.wake(word, u32::MAX),
            _ => {}
        }
        slept = true;
    }
}

fn give(words: &MutexWords, kernel: &dyn Kernel, left: u32, mistake: Mistake) {
    let _owed = Owed::name(kernel, &words.baton);
    let sleepers = words.lock.word.swap(left, AcqRel) & SLEEPERS != 0;
    if sleepers && !(left == OWNER_DEAD && mistake == Mistake::GivesUpSilently) {
        kernel.wake(&words.lock.word, 1);
    }
}

fn visit(words: &MutexWords, kernel: &dyn Kernel, mistake: Mistake) -> End {
    let end = acquire(words, kernel, None, mistake);
    if end == End::Counted {
        give(words, kernel, 0, mistake);
    }
    end
}

fn words() -> Arc<MutexWords> {
    Arc::new(MutexWords::new())
}

fn visitor(world: &Arc<World>, life: u32, words: &Arc<MutexWords>, mistake: Mistake) -> Running<End> {
    let words = words.clone();
    world.spawn(life, move |kernel| visit(&words, kernel, mistake))
}

/// An owner dies; two who wait are told, and so is whoever comes later.
fn program_with_death(mistake: Mistake) {
    explore(move || {
        let (world, words) = (World::mortal(), words());
        world.run(1, |kernel| acquire(&words, kernel, None, mistake));
        let waiters = [2, 3].map(|life| visitor(&world, life, &words, mistake));
        let dying = world.spawn(1, |kernel: &ThreadKernel| -> () { kernel.die() });
        assert_eq!(join(waiters), [End::Told; 2]);
        dying.end();
    });
}

/// A recovery fails while two wait.
fn program_with_failure(mistake: Mistake) {
    explore(move || {
        let (world, words) = (World::new(), words());
        words.died.store(1, Relaxed);
        world.run(1, |kernel| acquire(&words, kernel, None, mistake));
        let waiters = [2, 3].map(|life| visitor(&world, life, &words, mistake));
        world.run(1, |kernel| give(&words, kernel, OWNER_DEAD, mistake));
        assert_eq!(join(waiters), [End::Told; 2]);
    });
}

/// Of two who wait, the one that watches the owner runs out of time, and then the owner dies.
fn program_with_time(mistake: Mistake) {
    explore(move || {
        let (world, words) = (World::mortal(), words());
        world.run(5, |kernel| acquire(&words, kernel, None, mistake));
        let [first, second] = [2, 3].map(|life| {
            let words = words.clone();
            world.spawn(life, move |kernel| acquire(&words, kernel, Some(1), mistake))
        });
        world.until_asleep(2);
        // The word changes hands at once: what a release and a newcomer that barges in come to.
        let dying = world.spawn(1, {
            let (world, words) = (world.clone(), words.clone());
            move |kernel: &ThreadKernel| {
                words.lock.word.swap(1, AcqRel);
                kernel.wake(&words.lock.word, 1);
                world.until_asleep(2);
                world.expire_sleeper(2);
                first.join();
                kernel.die();
            }
        });
        assert_eq!(second.join(), End::Told);
        dying.end();
    });
}

#[test]
fn test_without_a_mistake() {
    program_with_death(Mistake::None);
    program_with_failure(Mistake::None);
    program_with_time(Mistake::None);
}

#[test]
#[should_panic(expected = "left == right")]
fn test_taken_from_the_dead() {
    program_with_death(Mistake::TakesFromTheDead);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_news_is_kept() {
    program_with_failure(Mistake::KeepsTheNews);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_watch_is_kept() {
    program_with_time(Mistake::KeepsTheWatch);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_silent_failure() {
    program_with_failure(Mistake::GivesUpSilently);
}

#[test]
#[should_panic(expected = "the one that died is named")]
fn test_late_obituary() {
    program_with_death(Mistake::ObituaryComesLate);
}
