//! An atomic integer that adds one, over the real slots, with one line to spoil.

use underpass_core::kernel::{Kernel, Watch};
use underpass_core::waiters::{Room, Waiters, Wish};
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::AcqRel;

use super::*;

/// The atomic integer with one line to spoil.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Looks for waiters first and changes the value afterwards.
    LooksBeforeItChanges,
    /// Looks for waiters with a load, which may be older than the change.
    LooksWithALoad,
    /// No baton is named.
    NoBaton,
    /// Who is about to sleep does not watch the value.
    ValueUnwatched,
}

#[derive(Debug)]
struct Spoiled {
    value: AtomicU64,
    waiters: Waiters,
    mistake: Mistake,
}

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self { value: AtomicU64::new(0), waiters: waiters(2), mistake })
    }

    fn waiter(self: &Arc<Self>, world: &Arc<World>, life: u32) -> Running<u64> {
        let number = self.clone();
        world.spawn(life, move |kernel| {
            sure(number.waiters.wait(kernel, &*number, Wish { value: 0, how: 0 }, Deadline::Never))
        })
    }

    fn add(&self, kernel: &dyn Kernel) {
        let owed = self.waiters.owe(kernel);
        if self.mistake == Mistake::NoBaton {
            drop(owed);
        }
        let early = self.mistake == Mistake::LooksBeforeItChanges && self.waiters.is_empty_after_a_change();
        self.value.fetch_add(1, AcqRel);
        let empty = match self.mistake {
            Mistake::LooksBeforeItChanges => early,
            Mistake::LooksWithALoad => self.waiters.is_empty(),
            _ => self.waiters.is_empty_after_a_change(),
        };
        if !empty {
            let _held = sure(self.waiters.enter(kernel, self));
            self.mend(kernel);
        }
    }
}

impl Room for Spoiled {
    fn ready(&self, wish: Wish) -> bool {
        self.value.load(underpass_shm::sync::Ordering::Acquire) != wish.value
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        self.ready(wish).then_some(0)
    }

    fn watch<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        if self.mistake != Mistake::ValueUnwatched {
            watch.wide = Some((&self.value, wish.value));
        }
    }

    fn mend(&self, kernel: &dyn Kernel) {
        let owed = self.waiters.begin(kernel);
        if self.mistake == Mistake::NoBaton {
            drop(owed);
        }
        for (index, wish) in self.waiters.waiting() {
            if self.ready(wish) {
                self.waiters.grant(index, 0);
            }
        }
        self.waiters.tell_all(kernel);
    }

    fn take_back(&self, _kernel: &dyn Kernel, _index: usize, _given: u64) {}
}

fn race(mistake: Mistake) {
    explore(move || {
        let (world, number) = (World::new(), Spoiled::new(mistake));
        let waiter = number.waiter(&world, 1);
        world.run(2, |kernel| number.add(kernel));
        waiter.join();
    });
}

fn death_of_the_changer(mistake: Mistake) {
    explore_long(move || {
        let (world, number) = (World::mortal(), Spoiled::new(mistake));
        let waiters = [1, 2].map(|life| number.waiter(&world, life));
        until_waiting(&world, 2, || number.waiters.waiting().count());
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let number = number.clone();
            move |kernel| number.add(kernel)
        });
        join(waiters);
        dying.end();
    });
}

/// One who dies between the change and the first look at whom it concerns.
fn death_right_after_the_change(mistake: Mistake) {
    explore(move || {
        let (world, number) = (World::mortal(), Spoiled::new(mistake));
        let waiter = number.waiter(&world, 1);
        let dying = world.spawn_dying(2, Dies::AfterChange, {
            let number = number.clone();
            move |kernel| number.add(kernel)
        });
        waiter.join();
        dying.end();
    });
}

#[test]
fn test_without_a_mistake() {
    race(Mistake::None);
    death_of_the_changer(Mistake::None);
    death_right_after_the_change(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_look_before_change() {
    race(Mistake::LooksBeforeItChanges);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_look_with_a_load() {
    race(Mistake::LooksWithALoad);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    death_of_the_changer(Mistake::NoBaton);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_value_unwatched() {
    death_right_after_the_change(Mistake::ValueUnwatched);
}
