//! Who waits for many: nobody who finds it announced keeps what it changed to itself, and no death does.

use std::ops::Range;
use std::sync::Arc;

use underpass_core::Deadline;
use underpass_core::kernel::Kernel;
use underpass_core::many::{self, Enough, Member, Ready};
use underpass_core::mutex::Mutex;
use underpass_core::semaphore::{MOST, Semaphore};
use underpass_shm::layout::bell::WatchersWords;
use underpass_shm::layout::mutex::MutexWords;
use underpass_shm::layout::semaphore::SemaphoreWords;
use underpass_shm::place::Placed;
use underpass_shm::sync::Ordering::Release;

use crate::kernel::{Dies, Running, ThreadKernel, Watched, World, explore, explore_long, sure};

mod hearing;
mod since;
pub mod slots;
mod takeover;

const NONCE: u64 = 70;

/// Where a row of words is.
pub fn part<T>(words: &[T]) -> Range<usize> {
    let all = words.as_ptr_range();
    all.start.addr()..all.end.addr()
}

/// One object, whose words are there, and which is one of many.
pub fn watched(words: Vec<Range<usize>>) -> Vec<Watched> {
    vec![Watched { words, watchers: WatchersWords::new(), nonce: NONCE }]
}

/// The same, of an object that has its words in one place.
pub fn watched_at<T>(words: &Placed<T>) -> Vec<Watched> {
    watched(vec![part(std::slice::from_ref(&**words))])
}

fn semaphore(immortal: bool) -> (Arc<World>, Arc<Semaphore>, Placed<SemaphoreWords>) {
    let words = Placed::own(SemaphoreWords::new(0));
    let world = World::of(immortal, watched_at(&words));
    (world, Arc::new(Semaphore::new(words.clone(), MOST, false)), words)
}

/// One who waits for many, of which this is one.
pub fn onlooker<T: Ready + 'static>(world: &Arc<World>, life: u32, object: &Arc<T>) -> Running<Vec<usize>> {
    let (object, of) = (object.clone(), world.clone());
    world.spawn(life, move |kernel| look_on(&of, kernel, &*object))
}

/// The same, of the calling thread.
pub fn look_on(world: &World, kernel: &ThreadKernel, object: &dyn Ready) -> Vec<usize> {
    let member = Member { object, kernel, watchers: world.watchers(0), nonce: NONCE };
    sure(many::wait(&[member], Enough::Any, Deadline::Never))
}

#[test]
fn test_a_release_rings() {
    explore(|| {
        let (world, semaphore, _) = semaphore(true);
        let looks = onlooker(&world, 1, &semaphore);
        world.run(2, |kernel| sure(semaphore.release(kernel, 1)));
        assert_eq!(looks.join(), [0]);
        assert_eq!(semaphore.value(), 1);
    });
}

#[test]
fn test_a_direct_waiter_has_its_wake() {
    explore_long(|| {
        let (world, semaphore, _) = semaphore(true);
        let looks = onlooker(&world, 1, &semaphore);
        let direct = {
            let semaphore = semaphore.clone();
            world.spawn(2, move |kernel| sure(semaphore.acquire(kernel, Deadline::Never)))
        };
        world.run(3, |kernel| sure(semaphore.release(kernel, 2)));
        direct.join();
        assert_eq!(looks.join(), [0]);
    });
}

#[test]
fn test_a_releaser_dies_before_it_rings() {
    explore_long(|| {
        let (world, semaphore, _) = semaphore(false);
        let looks = onlooker(&world, 1, &semaphore);
        let dying = {
            let semaphore = semaphore.clone();
            world.spawn_dying(2, Dies::BeforeWake, move |kernel| sure(semaphore.release(kernel, 1)))
        };
        assert_eq!(looks.join(), [0]);
        dying.end();
        assert_eq!(semaphore.value(), 1);
    });
}

#[test]
fn test_a_mutex_is_given_back_or_its_owner_dies() {
    for dies in [Dies::Never, Dies::BeforeWake] {
        explore_long(move || {
            let words = Placed::own(MutexWords::new());
            let world = World::of(matches!(dies, Dies::Never), watched_at(&words));
            let mutex = Arc::new(Mutex::new(words, false));
            let owner = {
                let mutex = mutex.clone();
                world.spawn_dying(2, dies, move |kernel| {
                    sure(mutex.acquire(kernel, Deadline::Never));
                    sure(mutex.release(kernel));
                })
            };
            assert_eq!(onlooker(&world, 1, &mutex).join(), [0]);
            owner.end();
        });
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_who_rings_before_the_change_is_found() {
    explore(|| {
        let (world, semaphore, words) = semaphore(true);
        let looks = onlooker(&world, 1, &semaphore);
        world.run(2, |kernel| {
            kernel.wake(&words.word, 1);
            words.word.store(1, Release);
        });
        looks.join();
    });
}
