//! A notification of consumers over the real slots, with one line to spoil.

use underpass_core::kernel::{Kernel, Watch};
use underpass_core::waiters::Room;
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use super::*;

/// The notification with one line to spoil.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Wakes whoever waits and lets it look for itself, as a futex does.
    TellsWithoutGiving,
    /// What is being given is written down nowhere, so nobody can end it.
    NoIntent,
    /// No baton is named.
    NoBaton,
    /// What the dead were given is gone with them.
    TakesNothingBack,
}

#[derive(Debug)]
struct Spoiled {
    bits: AtomicU64,
    /// What is being given; 0: nothing.
    posted: AtomicU64,
    waiters: Waiters,
    mistake: Mistake,
}

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self { bits: AtomicU64::new(0), posted: AtomicU64::new(0), waiters: waiters(2), mistake })
    }

    fn wait(&self, kernel: &dyn Kernel, wish: Wish) -> u64 {
        sure(self.waiters.wait(kernel, self, wish, Deadline::Never))
    }

    fn notify(&self, kernel: &dyn Kernel, bits: u64) {
        let _held = sure(self.waiters.enter(kernel, self));
        self.post(kernel, self.bits.load(Relaxed) | bits);
        self.waiters.settle(kernel, self);
    }

    fn clear(&self, kernel: &dyn Kernel) {
        let _held = sure(self.waiters.enter(kernel, self));
        self.bits.store(0, Release);
    }

    fn post(&self, kernel: &dyn Kernel, value: u64) {
        let owed = self.waiters.begin(kernel);
        if self.mistake == Mistake::NoBaton {
            drop(owed);
            self.serve(kernel, value);
            return;
        }
        if self.mistake != Mistake::NoIntent {
            self.posted.store(value, Release);
        }
        self.serve(kernel, value);
        self.posted.store(0, Release);
    }

    fn serve(&self, kernel: &dyn Kernel, value: u64) {
        let mut left = value;
        if self.mistake == Mistake::TellsWithoutGiving {
            self.bits.store(value, Release);
        }
        for (index, wish) in self.waiters.waiting() {
            if self.mistake == Mistake::TellsWithoutGiving {
                self.waiters.tell(kernel, index);
            } else if value & wish.value == wish.value && self.waiters.grant(index, wish.value) {
                left &= !wish.value;
                if self.mistake == Mistake::NoIntent {
                    self.waiters.tell(kernel, index);
                }
            }
        }
        self.bits.store(left, Release);
        self.waiters.tell_all(kernel);
    }
}

impl Room for Spoiled {
    fn ready(&self, wish: Wish) -> bool {
        self.bits.load(Relaxed) & wish.value == wish.value
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        let bits = self.bits.load(Relaxed);
        (bits & wish.value == wish.value).then(|| {
            self.bits.store(bits & !wish.value, Release);
            wish.value
        })
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {}

    fn mend(&self, kernel: &dyn Kernel) {
        let posted = self.posted.load(Acquire);
        if posted != 0 {
            self.post(kernel, posted);
        }
    }

    fn take_back(&self, kernel: &dyn Kernel, _index: usize, given: u64) {
        if self.mistake != Mistake::TakesNothingBack {
            self.post(kernel, self.bits.load(Relaxed) | given);
        }
    }
}

fn asleep(world: &Arc<World>, life: u32, dies: Dies, notification: &Arc<Spoiled>, wish: u64) -> Running<u64> {
    let running = world.spawn_dying(life, dies, {
        let notification = notification.clone();
        move |kernel| notification.wait(kernel, all(wish))
    });
    until_waiting(world, life as usize, || notification.waiters.waiting().count());
    running
}

/// A flag that is set, and cleared at once.
fn pulse(mistake: Mistake) {
    explore_long(move || {
        let (world, notification) = (World::new(), Spoiled::new(mistake));
        let waiter = asleep(&world, 1, Dies::Never, &notification, 1);
        world.run(2, |kernel| {
            notification.notify(kernel, 1);
            notification.clear(kernel);
        });
        assert_eq!(waiter.join(), 1);
    });
}

/// Two who sleep, and one who dies before it has told them.
fn death_of_the_notifier(mistake: Mistake) {
    explore_long(move || {
        let (world, notification) = (World::mortal(), Spoiled::new(mistake));
        let waiters = [1, 2].map(|life| asleep(&world, life, Dies::Never, &notification, 1));
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let notification = notification.clone();
            move |kernel| notification.notify(kernel, 1)
        });
        assert_eq!(join(waiters), [1, 1]);
        assert_eq!(dying.end(), None);
    });
}

/// One who dies of what it was given, which another needs.
fn death_of_the_woken(mistake: Mistake) {
    explore_long(move || {
        let (world, notification) = (World::mortal(), Spoiled::new(mistake));
        let dying = asleep(&world, 1, Dies::AfterPark, &notification, 1);
        world.until_asleep(1);
        let waiter = asleep(&world, 2, Dies::Never, &notification, 3);
        world.run(3, |kernel| {
            notification.notify(kernel, 1);
            notification.notify(kernel, 2);
        });
        assert_eq!(waiter.join(), 3);
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_without_a_mistake() {
    pulse(Mistake::None);
    death_of_the_notifier(Mistake::None);
    death_of_the_woken(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_tells_without_giving() {
    pulse(Mistake::TellsWithoutGiving);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_intent() {
    death_of_the_notifier(Mistake::NoIntent);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    death_of_the_notifier(Mistake::NoBaton);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_takes_nothing_back() {
    death_of_the_woken(Mistake::TakesNothingBack);
}
