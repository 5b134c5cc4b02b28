//! The condition: no notification is lost, whoever dies, and those who are notified together come one after the other.

use std::sync::Arc;

use loom::cell::Cell;
use underpass_core::condition::{Condition, Under};
use underpass_core::error::Phase;
use underpass_core::mutex::Mutex;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::layout::condition::ConditionWords;
use underpass_shm::layout::mutex::MutexWords;
use underpass_shm::place::Placed;

use crate::kernel::{Dies, Running, ThreadKernel, World, explore, explore_long, sure};
use crate::notification::{until_waiting, waiters};

mod planted;
mod steps;

/// A condition, its mutex, and what it protects.
struct News {
    condition: Condition,
    mutex: Mutex,
    ready: Cell<bool>,
}

// SAFETY: S3, loom's cell reports every access that is not exclusive.
unsafe impl Sync for News {}
// SAFETY: S3.
unsafe impl Send for News {}

/// A mutex as its owner holds it.
struct Holding<'a>(&'a Mutex, &'a ThreadKernel);

impl Under for Holding<'_> {
    fn depth(&self) -> Result<u32> {
        self.0.depth(self.1)
    }

    fn give(&self) -> Result<()> {
        self.0.release(self.1)
    }

    fn take(&self) -> Result<()> {
        self.0.acquire(self.1, Deadline::Never)
    }

    fn refuse_behind_its_tasks(&self) -> Result<()> {
        self.0.refuse_behind_its_tasks(self.1)
    }

    fn is_orphaned(&self) -> bool {
        self.0.holder(self.1).is_some_and(|holder| holder.dead)
    }

    fn interrupted(&self) -> bool {
        true
    }

    fn has_raised(&self) -> bool {
        false
    }
}

impl News {
    fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self {
            condition: Condition::new(Placed::own(ConditionWords::new()), waiters(slots)),
            mutex: Mutex::new(Placed::own(MutexWords::new()), false),
            ready: Cell::new(false),
        })
    }

    /// Waits once, and looks at what is protected.
    fn wait(&self, kernel: &ThreadKernel, deadline: Deadline) -> Result<()> {
        self.mutex.acquire(kernel, deadline)?;
        let waited = self.condition.wait(kernel, &Holding(&self.mutex, kernel), deadline);
        if matches!(waited, Err(Error::OwnerDied(_))) {
            return waited;
        }
        self.ready.get();
        self.mutex.release(kernel).and(waited)
    }

    /// Waits until it is true.
    fn wait_for(&self, kernel: &ThreadKernel) {
        sure(self.mutex.acquire(kernel, Deadline::Never));
        while !self.ready.get() {
            sure(self.condition.wait(kernel, &Holding(&self.mutex, kernel), Deadline::Never));
        }
        sure(self.mutex.release(kernel));
    }

    /// Makes it true, and says so.
    fn announce(&self, kernel: &ThreadKernel, count: u32) {
        sure(self.mutex.acquire(kernel, Deadline::Never));
        self.ready.set(true);
        sure(self.condition.notify(kernel, count));
        sure(self.mutex.release(kernel));
    }
}

fn waiter(world: &Arc<World>, life: u32, dies: Dies, news: &Arc<News>) -> Running<Result<()>> {
    let news = news.clone();
    world.spawn_dying(life, dies, move |kernel| news.wait(kernel, Deadline::Never))
}

/// As many who wait in slots, one after the other.
fn asleep<const N: usize>(world: &Arc<World>, lives: [u32; N], news: &Arc<News>) -> [Running<Result<()>>; N] {
    let mut before = 0;
    lives.map(|life| {
        let running = waiter(world, life, Dies::Never, news);
        before += 1;
        until_waiting(world, before, || news.condition.waiting());
        running
    })
}

#[test]
fn test_nothing_is_lost_between_the_release_and_the_sleep() {
    explore(|| {
        let (world, news) = (World::new(), News::new(2));
        let sleeper = world.spawn(1, {
            let news = news.clone();
            move |kernel| news.wait_for(kernel)
        });
        world.run(2, |kernel| news.announce(kernel, 1));
        sleeper.join();
    });
}

#[test]
fn test_two_are_notified_together() {
    explore_long(|| {
        let (world, news) = (World::new(), News::new(2));
        let sleepers = asleep(&world, [1, 2], &news);
        assert_eq!(world.run(3, |kernel| sure(news.condition.notify(kernel, 2))), 2);
        for sleeper in sleepers {
            assert_eq!(sleeper.join(), Ok(()));
        }
    });
}

#[test]
fn test_a_timeout_and_a_notification() {
    explore_long(|| {
        let (world, news) = (World::new(), News::new(2));
        let sleeper = world.spawn(1, {
            let news = news.clone();
            move |kernel| news.wait(kernel, Deadline::At(1))
        });
        until_waiting(&world, 1, || news.condition.waiting());
        let told = world.spawn(2, {
            let news = news.clone();
            move |kernel| sure(news.condition.notify(kernel, 1))
        });
        world.expire_sleeper(1);
        let ends = (sleeper.join(), told.join());
        assert!(ends == (Ok(()), 1) || ends == (Err(Error::TimedOut(Phase::Wait)), 0), "{ends:?}");
    });
}

#[test]
fn test_notifier_dies_before_its_wake() {
    explore_long(|| {
        let (world, news) = (World::mortal(), News::new(2));
        let sleepers = asleep(&world, [1, 2], &news);
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let news = news.clone();
            move |kernel| sure(news.condition.notify(kernel, 2))
        });
        for sleeper in sleepers {
            assert_eq!(sleeper.join(), Ok(()));
        }
        assert_eq!(dying.end(), None);
    });
}

#[test]
fn test_one_who_was_notified_dies_before_it_has_passed_it_on() {
    explore_long(|| {
        let (world, news) = (World::mortal(), News::new(2));
        let dying = waiter(&world, 1, Dies::BeforeWake, &news);
        until_waiting(&world, 1, || news.condition.waiting());
        let other = waiter(&world, 2, Dies::Never, &news);
        until_waiting(&world, 2, || news.condition.waiting());
        world.run(3, |kernel| sure(news.condition.notify(kernel, 2)));
        // It died with the mutex, or before it had it.
        let end = other.join();
        assert!(matches!(end, Ok(()) | Err(Error::OwnerDied(_))), "{end:?}");
        let _ = dying.end();
    });
}

#[test]
fn test_a_sleeper_that_is_killed_leaves_its_wake_up_to_the_next() {
    explore_long(|| {
        let (world, news) = (World::mortal(), News::new(2));
        let [killed, other] = asleep(&world, [1, 2], &news);
        let told = world.spawn(3, {
            let news = news.clone();
            move |kernel| sure(news.condition.notify(kernel, 1))
        });
        let killed_asleep = world.kill_sleeper(1);
        assert_eq!(told.join(), 1);
        if killed_asleep {
            assert_eq!(other.join(), Ok(()));
            assert_eq!(killed.end(), None);
        } else {
            assert_eq!(killed.join(), Ok(()));
            world.run(3, |kernel| sure(news.condition.notify(kernel, 1)));
            assert_eq!(other.join(), Ok(()));
        }
    });
}
