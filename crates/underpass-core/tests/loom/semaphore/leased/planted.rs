//! A semaphore that knows its holders, over the real slots, with one line to spoil.

use underpass_core::kernel::{Kernel, Watch};
use underpass_core::waiters::{Room, Waiters, Wish};
use underpass_shm::life::Life;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use super::*;
use crate::kernel::ThreadKernel;

const UNIT: u64 = 1;
/// Which bit of a life says that it is a process's.
const PROCESS: u32 = 1 << 31;

/// The semaphore with one line to spoil.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who sleeps watches nobody who holds a unit.
    WatchesNobody,
    /// Who comes to hold a unit tells no sleeper.
    ComesInSilence,
    /// What the dead held is theirs for ever.
    KeepsTheUnit,
    /// A unit that was handed to one who has died comes back from its slot, and from its process as well.
    ComesBackTwice,
}

/// One unit; who holds it stands in `holder`.
#[derive(Debug)]
struct Spoiled {
    holder: AtomicU32,
    /// Units that came back once more than they were taken.
    surplus: AtomicU32,
    waiters: Waiters,
    mistake: Mistake,
}

struct Turn<'a>(&'a Spoiled, &'a ThreadKernel, Life);

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        let zero = || AtomicU32::new(0);
        Arc::new(Self { holder: zero(), surplus: zero(), waiters: waiters(2), mistake })
    }

    fn acquire(&self, kernel: &ThreadKernel) {
        let me = sure(kernel.me()).process;
        let wish = Wish { value: u64::from(me.0), how: 0 };
        sure(self.waiters.wait(kernel, &Turn(self, kernel, me), wish, Deadline::Never));
    }

    fn release(&self, kernel: &ThreadKernel) {
        let turn = Turn(self, kernel, sure(kernel.me()).process);
        let _held = sure(self.waiters.enter(kernel, &turn));
        let _owed = self.waiters.begin(kernel);
        self.holder.store(0, Release);
        self.serve(kernel);
        self.waiters.settle(kernel, &turn);
    }

    fn take(&self, kernel: &dyn Kernel, process: Life) {
        self.holder.store(process.0, Release);
        self.call(kernel);
    }

    fn call(&self, kernel: &dyn Kernel) {
        if self.mistake != Mistake::ComesInSilence {
            self.waiters.call_all(kernel);
        }
    }

    fn serve(&self, kernel: &dyn Kernel) {
        if self.holder.load(Acquire) == 0
            && let Some(index) = self.waiters.first()
        {
            self.holder.store(self.waiters.wish(index).value as u32, Release);
            if !self.waiters.grant(index, UNIT) {
                self.holder.store(0, Release);
            }
            self.call(kernel);
        }
        self.waiters.tell_all(kernel);
        self.waiters.open_door(kernel);
    }
}

impl Room for Turn<'_> {
    fn ready(&self, _wish: Wish) -> bool {
        self.0.holder.load(Relaxed) == 0
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        (self.0.holder.load(Acquire) == 0).then(|| {
            self.0.take(self.1, self.2);
            UNIT
        })
    }

    fn watch<'a>(&'a self, _wish: Wish, watch: &mut Watch<'a>) {
        if self.0.mistake != Mistake::WatchesNobody {
            watch.life(Life(self.0.holder.load(Acquire)));
        }
    }

    fn mend(&self, kernel: &dyn Kernel) {
        let holder = Life(self.0.holder.load(Acquire));
        if holder != Life::NOBODY && !kernel.alive(holder) && self.0.mistake != Mistake::KeepsTheUnit {
            self.0.holder.store(0, Release);
        }
        let _owed = self.0.waiters.begin(kernel);
        self.0.serve(kernel);
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, _given: u64) {
        let process = self.0.waiters.wish(index).value as u32;
        if self.0.holder.compare_exchange(process, 0, Acquire, Relaxed).is_err()
            && self.0.mistake == Mistake::ComesBackTwice
        {
            self.0.surplus.store(1, Relaxed);
        }
        self.0.waiters.dismiss(index);
        let _owed = self.0.waiters.begin(kernel);
        self.0.serve(kernel);
    }
}

fn hold(world: &Arc<World>, life: u32, semaphore: &Arc<Spoiled>) {
    let semaphore = semaphore.clone();
    world.run(life, move |kernel| semaphore.take(kernel, Life(life | PROCESS)));
}

fn acquirer(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Spoiled>) -> Running<()> {
    let semaphore = semaphore.clone();
    world.spawn_dying(life, dies, move |kernel| semaphore.acquire(kernel))
}

fn dying(world: &Arc<World>, life: u32, dies: Dies, semaphore: &Arc<Spoiled>) {
    let semaphore = semaphore.clone();
    let dying = world.spawn_dying(life, dies, move |kernel| {
        if dies == Dies::Never {
            kernel.die();
        }
        semaphore.release(kernel);
    });
    assert_eq!(dying.end(), None);
}

/// One who sleeps for what another holds who dies, or dies as it gives it back.
fn death_of_the_holder(mistake: Mistake, dies: Dies) {
    explore_long(move || {
        let (world, semaphore) = (World::mortal(), Spoiled::new(mistake));
        hold(&world, 2, &semaphore);
        let taker = acquirer(&world, 1, Dies::Never, &semaphore);
        until_waiting(&world, 1, || semaphore.waiters.waiting().count());
        dying(&world, 2, dies, &semaphore);
        taker.join();
    });
}

/// Two who sleep: the first that gets the unit dies of it, awake or before it has come.
fn death_of_the_next(mistake: Mistake, dies: Dies) {
    explore_long(move || {
        let (world, semaphore) = (World::mortal(), Spoiled::new(mistake));
        hold(&world, 4, &semaphore);
        let second = acquirer(&world, 3, Dies::Never, &semaphore);
        until_waiting(&world, 1, || semaphore.waiters.waiting().count());
        // One that nobody who sleeps has seen: it takes the unit as it is given back.
        let next = world.spawn_dying(1, dies, {
            let semaphore = semaphore.clone();
            move |kernel: &ThreadKernel| {
                let turn = Turn(&semaphore, kernel, Life(1 | PROCESS));
                {
                    let _held = sure(semaphore.waiters.enter(kernel, &turn));
                    semaphore.take(kernel, Life(1 | PROCESS));
                }
                kernel.die();
            }
        });
        assert_eq!(next.end(), None);
        second.join();
    });
}

/// One who was handed the unit dies before it comes, and another sleeps.
fn death_of_the_woken(mistake: Mistake) {
    explore_long(move || {
        let (world, semaphore) = (World::mortal(), Spoiled::new(mistake));
        hold(&world, 4, &semaphore);
        let first = acquirer(&world, 1, Dies::AfterPark, &semaphore);
        until_waiting(&world, 1, || semaphore.waiters.waiting().count());
        let second = acquirer(&world, 2, Dies::Never, &semaphore);
        until_waiting(&world, 2, || semaphore.waiters.waiting().count());
        world.run(4, |kernel| semaphore.release(kernel));
        second.join();
        assert_eq!(first.end(), None);
        assert_eq!(semaphore.surplus.load(Relaxed), 0, "a unit came back twice");
    });
}

#[test]
fn test_without_a_mistake() {
    death_of_the_holder(Mistake::None, Dies::Never);
    death_of_the_holder(Mistake::None, Dies::BeforeWake);
    death_of_the_next(Mistake::None, Dies::Never);
    death_of_the_woken(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_watches_nobody() {
    death_of_the_holder(Mistake::WatchesNobody, Dies::Never);
}

/// Whoever waits is told again and again that the holder is dead.
#[test]
#[should_panic(expected = "maximum number of branches")]
fn test_keeps_the_unit() {
    death_of_the_holder(Mistake::KeepsTheUnit, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_comes_in_silence() {
    death_of_the_next(Mistake::ComesInSilence, Dies::Never);
}

#[test]
#[should_panic(expected = "came back twice")]
fn test_comes_back_twice() {
    death_of_the_woken(Mistake::ComesBackTwice);
}
