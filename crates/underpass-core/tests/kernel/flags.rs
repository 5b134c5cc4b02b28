//! Notification and atomic integer: killed right after the change, between it and each of the wakes that it owes, and
//! woken and killed.

use std::cell::Cell;
use std::sync::Arc;

use underpass_core::atomic::AtomicInt;
use underpass_core::kernel::{Kernel, Memory, Parked, Wanted, Watch};
use underpass_core::many::Bell;
use underpass_core::notification::{ALL, CONSUME, Notification};
use underpass_core::waiters::{self, Waiters, Wish};
use underpass_core::{Deadline, Error, Result, linux};
use underpass_shm::clock;
use underpass_shm::life::{Life, Me};
use underpass_shm::place::Placed;
use underpass_shm::region::Region;
use underpass_shm::sync::{AtomicU32, AtomicU64};

use crate::process::{Process, die, until};
use crate::world::{OFF, World};

const ANY: Wish = Wish { value: 1, how: CONSUME };
const BOTH: Wish = Wish { value: 3, how: CONSUME | ALL };

/// Linux, for one that dies: right after its change, in place of a wake, or when it was woken.
#[derive(Debug)]
struct Doomed {
    below: &'static dyn Kernel,
    /// Wakes before the one at which it dies.
    wakes: Option<Cell<u32>>,
    dies_woken: bool,
    /// Whether it has named a baton, if it dies of the next question who it is: only its change lies between.
    owes: Option<Cell<bool>>,
}

// SAFETY: S4, a process of these tests has one thread.
unsafe impl Sync for Doomed {}

impl Doomed {
    fn new(world: &World) -> Self {
        Self { below: world.kernel, wakes: None, dies_woken: false, owes: None }
    }

    fn at_wake(world: &World, wakes: u32) -> Self {
        Self { wakes: Some(Cell::new(wakes)), ..Self::new(world) }
    }

    fn woken(world: &World) -> Self {
        Self { dies_woken: true, ..Self::new(world) }
    }

    fn changed(world: &World) -> Self {
        Self { owes: Some(Cell::new(false)), ..Self::new(world) }
    }
}

impl Kernel for Doomed {
    fn now(&self) -> u64 {
        self.below.now()
    }

    fn me(&self) -> Result<Me> {
        if self.owes.as_ref().is_some_and(Cell::get) {
            die();
        }
        self.below.me()
    }

    fn alive(&self, life: Life) -> bool {
        self.below.alive(life)
    }

    fn pid(&self, life: Life) -> u32 {
        self.below.pid(life)
    }

    fn park(&self, watch: &Watch<'_>, batons: &[&AtomicU32], until: Option<u64>) -> Parked {
        let parked = self.below.park(watch, batons, until);
        if self.dies_woken {
            die();
        }
        parked
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        match &self.wakes {
            Some(left) if left.get() == 0 => die(),
            Some(left) => left.set(left.get() - 1),
            None => {}
        }
        self.below.wake(word, count)
    }

    fn bell(&self) -> Result<Bell<'_>> {
        self.below.bell()
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        if let Some(owes) = &self.owes {
            owes.set(!word.is_null());
        }
        self.below.name_baton(word)
    }

    fn priority(&self) -> i32 {
        self.below.priority()
    }

    fn cpus(&self) -> u64 {
        self.below.cpus()
    }

    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        self.below.memory(wanted)
    }

    fn spin(&self, partner: u64) -> u64 {
        self.below.spin(partner)
    }
}

/// Bytes that all processes see: the object's own at 0, its waiters' at 64.
fn region() -> Arc<Region> {
    Region::anonymous(waiters::extent(64)).expect("a page")
}

fn waiters(region: &Arc<Region>) -> Waiters {
    Waiters::at(region, 64).expect("they lie inside")
}

fn notification() -> Notification {
    let region = region();
    Notification::new(Placed::at(&region, 0).expect("it lies inside"), waiters(&region))
}

fn atomic() -> AtomicInt {
    let region = region();
    AtomicInt::new(Placed::at(&region, 0).expect("it lies inside"), waiters(&region))
}

/// Starts a process that waits without a re-check, and returns when it sleeps.
fn asleep(wait: impl FnOnce()) -> Process {
    let process = Process::start(|| {
        linux::set_recheck(OFF);
        wait();
    });
    until("the waiter sleeps", || process.is_parked());
    process
}

fn waiter(kernel: &dyn Kernel, notification: &Notification, wish: Wish) -> Process {
    asleep(|| assert_eq!(notification.wait(kernel, wish, Deadline::Never), Ok(wish.value)))
}

#[test]
fn test_notifier_killed_before_any_of_its_wakes_has_told_everybody() {
    for wakes in 0..3 {
        let (world, notification) = (World::new(), notification());
        let waiters = [(); 3].map(|()| waiter(world.kernel, &notification, ANY));
        let notifier = Process::start(|| {
            let _ = notification.notify(&Doomed::at_wake(&world, wakes), 5);
        });
        notifier.join_killed();
        waiters.into_iter().for_each(Process::join);
        assert_eq!(notification.bits(), 4, "taken once, by all of them");
        assert_eq!(notification.waiting(), 0);
    }
}

#[test]
fn test_what_was_given_to_one_who_died_of_it_is_given_to_others() {
    let (world, notification) = (World::new(), notification());
    let dying = waiter(&Doomed::woken(&world), &notification, ANY);
    let patient = waiter(world.kernel, &notification, BOTH);
    assert_eq!(notification.notify(world.kernel, 1), Ok(0));
    dying.join_killed();
    assert!(notification.notify(world.kernel, 2).is_ok());
    patient.join();
    assert_eq!(notification.bits(), 0);
}

#[test]
fn test_what_was_given_to_one_who_died_of_it_is_there_for_who_comes_later() {
    let (world, notification) = (World::new(), notification());
    let dying = waiter(&Doomed::woken(&world), &notification, ANY);
    assert_eq!(notification.notify(world.kernel, 1), Ok(0));
    dying.join_killed();
    assert_eq!(notification.wait(world.kernel, ANY, Deadline::NoWait), Ok(1));
    assert_eq!(notification.wait(world.kernel, ANY, Deadline::NoWait), Err(Error::WouldBlock));
}

#[test]
fn test_notifier_and_the_first_it_woke_die() {
    let (world, notification) = (World::new(), notification());
    let dying = waiter(&Doomed::woken(&world), &notification, ANY);
    let others = [(); 2].map(|()| waiter(world.kernel, &notification, ANY));
    let notifier = Process::start(|| {
        let _ = notification.notify(&Doomed::at_wake(&world, 1), 1);
    });
    // Its second wake is owed to nobody if the death of the first has recalled the others before.
    notifier.join_either();
    dying.join_killed();
    others.into_iter().for_each(Process::join);
}

#[test]
fn test_changer_killed_before_any_of_its_wakes_has_let_everybody_go() {
    for wakes in 0..3 {
        let (world, atomic) = (World::new(), atomic());
        let waiters = [(); 3].map(|()| asleep(|| assert_eq!(atomic.wait(world.kernel, 0, Deadline::Never), Ok(()))));
        let changer = Process::start(|| {
            let _ = atomic.add(&Doomed::at_wake(&world, wakes), 1);
        });
        changer.join_killed();
        waiters.into_iter().for_each(Process::join);
        assert_eq!((atomic.load(), atomic.waiting()), (1, 0));
    }
}

#[test]
fn test_changer_killed_right_after_its_change_has_let_everybody_go() {
    let (world, atomic) = (World::new(), atomic());
    let waiters = [(); 3].map(|()| asleep(|| assert_eq!(atomic.wait(world.kernel, 0, Deadline::Never), Ok(()))));
    let changer = Process::start(|| {
        let _ = atomic.add(&Doomed::changed(&world), 1);
    });
    changer.join_killed();
    waiters.into_iter().for_each(Process::join);
    assert_eq!((atomic.load(), atomic.waiting()), (1, 0));
}

#[test]
fn test_nobody_falls_asleep_once_either_half_of_a_wide_word_has_changed() {
    let (world, value) = (World::new(), AtomicU64::new(0x1_0000_0001));
    let park = |expected, until| {
        let mut watch = Watch::new();
        watch.wide = Some((&value, expected));
        world.kernel.park(&watch, &[world.word(0)], Some(until))
    };
    for other in [0, 1, 0x1_0000_0000, 0x2_0000_0001, 0x1_0000_0002] {
        assert_eq!(park(other, u64::MAX), Parked::Look, "{other:#x}");
    }
    assert_eq!(park(0x1_0000_0001, clock::monotonic() + 1_000_000), Parked::Expired);
}

#[test]
fn test_wake_passes_through_a_row_of_sleepers_that_die_before_they_act() {
    let (world, atomic) = (World::new(), atomic());
    let wait = |kernel: &dyn Kernel| assert_eq!(atomic.wait(kernel, 0, Deadline::Never), Ok(()));
    let mortals = [(); 4].map(|()| asleep(|| wait(&Doomed::woken(&world))));
    let last = asleep(|| wait(world.kernel));
    assert_eq!(atomic.wake(world.kernel, 1), Ok(1));
    mortals.into_iter().for_each(Process::join_killed);
    last.join();
}
