//! Tasks that are handed units of a semaphore, in their turn, beside sleepers.

use underpass_core::kernel::Watch;
use underpass_core::semaphore::fair::Fair;
use underpass_core::semaphore::leased::Leased;
use underpass_core::semaphore::{self, MOST};
use underpass_core::waiters::{Order, Room};
use underpass_shm::layout::semaphore::{FairWords, HOLDERS, HolderWords, LeasedWords};
use underpass_shm::place::PlacedSlice;

use super::*;
use crate::semaphore::leased::tenures;

fn semaphore(slots: usize) -> Arc<Fair> {
    Arc::new(Fair::new(Placed::own(FairWords::new(0)), waiters(slots), MOST, false, Order::Arrival))
}

fn taker(world: &Arc<World>, life: u32, semaphore: &Arc<Fair>) -> Running<Result<()>> {
    let (semaphore, of) = (semaphore.clone(), world.clone());
    world.spawn(life, move |kernel| wait(&of, kernel, &semaphore, semaphore.wish()).and_then(semaphore::judge))
}

fn sleeper(world: &Arc<World>, life: u32, semaphore: &Arc<Fair>) -> Running<Result<()>> {
    let semaphore = semaphore.clone();
    world.spawn(life, move |kernel| semaphore.acquire(kernel, Deadline::Never))
}

/// One task in a slot, whose loop does not look until it is given something; and then that.
fn given<T: Slotted>(
    world: &Arc<World>,
    life: u32,
    object: &Arc<T>,
    wish: impl FnOnce(&ThreadKernel) -> Wish + 'static,
    then: fn(&Stay<T>, &ThreadKernel),
) -> Running<()>
where
    T: 'static,
{
    let object = object.clone();
    world.spawn(life, move |kernel| {
        let stay = seated(kernel, &object, wish(kernel));
        while !object.waiters().is_granted(0) {
            loom::thread::yield_now();
        }
        then(&stay, kernel);
    })
}

fn until(is: impl Fn() -> bool) {
    while !is() {
        loom::thread::yield_now();
    }
}

#[test]
fn test_a_task_that_comes_beside_a_release_is_handed_its_unit() {
    explore(|| {
        let (world, semaphore) = (world(true), semaphore(2));
        let task = taker(&world, 1, &semaphore);
        world.run(2, |kernel| sure(semaphore.release(kernel, 1)));
        assert_eq!(task.join(), Ok(()));
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_a_task_at_the_door_finds_the_unit_of_a_release_that_needs_no_lock() {
    explore_longest(|| {
        let (world, semaphore) = (world(true), semaphore(1));
        let both = [1, 2].map(|life| taker(&world, life, &semaphore));
        world.run(3, |kernel| {
            sure(semaphore.release(kernel, 1));
            sure(semaphore.release(kernel, 1));
        });
        assert_eq!(join(both), [Ok(()), Ok(())]);
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn test_a_reset_sends_a_task_away() {
    explore_long(|| {
        let (world, semaphore) = (world(true), semaphore(2));
        let task = taker(&world, 1, &semaphore);
        until(|| semaphore.waiting() == 1);
        world.run(2, |kernel| sure(semaphore.reset(kernel)));
        assert_eq!(task.join(), Err(Error::Reset));
    });
}

#[test]
fn test_the_unit_of_a_task_that_gives_up_is_the_sleepers() {
    explore_long(|| {
        let (world, semaphore) = (world(true), semaphore(2));
        let task =
            given(&world, 1, &semaphore, |_| Wish { value: 0, how: 0 }, |stay, kernel| sure(stay.give_up(kernel)));
        until(|| semaphore.waiting() == 1);
        let sleeper = sleeper(&world, 2, &semaphore);
        until(|| semaphore.waiting() == 2);
        world.run(3, |kernel| sure(semaphore.release(kernel, 1)));
        assert_eq!(sleeper.join(), Ok(()));
        task.join();
        assert_eq!(semaphore.value(), 0);
    });
}

/// A sleeper waits behind a task that is handed a unit and dies before its loop looks.
#[test]
fn test_the_unit_of_a_task_that_dies_is_the_sleepers() {
    explore_long(|| {
        let (world, semaphore) = (world(false), semaphore(2));
        let task = given(&world, 1, &semaphore, |_| Wish { value: 0, how: 0 }, |_, kernel| kernel.die());
        until(|| semaphore.waiting() == 1);
        let sleeper = sleeper(&world, 2, &semaphore);
        until(|| semaphore.waiting() == 2);
        world.until_asleep(1);
        world.run(3, |kernel| sure(semaphore.release(kernel, 1)));
        assert_eq!(sleeper.join(), Ok(()));
        assert_eq!(task.end(), None);
        assert_eq!(semaphore.value(), 0);
    });
}

/// The same, of a leased one: the roster tells of its process.
#[test]
fn test_the_leased_unit_of_a_task_that_dies_is_the_sleepers() {
    explore_long(|| {
        let (world, entries) = (world(false), PlacedSlice::own((0..HOLDERS).map(|_| HolderWords::new()).collect()));
        let words = Placed::own(LeasedWords::new(1));
        let semaphore = Arc::new(Leased::new(words, entries, tenures(), waiters(2), Some(Order::Arrival)));
        world.run(3, |kernel| sure(semaphore.acquire(kernel, Deadline::NoWait)));
        let of = semaphore.clone();
        let task = given(&world, 1, &semaphore, move |kernel| of.wish(sure(kernel.me())), |_, kernel| kernel.die());
        until(|| semaphore.waiting() == 1);
        let sleeper = world.spawn(2, {
            let semaphore = semaphore.clone();
            move |kernel| semaphore.acquire(kernel, Deadline::Never)
        });
        until(|| semaphore.waiting() == 2);
        world.until_asleep(1);
        world.run(3, |kernel| sure(semaphore.release(kernel, 1)));
        assert_eq!(sleeper.join(), Ok(()));
        assert_eq!(task.end(), None);
    });
}

/// The thread of a task that waits would wait for itself: it is refused, has left nothing, and the task has its unit.
#[test]
fn test_a_thread_is_refused_to_wait_behind_its_task() {
    explore(|| {
        let (world, semaphore) = (world(true), semaphore(2));
        let releaser = world.spawn(2, {
            let semaphore = semaphore.clone();
            move |kernel| sure(semaphore.release(kernel, 1))
        });
        world.run(1, |kernel| {
            let stay = Stay::new(semaphore.clone(), semaphore.wish());
            if stay.step(kernel) == Err(Error::WouldBlock) {
                let refused = semaphore.acquire(kernel, Deadline::Never);
                assert!(matches!(refused, Err(Error::Misuse(_))), "{refused:?}");
                assert!(semaphore.waiting() <= 1);
                until(|| semaphore.waiters().is_granted(0));
                assert!(stay.step(kernel).is_ok());
            }
        });
        releaser.join();
        assert_eq!((semaphore.value(), semaphore.waiting()), (0, 0));
    });
}

/// The same semaphore, at which nobody goes before anybody: the thread falls asleep behind its task.
#[test]
#[should_panic(expected = "deadlock")]
fn test_a_thread_that_waits_behind_its_task_is_found() {
    explore(|| {
        let (world, semaphore) = (world(true), semaphore(2));
        let releaser = world.spawn(2, {
            let semaphore = semaphore.clone();
            move |kernel| sure(semaphore.release(kernel, 1))
        });
        world.run(1, |kernel| {
            let stay = seated(kernel, &semaphore, semaphore.wish());
            let careless = Careless(&semaphore);
            sure(semaphore.waiters().wait(kernel, &careless, semaphore.wish(), Deadline::Never));
            sure(stay.step(kernel));
        });
        releaser.join();
    });
}

struct Careless<'a>(&'a Fair);

impl Room for Careless<'_> {
    fn ready(&self, wish: Wish) -> bool {
        self.0.ready(wish)
    }

    fn queued(&self) {
        self.0.queued();
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        self.0.now(wish)
    }

    fn watch<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        self.0.watch(wish, watch);
    }

    fn mend(&self, kernel: &dyn Kernel) {
        self.0.mend(kernel);
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64) {
        self.0.take_back(kernel, index, given);
    }
}
