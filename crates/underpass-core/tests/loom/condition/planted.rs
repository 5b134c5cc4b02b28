//! A condition over the real slots and the real mutex, with one line to spoil.

use underpass_core::kernel::{Kernel, Watch};
use underpass_core::wait::{Patience, Waiting, wait_until};
use underpass_core::waiters::{Room, UNRANKED, Waiters, Wish};
use underpass_shm::operation::Operation;

use super::*;

const WISH: Wish = Wish { value: 0, how: 0 };

/// The condition with one line to spoil.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who waits gives its mutex back before it has a slot.
    LateSeat,
    /// Who has its mutex again does not tell the next one.
    KeptTurn,
}

struct Spoiled {
    waiters: Waiters,
    mutex: Mutex,
    ready: Cell<bool>,
    mistake: Mistake,
}

// SAFETY: S3, loom's cell reports every access that is not exclusive.
unsafe impl Sync for Spoiled {}
// SAFETY: S3.
unsafe impl Send for Spoiled {}

struct Nothing;

impl Room for Nothing {
    fn ready(&self, _wish: Wish) -> bool {
        false
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        None
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {}

    fn mend(&self, _kernel: &dyn Kernel) {}

    fn take_back(&self, _kernel: &dyn Kernel, _index: usize, _given: u64) {}
}

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        let mutex = Mutex::new(Placed::own(MutexWords::new()), false);
        Arc::new(Self { waiters: waiters(2), mutex, ready: Cell::new(false), mistake })
    }

    fn wait_for(&self, kernel: &ThreadKernel) {
        sure(self.mutex.acquire(kernel, Deadline::Never));
        while !self.ready.get() {
            let late = self.mistake == Mistake::LateSeat;
            if late {
                sure(self.mutex.release(kernel));
            }
            let seat = {
                let _held = sure(self.waiters.enter(kernel, &Nothing));
                sure(self.waiters.seat(kernel, &Nothing, WISH, UNRANKED)).expect("two slots")
            };
            if !late {
                sure(self.mutex.release(kernel));
            }
            self.sleep(kernel, seat);
            sure(self.mutex.acquire(kernel, Deadline::Never));
            if self.mistake != Mistake::KeptTurn {
                self.tell_next(kernel);
            }
        }
        sure(self.mutex.release(kernel));
    }

    fn sleep(&self, kernel: &dyn Kernel, seat: usize) {
        let patience = Patience::new();
        let waiting = Waiting {
            sleepers: Some(&self.waiters),
            deadline: Deadline::Never,
            patience: &patience,
            partner: 0,
            operation: Operation::Wait,
        };
        let room = &Nothing;
        sure(wait_until(kernel, waiting, || false, |watch, slept| self.waiters.look(kernel, room, seat, watch, slept)));
    }

    fn tell_next(&self, kernel: &dyn Kernel) {
        let _held = sure(self.waiters.enter(kernel, &Nothing));
        let next = self.waiters.granted().next();
        if let Some((index, _)) = next {
            self.waiters.tell(kernel, index);
        }
    }

    fn announce(&self, kernel: &ThreadKernel) {
        sure(self.mutex.acquire(kernel, Deadline::Never));
        self.ready.set(true);
        {
            let _held = sure(self.waiters.enter(kernel, &Nothing));
            let _owed = self.waiters.begin(kernel);
            while let Some(index) = self.waiters.first() {
                self.waiters.grant(index, 0);
            }
        }
        self.tell_next(kernel);
        sure(self.mutex.release(kernel));
    }
}

fn waiter(world: &Arc<World>, life: u32, news: &Arc<Spoiled>) -> Running<()> {
    let news = news.clone();
    world.spawn(life, move |kernel| news.wait_for(kernel))
}

fn one_who_waits(mistake: Mistake) {
    explore(move || {
        let (world, news) = (World::new(), Spoiled::new(mistake));
        let sleeper = waiter(&world, 1, &news);
        world.run(2, |kernel| news.announce(kernel));
        sleeper.join();
    });
}

fn two_who_wait(mistake: Mistake) {
    explore_long(move || {
        let (world, news) = (World::new(), Spoiled::new(mistake));
        let sleepers = [1, 2].map(|life| waiter(&world, life, &news));
        until_waiting(&world, 2, || news.waiters.waiting().count());
        world.run(3, |kernel| news.announce(kernel));
        for sleeper in sleepers {
            sleeper.join();
        }
    });
}

#[test]
fn test_without_a_mistake() {
    one_who_waits(Mistake::None);
    two_who_wait(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_late_seat() {
    one_who_waits(Mistake::LateSeat);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_kept_turn() {
    two_who_wait(Mistake::KeptTurn);
}
