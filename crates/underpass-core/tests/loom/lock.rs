//! The lock inside an object.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use underpass_core::kernel::Kernel;
use underpass_core::lock::Lock;
use underpass_core::wait::{Patience, Sleepers};
use underpass_shm::layout::lock::{LockWords, SLEEPERS};
use underpass_shm::sync::{AtomicU32, Ordering::AcqRel};

use crate::kernel::{Dies, ThreadKernel, World, explore, sure};

mod planted;

/// A lock that is in no object.
#[derive(Debug)]
struct Alone {
    lock: LockWords,
    baton: AtomicU32,
}

impl Sleepers for Alone {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        self.lock.word.fetch_and(!SLEEPERS, AcqRel);
        kernel.wake(&self.lock.word, u32::MAX);
    }
}

/// A counter that the lock protects; loom reports every access that it does not order.
struct Guarded {
    words: Alone,
    count: UnsafeCell<u32>,
}

// SAFETY: S3, loom's cell reports every access that is not exclusive.
unsafe impl Sync for Guarded {}
// SAFETY: S3.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self { words: Alone { lock: LockWords::new(), baton: AtomicU32::new(0) }, count: UnsafeCell::new(0) })
    }

    /// Counts once; true if the last owner died inside.
    fn raise(&self, kernel: &ThreadKernel) -> bool {
        let held = sure(Lock(&self.words.lock, &self.words).acquire(kernel, &Patience::new(), sure(kernel.me())));
        // SAFETY: S3, loom checks it.
        self.count.with_mut(|count| unsafe { *count += 1 });
        held.inherited
    }

    /// Takes the lock, counts, and dies.
    fn raise_and_die(&self, kernel: &ThreadKernel) {
        let _held = sure(Lock(&self.words.lock, &self.words).acquire(kernel, &Patience::new(), sure(kernel.me())));
        // SAFETY: S3, loom checks it.
        self.count.with_mut(|count| unsafe { *count += 1 });
        kernel.die();
    }

    fn count(&self) -> u32 {
        // SAFETY: S3, loom checks it.
        self.count.with(|count| unsafe { *count })
    }
}

#[test]
fn test_one_at_a_time() {
    explore(|| {
        let (world, guarded) = (World::new(), Guarded::new());
        let others = [1, 2].map(|life| {
            let guarded = guarded.clone();
            world.spawn(life, move |kernel| guarded.raise(kernel))
        });
        assert!(!world.run(3, |kernel| guarded.raise(kernel)));
        assert_eq!(others.map(|other| other.join()), [false, false]);
        assert_eq!(guarded.count(), 3);
    });
}

#[test]
fn test_survivors_take_over_from_the_dead() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        let dying = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise_and_die(kernel)
        });
        let other = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise(kernel)
        });
        let mine = world.run(3, |kernel| guarded.raise(kernel));
        assert_eq!(dying.end(), None);
        let told = u32::from(mine) + u32::from(other.join());
        // Told once, unless both had come and gone before.
        assert!(told <= 1);
        if told == 0 {
            assert!(world.run(4, |kernel| guarded.raise(kernel)));
        }
    });
}

#[test]
fn test_owner_dies_between_its_release_and_its_wake() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        let dying = world.spawn_dying(1, Dies::BeforeWake, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise(kernel)
        });
        let other = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise(kernel)
        });
        let told = u32::from(world.run(3, |kernel| guarded.raise(kernel))) + u32::from(other.join());
        dying.end();
        // It may also have died as soon as it had the lock: it owes a wake there, too.
        assert!(told == 0 && guarded.count() >= 2 || told == 1 && guarded.count() == 2);
    });
}

#[test]
fn test_woken_sleeper_dies_before_it_looks() {
    explore(|| {
        let (world, guarded) = (World::mortal(), Guarded::new());
        let dying = world.spawn_dying(1, Dies::AfterPark, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise(kernel)
        });
        let other = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise(kernel)
        });
        assert!(!world.run(3, |kernel| guarded.raise(kernel)));
        assert!(!other.join());
        let counted = dying.end().map_or(2, |_| 3);
        assert_eq!(guarded.count(), counted);
    });
}
