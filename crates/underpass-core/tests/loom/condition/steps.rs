//! A wait in steps: notified in turn with sleepers, given up, and ended by a death.

use std::sync::{Mutex as Local, MutexGuard, PoisonError};

use underpass_core::condition::Absence;
use underpass_core::kernel::{Kernel, Watch};
use underpass_core::many::{self, Enough, Member, Ready};
use underpass_core::wait::Sleepers;
use underpass_shm::layout::bell::WatchersWords;

use super::*;
use crate::kernel::{Watched, explore_longest};

const NONCE: u64 = 72;

fn world(immortal: bool) -> Arc<World> {
    World::of(immortal, vec![Watched { words: Vec::new(), watchers: WatchersWords::new(), nonce: NONCE }])
}

/// A task's wait.
struct Task<'a> {
    news: &'a News,
    kernel: &'a ThreadKernel,
    absence: Local<Absence>,
}

impl std::fmt::Debug for Task<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Task").finish_non_exhaustive()
    }
}

impl<'a> Task<'a> {
    /// Takes the mutex, and gives it back to wait.
    fn begin(news: &'a News, kernel: &'a ThreadKernel) -> Self {
        sure(news.mutex.acquire(kernel, Deadline::Never));
        let absence = sure(news.condition.begin(kernel, &Holding(&news.mutex, kernel)));
        Self { news, kernel, absence: Local::new(absence) }
    }

    fn absence(&self) -> MutexGuard<'_, Absence> {
        self.absence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self) -> Result<()> {
        let mut absence = *self.absence();
        let done = self.news.condition.step(self.kernel, &Holding(&self.news.mutex, self.kernel), &mut absence);
        *self.absence() = absence;
        done
    }

    /// Sleeps as its event loop does, until it may take the mutex.
    fn until_told(&self, world: &World) {
        while self.step() == Err(Error::WouldBlock) {
            let member = Member { object: self, kernel: self.kernel, watchers: world.watchers(0), nonce: NONCE };
            sure(many::wait(&[member], Enough::Any, Deadline::Never));
        }
    }

    fn take_and_end(&self, tells: bool) {
        let Self { news, kernel, .. } = self;
        sure(news.mutex.acquire(*kernel, Deadline::Never));
        if tells {
            sure(news.condition.end(*kernel, &Holding(&news.mutex, kernel), &mut self.absence()));
        }
        sure(news.mutex.release(*kernel));
    }

    fn give_up(&self) {
        let mut absence = *self.absence();
        sure(self.news.condition.give_up(self.kernel, &mut absence));
        *self.absence() = absence;
    }
}

impl Ready for Task<'_> {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.news.condition
    }

    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        self.news.condition.may_step(kernel, false, &mut self.absence(), watch)
    }
}

/// Two who wait, a task first; both are notified at once.
fn two_in_turn(tells: bool) {
    explore_longest(move || {
        let (world, news) = (world(true), News::new(2));
        let task = world.spawn(1, {
            let (news, of) = (news.clone(), world.clone());
            move |kernel| {
                let task = Task::begin(&news, kernel);
                task.until_told(&of);
                task.take_and_end(tells);
            }
        });
        until_one_waits(&news, 1);
        let sleeper = {
            let news = news.clone();
            world.spawn(2, move |kernel| sure(news.wait(kernel, Deadline::Never)))
        };
        until_waiting(&world, 2, || news.condition.waiting());
        world.run(3, |kernel| assert_eq!(news.condition.notify(kernel, 2), Ok(2)));
        task.join();
        sleeper.join();
    });
}

fn until_one_waits(news: &News, count: usize) {
    while news.condition.waiting() < count {
        loom::thread::yield_now();
    }
}

#[test]
fn test_a_task_is_told() {
    explore_long(|| {
        let (world, news) = (world(true), News::new(2));
        let task = world.spawn(1, {
            let (news, of) = (news.clone(), world.clone());
            move |kernel| {
                let task = Task::begin(&news, kernel);
                task.until_told(&of);
                task.take_and_end(true);
            }
        });
        until_one_waits(&news, 1);
        world.run(2, |kernel| assert_eq!(news.condition.notify(kernel, 1), Ok(1)));
        task.join();
    });
}

#[test]
fn test_a_task_and_a_sleeper_go_in_turn() {
    two_in_turn(true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_a_task_that_does_not_tell_the_next() {
    two_in_turn(false);
}

/// A task is notified, and ends before it has the mutex; another sleeps.
fn the_next_is_told(dies: bool) {
    explore_longest(move || {
        let (world, news) = (world(!dies), News::new(2));
        let task = world.spawn(1, {
            let news = news.clone();
            move |kernel| {
                let task = Task::begin(&news, kernel);
                while task.step() == Err(Error::WouldBlock) {
                    loom::thread::yield_now();
                }
                if dies {
                    kernel.die();
                }
                task.give_up();
                task.take_and_end(true);
            }
        });
        until_one_waits(&news, 1);
        let sleeper = {
            let news = news.clone();
            world.spawn(2, move |kernel| sure(news.wait(kernel, Deadline::Never)))
        };
        until_one_waits(&news, 2);
        world.until_asleep(1);
        world.run(3, |kernel| assert_eq!(news.condition.notify(kernel, 1), Ok(1)));
        sleeper.join();
        task.end();
    });
}

#[test]
fn test_a_task_that_gives_up_leaves_its_notification_to_the_next() {
    the_next_is_told(false);
}

#[test]
fn test_a_task_that_dies_leaves_its_notification_to_the_next() {
    the_next_is_told(true);
}
