//! A semaphore that hands over, over the real slots, with one line to spoil.

use underpass_core::kernel::Watch;
use underpass_core::waiters::{Room, Waiters, Wish};
use underpass_shm::layout::semaphore::QUEUED;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use underpass_shm::sync::{AtomicU32, AtomicU64};

use super::*;

const WISH: Wish = Wish { value: 0, how: 0 };
const UNIT: u64 = 1;

/// The semaphore with one line to spoil.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who queues says so in the word, and does not look again.
    LooksBeforeItQueues,
    /// What is being handed over is written down nowhere, so nobody can end it.
    NoIntent,
    /// Who was being served when the server died is not counted.
    ForgetsWhoWasServed,
    /// No baton is named.
    NoBaton,
    /// What the dead were handed is gone with them.
    HandsNothingOn,
}

#[derive(Debug)]
struct Spoiled {
    word: AtomicU32,
    /// 1 + units left to hand over, and above them 1 + who is being served; 0: nothing.
    handing: AtomicU64,
    waiters: Waiters,
    mistake: Mistake,
}

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        let (word, handing) = (AtomicU32::new(0), AtomicU64::new(0));
        Arc::new(Self { word, handing, waiters: waiters(2), mistake })
    }

    fn acquire(&self, kernel: &dyn Kernel) {
        if self.now(WISH).is_none() {
            sure(self.waiters.wait(kernel, self, WISH, Deadline::Never));
        }
    }

    fn release(&self, kernel: &dyn Kernel, count: u32) {
        let mut word = self.word.load(Relaxed);
        while word & QUEUED == 0 {
            match self.word.compare_exchange(word, word + count, Release, Relaxed) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
        let _held = sure(self.waiters.enter(kernel, self));
        self.hand_over(kernel, count);
        self.waiters.settle(kernel, self);
    }

    fn hand_over(&self, kernel: &dyn Kernel, count: u32) {
        let owed = self.waiters.begin(kernel);
        if self.mistake == Mistake::NoBaton {
            drop(owed);
            self.serve(kernel, count);
            return;
        }
        self.serve(kernel, count);
    }

    fn serve(&self, kernel: &dyn Kernel, mut left: u32) {
        let tell = |left: u32, slot: u64| {
            if self.mistake != Mistake::NoIntent {
                self.handing.store(slot << 32 | u64::from(left + 1), Release);
            }
        };
        tell(left, 0);
        while left > 0
            && let Some(index) = self.waiters.first()
        {
            tell(left, index as u64 + 1);
            if self.waiters.grant(index, UNIT) {
                if matches!(self.mistake, Mistake::NoIntent | Mistake::ForgetsWhoWasServed) {
                    self.waiters.tell(kernel, index);
                }
                left -= 1;
            }
        }
        tell(left, 0);
        self.word.store(left | QUEUED, Release);
        self.waiters.tell_all(kernel);
        self.handing.store(0, Release);
        if self.waiters.waiting().next().is_none() {
            self.word.fetch_and(!QUEUED, AcqRel);
        }
    }
}

impl Room for Spoiled {
    fn ready(&self, _wish: Wish) -> bool {
        self.word.load(Relaxed) & !QUEUED != 0
    }

    fn queued(&self) {
        self.word.fetch_or(QUEUED, AcqRel);
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        let mut word = self.word.load(Relaxed);
        if self.mistake == Mistake::LooksBeforeItQueues && word & QUEUED != 0 {
            return None;
        }
        while word & !QUEUED != 0 {
            match self.word.compare_exchange(word, word - 1, Acquire, Relaxed) {
                Ok(_) => return Some(UNIT),
                Err(other) => word = other,
            }
        }
        None
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {}

    fn mend(&self, kernel: &dyn Kernel) {
        let handing = self.handing.load(Acquire);
        if handing == 0 {
            return;
        }
        let (mut left, slot) = (handing as u32 - 1, (handing >> 32) as usize);
        if self.mistake != Mistake::ForgetsWhoWasServed
            && slot.checked_sub(1).is_some_and(|index| self.waiters.was_given(index).is_some())
        {
            left -= 1;
        }
        let _owed = self.waiters.begin(kernel);
        self.serve(kernel, left);
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, _given: u64) {
        self.waiters.dismiss(index);
        if self.mistake != Mistake::HandsNothingOn {
            self.queued();
            self.hand_over(kernel, (self.word.load(Relaxed) & !QUEUED) + 1);
        }
    }
}

fn asleep(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Spoiled>) -> Running<()> {
    let running = world.spawn_dying(life, dies, {
        let semaphore = semaphore.clone();
        move |kernel| semaphore.acquire(kernel)
    });
    until_waiting(world, life as usize, || semaphore.waiters.waiting().count());
    running
}

/// One who queues while a unit is released.
fn queueing(mistake: Mistake) {
    explore(move || {
        let (world, semaphore) = (World::new(), Spoiled::new(mistake));
        let taker = world.spawn(1, {
            let semaphore = semaphore.clone();
            move |kernel| semaphore.acquire(kernel)
        });
        world.run(2, |kernel| semaphore.release(kernel, 1));
        taker.join();
    });
}

/// Two who sleep, and one who dies before it has told them.
fn death_of_the_releaser(mistake: Mistake) {
    explore_long(move || {
        let (world, semaphore) = (World::mortal(), Spoiled::new(mistake));
        let takers = [1, 2].map(|life| asleep(&world, life, Dies::Never, &semaphore));
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let semaphore = semaphore.clone();
            move |kernel| semaphore.release(kernel, 3)
        });
        join(takers);
        assert_eq!(dying.end(), None);
        assert_eq!(semaphore.word.load(Relaxed) & !QUEUED, 1, "a unit of three is left");
    });
}

/// One who dies of the unit that it was handed, which another waits for.
fn death_of_the_woken(mistake: Mistake) {
    explore_long(move || {
        let (world, semaphore) = (World::mortal(), Spoiled::new(mistake));
        let dying = asleep(&world, 1, Dies::AfterPark, &semaphore);
        let taker = asleep(&world, 2, Dies::Never, &semaphore);
        world.run(3, |kernel| semaphore.release(kernel, 1));
        taker.join();
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_without_a_mistake() {
    queueing(Mistake::None);
    death_of_the_releaser(Mistake::None);
    death_of_the_woken(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_looks_before_it_queues() {
    queueing(Mistake::LooksBeforeItQueues);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_intent() {
    death_of_the_releaser(Mistake::NoIntent);
}

#[test]
#[should_panic(expected = "a unit of three is left")]
fn test_forgets_who_was_served() {
    death_of_the_releaser(Mistake::ForgetsWhoWasServed);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    death_of_the_releaser(Mistake::NoBaton);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_hands_nothing_on() {
    death_of_the_woken(Mistake::HandsNothingOn);
}
