//! A barrier of two over the real slots, with one line to spoil.

use underpass_core::kernel::{Kernel, Watch};
use underpass_core::wait::{Patience, Waiting, wait_until};
use underpass_core::waiters::{Room, UNRANKED, Waiters, Wish};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};
use underpass_shm::sync::{AtomicU32, AtomicU64};

use super::*;

const PASSED: u64 = 1;
const BROKEN: u64 = 2;
const WISH: Wish = Wish { value: 0, how: 0 };

/// The barrier with one line to spoil.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// That a generation is being ended is written down nowhere, so nobody can end it.
    NoIntent,
    /// Who joins does not tell those who sleep, and nobody watches it.
    JoinsInSilence,
    /// A waiter looks at how the barrier is, and not at what it was given itself.
    AsksTheBarrier,
}

#[derive(Debug)]
struct Spoiled {
    ending: AtomicU64,
    /// How the last generation ended.
    last: AtomicU64,
    /// The one who has joined.
    known: AtomicU32,
    waiters: Waiters,
    mistake: Mistake,
}

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        let (ending, last) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { ending, last, known: AtomicU32::new(0), waiters: waiters(2), mistake })
    }

    fn wait(&self, kernel: &dyn Kernel) -> u64 {
        let seat = {
            let _held = sure(self.waiters.enter(kernel, self));
            if self.waiters.waiting().count() == 1 {
                self.end(kernel, PASSED);
                return PASSED;
            }
            sure(self.waiters.seat(kernel, self, WISH, UNRANKED)).expect("two slots")
        };
        let given = self.sleep(kernel, seat);
        if self.mistake == Mistake::AsksTheBarrier { self.last.load(Acquire) } else { given }
    }

    fn sleep(&self, kernel: &dyn Kernel, seat: usize) -> u64 {
        let patience = Patience::new();
        let waiting = Waiting {
            sleepers: Some(&self.waiters),
            deadline: Deadline::Never,
            patience: &patience,
            partner: 0,
            operation: Operation::Wait,
        };
        sure(wait_until(kernel, waiting, || false, |watch, slept| self.waiters.look(kernel, self, seat, watch, slept)))
    }

    fn join(&self, kernel: &dyn Kernel) {
        let _held = sure(self.waiters.enter(kernel, self));
        let _owed = self.waiters.owe(kernel);
        self.known.store(sure(kernel.me()).process.0, Release);
        if self.mistake != Mistake::JoinsInSilence {
            self.waiters.call_all(kernel);
        }
    }

    fn abort(&self, kernel: &dyn Kernel) {
        let _held = sure(self.waiters.enter(kernel, self));
        self.end(kernel, BROKEN);
    }

    fn end(&self, kernel: &dyn Kernel, how: u64) {
        let _owed = self.waiters.begin(kernel);
        if self.mistake != Mistake::NoIntent {
            self.ending.store(how, Release);
        }
        self.finish(kernel, how);
    }

    fn finish(&self, kernel: &dyn Kernel, how: u64) {
        self.last.store(how, Release);
        for (index, _) in self.waiters.waiting() {
            self.waiters.grant(index, how);
            if self.mistake == Mistake::NoIntent {
                self.waiters.tell(kernel, index);
            }
        }
        self.waiters.tell_all(kernel);
        self.ending.store(0, Release);
    }
}

impl Room for Spoiled {
    fn ready(&self, _wish: Wish) -> bool {
        false
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        None
    }

    fn watch<'a>(&'a self, _wish: Wish, watch: &mut Watch<'a>) {
        watch.life(Life(self.known.load(Acquire)));
    }

    fn mend(&self, kernel: &dyn Kernel) {
        let ending = self.ending.load(Acquire);
        if ending != 0 {
            self.finish(kernel, ending);
        }
        let known = Life(self.known.load(Relaxed));
        if known != Life::NOBODY && !kernel.alive(known) {
            self.end(kernel, BROKEN);
        }
    }

    fn take_back(&self, _kernel: &dyn Kernel, _index: usize, _given: u64) {}
}

fn asleep(world: &Arc<World>, life: u32, barrier: &Arc<Spoiled>) -> Running<u64> {
    let running = world.spawn(life, {
        let barrier = barrier.clone();
        move |kernel| barrier.wait(kernel)
    });
    until_waiting(world, life as usize, || barrier.waiters.waiting().count());
    running
}

/// Two who meet, after which the next generation is broken.
fn pass_and_break(mistake: Mistake) {
    explore(move || {
        let (world, barrier) = (World::new(), Spoiled::new(mistake));
        let sleeper = asleep(&world, 1, &barrier);
        world.run(2, |kernel| {
            assert_eq!(barrier.wait(kernel), PASSED);
            barrier.abort(kernel);
        });
        assert_eq!(sleeper.join(), PASSED, "it had passed");
    });
}

/// One who breaks it and dies before it has told.
fn death_of_the_aborter(mistake: Mistake) {
    explore_long(move || {
        let (world, barrier) = (World::mortal(), Spoiled::new(mistake));
        let sleepers = [1, 2].map(|life| {
            let barrier = barrier.clone();
            world.spawn(life, move |kernel| {
                let seat = {
                    let _held = sure(barrier.waiters.enter(kernel, &*barrier));
                    sure(barrier.waiters.seat(kernel, &*barrier, WISH, UNRANKED)).expect("two slots")
                };
                barrier.sleep(kernel, seat)
            })
        });
        until_waiting(&world, 2, || barrier.waiters.waiting().count());
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let barrier = barrier.clone();
            move |kernel| barrier.abort(kernel)
        });
        assert_eq!(join(sleepers), [BROKEN, BROKEN]);
        assert_eq!(dying.end(), None);
    });
}

/// One who joins while another sleeps, and dies.
fn death_of_a_joiner(mistake: Mistake) {
    explore(move || {
        let (world, barrier) = (World::mortal(), Spoiled::new(mistake));
        let sleeper = asleep(&world, 1, &barrier);
        world.until_asleep(1);
        let dying = world.spawn(2, {
            let barrier = barrier.clone();
            move |kernel| {
                barrier.join(kernel);
                kernel.die();
            }
        });
        assert_eq!(sleeper.join(), BROKEN);
        assert_eq!(dying.end(), None::<()>);
    });
}

#[test]
fn test_without_a_mistake() {
    pass_and_break(Mistake::None);
    death_of_the_aborter(Mistake::None);
    death_of_a_joiner(Mistake::None);
}

#[test]
#[should_panic(expected = "it had passed")]
fn test_asks_the_barrier() {
    pass_and_break(Mistake::AsksTheBarrier);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_intent() {
    death_of_the_aborter(Mistake::NoIntent);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_joins_in_silence() {
    death_of_a_joiner(Mistake::JoinsInSilence);
}
