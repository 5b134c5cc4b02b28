//! The mutex: what a death means to those who come, and that everybody is told.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use underpass_core::mutex::Mutex;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::mutex::MutexWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, join, sure};

mod fair;
mod lending;
mod planted;

/// A counter that the mutex protects; loom reports every access that it does not order.
struct Guarded {
    mutex: Mutex,
    count: UnsafeCell<u32>,
}

// SAFETY: S3, loom's cell reports every access that is not exclusive.
unsafe impl Sync for Guarded {}
// SAFETY: S3.
unsafe impl Send for Guarded {}

/// How somebody's part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Counted,
    Repaired,
    Told,
    Late,
}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self { mutex: Mutex::new(Placed::own(MutexWords::new()), false), count: UnsafeCell::new(0) })
    }

    fn count(&self) {
        // SAFETY: S3, loom checks it.
        self.count.with_mut(|count| unsafe { *count += 1 });
    }

    fn counted(&self) -> u32 {
        // SAFETY: S3, loom checks it.
        self.count.with(|count| unsafe { *count })
    }

    /// Takes it, counts, and gives it back.
    fn raise(&self, kernel: &ThreadKernel, deadline: Deadline) -> End {
        match self.mutex.acquire(kernel, deadline) {
            Ok(()) => {
                self.count();
                sure(self.mutex.release(kernel));
                End::Counted
            }
            Err(Error::OwnerDied(death)) => {
                assert_eq!(death.pid, 1, "the one that died is named");
                End::Told
            }
            Err(Error::TimedOut(_)) => End::Late,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Takes it also from the dead, counts, and says whether what it found is repaired.
    fn recover(&self, kernel: &ThreadKernel, repaired: bool) -> End {
        let died = sure(self.mutex.recover(kernel, Deadline::Never));
        self.count();
        sure(self.mutex.end_recovery(kernel, repaired));
        if died.is_some() { End::Repaired } else { End::Counted }
    }

    /// Takes it, counts, and dies.
    fn raise_and_die(&self, kernel: &ThreadKernel) -> Result<()> {
        self.mutex.acquire(kernel, Deadline::Never)?;
        self.count();
        kernel.die();
    }
}

fn raiser(world: &Arc<World>, life: u32, dies: Dies, guarded: &Arc<Guarded>) -> Running<End> {
    let guarded = guarded.clone();
    world.spawn_dying(life, dies, move |kernel| guarded.raise(kernel, Deadline::Never))
}

fn dying_owner(world: &Arc<World>, guarded: &Arc<Guarded>) -> Running<()> {
    let guarded = guarded.clone();
    world.spawn(1, move |kernel| sure(guarded.raise_and_die(kernel)))
}

#[test]
fn test_one_at_a_time() {
    explore(|| {
        let (world, guarded) = (World::new(), Guarded::new());
        let others = [1, 2].map(|life| raiser(&world, life, Dies::Never, &guarded));
        world.run(3, |kernel| guarded.raise(kernel, Deadline::Never));
        assert_eq!(join(others), [End::Counted; 2]);
        assert_eq!(guarded.counted(), 3);
    });
}

#[test]
fn test_release_of_a_stranger_changes_nothing() {
    explore(|| {
        let (world, guarded) = (World::new(), Guarded::new());
        let other = raiser(&world, 1, Dies::Never, &guarded);
        world.run(2, |kernel| assert_eq!(guarded.mutex.release(kernel), Err(Error::NotOwner)));
        assert_eq!(other.join(), End::Counted);
    });
}

#[test]
fn test_all_who_wait_for_the_dead_are_told() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        let dying = dying_owner(&world, &guarded);
        let waiters = [2, 3].map(|life| raiser(&world, life, Dies::Never, &guarded));
        assert_eq!(dying.end(), None);
        // Whoever came before it counted, whoever comes after it is told.
        assert!(join(waiters).iter().all(|end| matches!(end, End::Counted | End::Told)));
        assert_eq!(world.run(4, |kernel| guarded.raise(kernel, Deadline::Never)), End::Told);
    });
}

#[test]
fn test_nobody_holds_it_before_a_recovery_ends() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        assert_eq!(dying_owner(&world, &guarded).end(), None);
        let waiter = raiser(&world, 2, Dies::Never, &guarded);
        assert_eq!(world.run(3, |kernel| guarded.recover(kernel, true)), End::Repaired);
        let end = waiter.join();
        assert!(matches!(end, End::Counted | End::Told));
        assert_eq!(guarded.counted(), 2 + u32::from(end == End::Counted));
        assert_eq!(world.run(4, |kernel| guarded.raise(kernel, Deadline::Never)), End::Counted);
    });
}

#[test]
fn test_recovery_that_fails_tells_all_who_wait() {
    explore_long(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        assert_eq!(dying_owner(&world, &guarded).end(), None);
        let waiters = [2, 3].map(|life| raiser(&world, life, Dies::Never, &guarded));
        assert_eq!(world.run(4, |kernel| guarded.recover(kernel, false)), End::Repaired);
        assert_eq!(join(waiters), [End::Told; 2]);
        assert_eq!(guarded.counted(), 2);
    });
}

#[test]
fn test_two_recoveries_take_turns() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        let dying = dying_owner(&world, &guarded);
        let other = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.recover(kernel, true)
        });
        let mine = world.run(3, |kernel| guarded.recover(kernel, false));
        assert_eq!(dying.end(), None);
        let ends = [mine, other.join()];
        assert!(ends.contains(&End::Counted) || ends == [End::Repaired; 2]);
    });
}

/// The waiters sleep when the recoverer dies: only its own life, or its baton, can wake them.
#[test]
fn test_recoverer_dies_inside() {
    explore_long(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        assert_eq!(dying_owner(&world, &guarded).end(), None);
        let dying = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel: &ThreadKernel| {
                sure(guarded.mutex.recover(kernel, Deadline::Never));
                kernel.die();
            }
        });
        let waiters = [3, 4].map(|life| {
            let guarded = guarded.clone();
            world.spawn(life, move |kernel| guarded.mutex.acquire(kernel, Deadline::Never))
        });
        assert!(join(waiters).iter().all(|end| matches!(end, Err(Error::OwnerDied(_)))));
        dying.end();
    });
}

#[test]
fn test_owner_dies_between_its_release_and_its_wake() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        let dying = raiser(&world, 1, Dies::BeforeWake, &guarded);
        let others = [2, 3].map(|life| raiser(&world, life, Dies::Never, &guarded));
        dying.end();
        // It may have slept, taken it, and died before it passed its watch on.
        assert!(join(others).iter().all(|end| matches!(end, End::Counted | End::Told)));
    });
}

#[test]
fn test_woken_sleeper_dies_before_it_looks() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        let dying = raiser(&world, 1, Dies::AfterPark, &guarded);
        let others = [2, 3].map(|life| raiser(&world, life, Dies::Never, &guarded));
        dying.end();
        assert_eq!(join(others), [End::Counted; 2]);
    });
}

/// Of those who are told of a death, the first dies before it tells the next.
#[test]
fn test_bearer_of_the_news_dies() {
    for dies in [Dies::BeforeWake, Dies::AfterPark] {
        explore(move || {
            let (world, guarded) = (World::mortal(), Guarded::new());
            let visitors = [(1, Dies::Never), (2, dies), (3, Dies::Never)].map(|(life, dies)| {
                let guarded = guarded.clone();
                world.spawn_dying(life, dies, move |kernel| match guarded.mutex.acquire(kernel, Deadline::Never) {
                    Ok(()) if life == 1 => kernel.die(),
                    Ok(()) => sure(guarded.mutex.release(kernel)),
                    Err(error) => assert!(matches!(error, Error::OwnerDied(_))),
                })
            });
            let _ = visitors.map(Running::end);
        });
    }
}

#[test]
fn test_recoverer_that_fails_dies_before_its_wake() {
    explore_long(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        assert_eq!(dying_owner(&world, &guarded).end(), None);
        let dying = world.spawn_dying(2, Dies::BeforeWake, {
            let guarded = guarded.clone();
            move |kernel| guarded.recover(kernel, false)
        });
        let waiters = [3, 4].map(|life| {
            let guarded = guarded.clone();
            world.spawn(life, move |kernel| guarded.mutex.acquire(kernel, Deadline::Never))
        });
        assert!(join(waiters).iter().all(|end| matches!(end, Err(Error::OwnerDied(_)))));
        dying.end();
    });
}

/// Two sleep while the owner changes; the one that was woken for the second owner gives up, and then that owner dies.
#[test]
fn test_watch_is_handed_on_by_whom_the_time_runs_out() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        world.run(5, |kernel| sure(guarded.mutex.acquire(kernel, Deadline::Never)));
        let [first, second] = [2, 3].map(|life| {
            let guarded = guarded.clone();
            world.spawn(life, move |kernel| guarded.raise(kernel, Deadline::At(1)))
        });
        world.until_asleep(2);
        world.run(5, |kernel| sure(guarded.mutex.release(kernel)));
        let dying = world.spawn(1, {
            let (world, guarded) = (world.clone(), guarded.clone());
            move |kernel: &ThreadKernel| {
                if guarded.mutex.acquire(kernel, Deadline::NoWait).is_ok() {
                    if guarded.counted() > 0 {
                        return sure(guarded.mutex.release(kernel));
                    }
                    world.until_asleep(2);
                    world.expire_sleeper(2);
                    first.join();
                    kernel.die();
                }
            }
        });
        second.join();
        dying.end();
    });
}
