//! What a loop waits for whose tasks a reset sends away: each of them is told of it, also of one that wakes nobody.

use underpass_core::kernel::Watch;
use underpass_core::since::Since;
use underpass_core::wait::Sleepers;
use underpass_core::{Error, Result};

use super::*;

/// What tasks do that barge, and their loop: a unit, or the news of a reset.
fn come(world: &World, kernel: &ThreadKernel, semaphore: &Arc<Semaphore>, since: &Since) -> Result<()> {
    loop {
        since.judge()?;
        match semaphore.acquire(kernel, Deadline::NoWait) {
            Err(Error::WouldBlock) => look_on(world, kernel, since),
            ended => return ended,
        };
    }
}

fn comer(world: &Arc<World>, life: u32, semaphore: &Arc<Semaphore>) -> Running<Result<()>> {
    let (semaphore, of, since) = (semaphore.clone(), world.clone(), Since::now(semaphore.clone()));
    world.spawn(life, move |kernel| come(&of, kernel, &semaphore, &since))
}

#[test]
fn test_a_reset_ends_the_wait_of_a_task() {
    explore(|| {
        let (world, semaphore, _) = semaphore(true);
        let task = comer(&world, 1, &semaphore);
        world.run(2, |kernel| semaphore.reset(kernel));
        assert_eq!(task.join(), Err(Error::Reset));
    });
}

#[test]
fn test_a_task_that_comes_for_a_unit_is_told_of_a_reset_before_it() {
    explore_long(|| {
        let (world, semaphore, _) = semaphore(true);
        let task = comer(&world, 1, &semaphore);
        world.run(2, |kernel| {
            sure(semaphore.release(kernel, 1));
            semaphore.reset(kernel);
            sure(semaphore.release(kernel, 1));
        });
        let units = if task.join() == Err(Error::Reset) { 1..=1 } else { 0..=1 };
        assert!(units.contains(&semaphore.value()));
    });
}

#[test]
fn test_who_resets_dies_before_it_wakes() {
    explore_long(|| {
        let (world, semaphore, _) = semaphore(false);
        let task = comer(&world, 1, &semaphore);
        let dying = {
            let semaphore = semaphore.clone();
            world.spawn_dying(2, Dies::BeforeWake, move |kernel| semaphore.reset(kernel))
        };
        assert_eq!(task.join(), Err(Error::Reset));
        dying.end();
    });
}

/// It looks whether there was a reset, and does not say that it sleeps only while there is none.
#[derive(Debug)]
struct Uncompared {
    since: Since,
    semaphore: Arc<Semaphore>,
}

impl Ready for Uncompared {
    fn sleepers(&self) -> &dyn Sleepers {
        self.semaphore.sleepers()
    }

    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        Ok(self.since.judge().is_err() || self.semaphore.is_ready(kernel, watch)?)
    }
}

/// One who sleeps on what it was announced at, and nothing else.
fn sleep(kernel: &ThreadKernel, object: &dyn Ready) {
    loop {
        let mut own = Watch::new();
        if sure(many::announce(object, kernel, &mut own)) {
            return;
        }
        kernel.park(&own, &[object.sleepers().baton()], None);
    }
}

fn sleeps_beside_a_reset(spoiled: bool) {
    explore(move || {
        let (world, semaphore, _) = semaphore(true);
        let since = Since::now(semaphore.clone());
        let of = semaphore.clone();
        let sleeper = world.spawn(1, move |kernel| {
            if spoiled { sleep(kernel, &Uncompared { since, semaphore: of }) } else { sleep(kernel, &since) }
        });
        world.run(2, |kernel| semaphore.reset(kernel));
        sleeper.join();
    });
}

#[test]
fn test_who_compares_the_resets_sleeps_through_none() {
    sleeps_beside_a_reset(false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_planted_who_does_not_sleeps_through_one() {
    sleeps_beside_a_reset(true);
}
