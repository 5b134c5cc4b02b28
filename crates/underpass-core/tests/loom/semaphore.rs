//! The semaphore.

use std::sync::Arc;

use underpass_core::kernel::Kernel;
use underpass_core::semaphore::{MOST, Semaphore};
use underpass_core::{Deadline, Error};
use underpass_shm::layout::semaphore::SemaphoreWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, World, explore, join, sure};

fn semaphore(value: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(Placed::own(SemaphoreWords::new(value)), MOST, false))
}

fn acquire(kernel: &dyn Kernel, semaphore: &Semaphore) {
    sure(semaphore.acquire(kernel, Deadline::Never));
}

fn acquirer(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Semaphore>) -> Running<()> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| acquire(kernel, &semaphore))
}

fn releaser(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Semaphore>) -> Running<()> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| sure(semaphore.release(kernel, 1)))
}

#[test]
fn test_every_unit_is_taken() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        let giver = releaser(&world, 3, Dies::Never, &semaphore);
        world.run(4, |kernel| sure(semaphore.release(kernel, 1)));
        join(takers);
        giver.join();
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_one_release_wakes_several() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        world.run(3, |kernel| sure(semaphore.release(kernel, 2)));
        join(takers);
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_wakes_chain_past_who_barges_in() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        world.run(3, |kernel| {
            sure(semaphore.release(kernel, 2));
            if semaphore.acquire(kernel, Deadline::NoWait).is_ok() {
                sure(semaphore.release(kernel, 1));
            }
        });
        join(takers);
    });
}

#[test]
fn test_reset_releases_all_who_wait() {
    explore(|| {
        let (world, semaphore) = (World::new(), semaphore(0));
        let waiters = [1, 2].map(|life| {
            let semaphore = semaphore.clone();
            world.spawn(life, move |kernel| semaphore.acquire(kernel, Deadline::Never))
        });
        world.run(3, |kernel| {
            semaphore.reset(kernel);
            // For those who came after it.
            sure(semaphore.release(kernel, 2));
        });
        let reset = join(waiters).iter().filter(|result| **result == Err(Error::Reset)).count();
        assert_eq!(semaphore.value() as usize, reset);
    });
}

#[test]
fn test_releaser_dies_before_its_wake() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let taker = acquirer(&world, 1, Dies::Never, &semaphore);
        let dying = releaser(&world, 2, Dies::BeforeWake, &semaphore);
        taker.join();
        dying.end();
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_releaser_of_two_dies_before_its_wake() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let takers = [1, 2].map(|life| acquirer(&world, life, Dies::Never, &semaphore));
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let semaphore = semaphore.clone();
            move |kernel| sure(semaphore.release(kernel, 2))
        });
        join(takers);
        dying.end();
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_woken_sleeper_dies_before_it_looks() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let dying = acquirer(&world, 1, Dies::AfterPark, &semaphore);
        let taker = acquirer(&world, 2, Dies::Never, &semaphore);
        world.run(3, |kernel| {
            sure(semaphore.release(kernel, 1));
            // Who was quick took the first one and lives.
            sure(semaphore.release(kernel, 1));
        });
        taker.join();
        let left = u32::from(dying.end().is_none());
        assert_eq!(semaphore.value(), left);
    });
}

#[test]
fn test_sleeper_is_killed() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let killed = acquirer(&world, 1, Dies::Never, &semaphore);
        let taker = acquirer(&world, 2, Dies::Never, &semaphore);
        world.run(3, |kernel| sure(semaphore.release(kernel, 1)));
        let survives = !world.kill_sleeper(1);
        if survives {
            world.run(3, |kernel| sure(semaphore.release(kernel, 1)));
        }
        taker.join();
        assert_eq!(killed.end().is_some(), survives);
    });
}

#[test]
fn test_resetter_dies_before_its_wake() {
    explore(|| {
        let (world, semaphore) = (World::mortal(), semaphore(0));
        let waiters = [1, 2].map(|life| {
            let semaphore = semaphore.clone();
            world.spawn(life, move |kernel| semaphore.acquire(kernel, Deadline::Never))
        });
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let semaphore = semaphore.clone();
            move |kernel| semaphore.reset(kernel)
        });
        dying.end();
        // For those who came after it.
        world.run(4, |kernel| sure(semaphore.release(kernel, 2)));
        join(waiters);
    });
}

mod planted {
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
                kernel.park(&watch, &words.baton, None);
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
            let dying = world.spawn_dying(
                2,
                Dies::BeforeWake,
                part(|words, kernel, mistake| release(words, kernel, 1, mistake)),
            );
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
}
