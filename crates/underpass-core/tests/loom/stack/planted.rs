//! A stack that hands over, over the real slots, with one line to spoil.

use std::sync::Mutex;

use underpass_core::kernel::Watch;
use underpass_core::waiters::{Room, Waiters, Wish};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{Acquire, Release};

use super::*;

const WISH: Wish = Wish { value: 0, how: 0 };

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// No baton is named.
    NoBaton,
    /// What the dead were handed is gone with them.
    HandsNothingOn,
    /// Who pushes lays its word on the stack, whoever waits.
    HandsNothingOver,
    /// The slot from which a word comes back is emptied in a step of its own, of which the heir knows nothing.
    ForgetsTheSource,
}

#[derive(Debug)]
struct Spoiled {
    /// What is on it: under the lock alone, which is what loom looks at.
    words: Mutex<Vec<u64>>,
    /// 1, and above it 1 + whose slot the word comes back from.
    handing: AtomicU32,
    waiters: Waiters,
    mistake: Mistake,
}

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        let (words, handing) = (Mutex::new(Vec::new()), AtomicU32::new(0));
        Arc::new(Self { words, handing, waiters: waiters(2), mistake })
    }

    fn words(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.words.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn push(&self, kernel: &dyn Kernel, word: u64) {
        let _held = sure(self.waiters.enter(kernel, self));
        self.hand(kernel, word, None);
        self.waiters.settle(kernel, self);
    }

    fn hand(&self, kernel: &dyn Kernel, word: u64, source: Option<usize>) {
        let owed = self.waiters.begin(kernel);
        let _owed = (self.mistake != Mistake::NoBaton).then_some(owed);
        let number = source.filter(|_| self.mistake != Mistake::ForgetsTheSource).map_or(0, |index| index as u32 + 1);
        self.handing.store(1 | number << 1, Release);
        let target = if self.mistake == Mistake::HandsNothingOver { None } else { self.waiters.first() };
        if !target.is_some_and(|index| self.waiters.grant(index, word)) {
            self.words().push(word);
        }
        self.finish(kernel, source);
    }

    fn finish(&self, kernel: &dyn Kernel, source: Option<usize>) {
        self.waiters.tell_all(kernel);
        if let Some(index) = source {
            self.waiters.dismiss(index);
        }
        self.handing.store(0, Release);
    }

    fn pop(&self, kernel: &dyn Kernel) -> u64 {
        sure(self.waiters.wait(kernel, self, WISH, Deadline::Never))
    }
}

impl Room for Spoiled {
    fn ready(&self, _wish: Wish) -> bool {
        !self.words().is_empty()
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        self.words().pop()
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {}

    fn mend(&self, kernel: &dyn Kernel) {
        let handing = self.handing.load(Acquire);
        if handing != 0 {
            let _owed = self.waiters.begin(kernel);
            // Nothing here dies before the word has arrived.
            self.finish(kernel, (handing as usize >> 1).checked_sub(1));
        }
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64) {
        if self.mistake != Mistake::HandsNothingOn {
            self.hand(kernel, given, Some(index));
        }
    }
}

fn asleep(world: &Arc<World>, life: u32, dies: Dies, stack: &Arc<Spoiled>) -> Running<u64> {
    let running = world.spawn_dying(life, dies, {
        let stack = stack.clone();
        move |kernel| stack.pop(kernel)
    });
    until_waiting(world, life as usize, || stack.waiters.waiting().count());
    running
}

/// One waits; who pushes dies before its wake.
fn a_pusher_dies(mistake: Mistake) {
    explore_long(move || {
        let (world, stack) = (World::mortal(), Spoiled::new(mistake));
        let popper = asleep(&world, 1, Dies::Never, &stack);
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let stack = stack.clone();
            move |kernel| stack.push(kernel, 7)
        });
        assert_eq!(popper.join(), 7);
        dying.end();
    });
}

/// The first of two that wait dies with what it was handed.
fn a_popper_dies(mistake: Mistake) {
    explore_long(move || {
        let (world, stack) = (World::mortal(), Spoiled::new(mistake));
        let dying = asleep(&world, 1, Dies::AfterPark, &stack);
        let popper = asleep(&world, 2, Dies::Never, &stack);
        world.run(3, |kernel| stack.push(kernel, 7));
        assert_eq!(popper.join(), 7);
        dying.end();
    });
}

/// The first of two that wait dies with what it was handed, and so does perhaps who hands that to the second.
fn a_bringer_dies(mistake: Mistake) {
    explore_long(move || {
        let (world, stack) = (World::mortal(), Spoiled::new(mistake));
        let dying = asleep(&world, 1, Dies::AfterPark, &stack);
        let popper = asleep(&world, 2, Dies::Never, &stack);
        world.run(3, |kernel| stack.push(kernel, 7));
        let bringer = world.spawn_dying(4, Dies::BeforeWake, {
            let stack = stack.clone();
            // Finds nothing for itself, but what the dead one has left.
            move |kernel| drop(stack.waiters.wait(kernel, &*stack, WISH, Deadline::NoWait))
        });
        assert_eq!(popper.join(), 7);
        (dying.end(), bringer.end());
        world.run(3, |kernel| drop(sure(stack.waiters.enter(kernel, &*stack))));
        assert_eq!(stack.words().len(), 0);
    });
}

#[test]
fn test_without_a_mistake() {
    a_pusher_dies(Mistake::None);
    a_popper_dies(Mistake::None);
    a_bringer_dies(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    a_pusher_dies(Mistake::NoBaton);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_hands_nothing_on() {
    a_popper_dies(Mistake::HandsNothingOn);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_hands_nothing_over() {
    a_pusher_dies(Mistake::HandsNothingOver);
}

#[test]
#[should_panic(expected = "assertion")]
fn test_forgets_the_source() {
    a_bringer_dies(Mistake::ForgetsTheSource);
}
