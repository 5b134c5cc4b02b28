//! An atomic integer that is woken, over the real slots, with one line to spoil.

use underpass_core::kernel::Watch;
use underpass_core::waiters::{Room, Waiters};

use super::*;

const CHOSEN: u64 = 1;
const WISH: Wish = Wish { value: 0, how: 0 };

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who chooses one that did not sleep tells none of those who do: nobody watches the one that was chosen.
    UnwatchedChoice,
    /// One that gives up keeps what it was given.
    KeptChoice,
    /// None: a task is handed something by those who know that it is one.
    NoneHanding,
    /// Who hands a task something has no sleeper watch it.
    UnwatchedTask,
}

#[derive(Debug)]
struct Spoiled {
    waiters: Waiters,
    mistake: Mistake,
}

impl Spoiled {
    /// Chooses who came first.
    fn wake(&self, kernel: &dyn Kernel) {
        let _held = sure(self.waiters.enter(kernel, self));
        let _owed = self.waiters.begin(kernel);
        self.choose(kernel);
        self.waiters.settle(kernel, self);
    }

    fn choose(&self, kernel: &dyn Kernel) {
        let Some(index) = self.waiters.first() else { return };
        assert!(self.waiters.grant(index, CHOSEN));
        match self.mistake {
            Mistake::NoneHanding => return self.waiters.tell_heirs(kernel),
            Mistake::UnwatchedTask => return self.waiters.tell_all(kernel),
            _ => {}
        }
        if !self.waiters.rouse(kernel, index)
            && self.waiters.will_come(kernel, index)
            && self.mistake != Mistake::UnwatchedChoice
        {
            self.waiters.call_one(kernel);
        }
    }
}

impl Room for Spoiled {
    fn ready(&self, _wish: Wish) -> bool {
        false
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        None
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {}

    fn mend(&self, kernel: &dyn Kernel) {
        self.waiters.tell_all(kernel);
    }

    fn take_back(&self, kernel: &dyn Kernel, _index: usize, _given: u64) {
        let _owed = self.waiters.begin(kernel);
        self.choose(kernel);
    }
}

impl Slotted for Spoiled {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn is_torn(&self, _kernel: &dyn Kernel) -> bool {
        false
    }
}

/// One comes before another that sleeps, is chosen, and dies or gives up.
fn first_of_two(mistake: Mistake, ends: fn(&Stay<Spoiled>, &ThreadKernel)) {
    explore_long(move || {
        let (world, object) = (world(false), Arc::new(Spoiled { waiters: waiters(2), mistake }));
        let waiting = {
            let object = object.clone();
            move || object.waiters.waiting().count()
        };
        let first = world.spawn(1, {
            let object = object.clone();
            move |kernel| {
                let stay = seated(kernel, &object, WISH);
                while !object.waiters.is_granted(0) {
                    loom::thread::yield_now();
                }
                ends(&stay, kernel);
            }
        });
        while waiting() < 1 {
            loom::thread::yield_now();
        }
        let sleeper = world.spawn(2, {
            let object = object.clone();
            move |kernel| sure(object.waiters.wait(kernel, &*object, WISH, Deadline::Never))
        });
        while waiting() < 2 {
            loom::thread::yield_now();
        }
        world.until_asleep(1);
        world.run(3, |kernel| object.wake(kernel));
        assert_eq!(sleeper.join(), CHOSEN);
        first.end();
    });
}

fn dies(_stay: &Stay<Spoiled>, kernel: &ThreadKernel) {
    kernel.die();
}

fn gives_up(stay: &Stay<Spoiled>, kernel: &ThreadKernel) {
    if stay.object().mistake != Mistake::KeptChoice {
        sure(stay.give_up(kernel));
    }
}

#[test]
fn test_without_a_mistake() {
    first_of_two(Mistake::None, dies);
    first_of_two(Mistake::None, gives_up);
    first_of_two(Mistake::NoneHanding, dies);
    first_of_two(Mistake::NoneHanding, gives_up);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_unwatched_task() {
    first_of_two(Mistake::UnwatchedTask, dies);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_unwatched_choice() {
    first_of_two(Mistake::UnwatchedChoice, dies);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_kept_choice() {
    first_of_two(Mistake::KeptChoice, gives_up);
}
