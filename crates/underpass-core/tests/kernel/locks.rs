//! The end of a thread that holds a lock.

use underpass_core::kernel::Kernel;
use underpass_core::linux;
use underpass_core::lock::Lock;
use underpass_core::wait::{Patience, Sleepers};
use underpass_shm::layout::lock::LockWords;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::region::{Extent, Region};
use underpass_shm::sync::{AtomicU32, Ordering::SeqCst};

use crate::process::{Process, until};
use crate::world::{OFF, World};

/// A lock that is in no object.
#[derive(Debug)]
struct Alone {
    lock: Placed<LockWords>,
    baton: PlacedSlice<AtomicU32>,
}

impl Alone {
    fn new() -> Self {
        let region = Region::anonymous(Extent::whole(4096)).expect("a page");
        let lock = Placed::at(&region, 0).expect("a page holds a lock");
        Self { lock, baton: PlacedSlice::at(&region, 64, 1).expect("and a word") }
    }
}

impl Sleepers for Alone {
    fn baton(&self) -> &AtomicU32 {
        &self.baton[0]
    }

    fn recall(&self, kernel: &dyn Kernel) {
        kernel.wake(&self.lock.word, u32::MAX);
    }
}

fn hold_for_ever(world: &World, words: &Alone) {
    let me = world.kernel.me().expect("a place in the table");
    std::mem::forget(Lock(&words.lock, words).acquire(world.kernel, &Patience::new(), me).expect("it is free"));
}

/// Starts a process that sleeps until it gets the lock, and checks that the last owner died inside.
fn heir(world: &World, words: &Alone) -> Process {
    let process = Process::start(|| {
        linux::set_recheck(OFF);
        let me = world.kernel.me().expect("a place in the table");
        let held = Lock(&words.lock, words).acquire(world.kernel, &Patience::new(), me).expect("the owner dies");
        world.word(1).fetch_add(u32::from(held.inherited), SeqCst);
    });
    until("the heir sleeps", || process.is_parked());
    process
}

#[test]
fn test_thread_that_ends_holding_leaves_the_lock_to_a_sleeper() {
    let (world, words) = (World::new(), Alone::new());
    let owner = Process::start(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                hold_for_ever(&world, &words);
                world.announce();
                until("the test says go", || world.word(0).load(SeqCst) == 1);
            });
        });
        until("the test says end", || world.word(0).load(SeqCst) == 2);
    });
    let me = world.announced();
    let heir = heir(&world, &words);
    world.word(0).store(1, SeqCst);
    heir.join();
    assert_eq!(world.word(1).load(SeqCst), 1, "the heir knows that it inherited");
    assert!(!world.kernel.alive(me.thread), "the thread has ended");
    world.word(0).store(2, SeqCst);
    owner.join();
}

/// Several sleep behind a dead owner: the first inherits, and each release wakes the next.
#[test]
fn test_lock_of_a_killed_process_goes_through_all_sleepers() {
    let (world, words) = (World::new(), Alone::new());
    let (owner, _) = world.mortal(|| {
        hold_for_ever(&world, &words);
        world.word(0).store(1, SeqCst);
    });
    until("it holds the lock", || world.word(0).load(SeqCst) == 1);
    let heirs = [(); 5].map(|()| heir(&world, &words));
    owner.kill();
    heirs.into_iter().for_each(Process::join);
    assert_eq!(world.word(1).load(SeqCst), 1, "one of them inherited from the dead, the others from the living");
}

/// Every owner dies inside, and so does every heir.
#[test]
fn test_lock_survives_a_row_of_heirs_that_die_inside() {
    let (world, words) = (World::new(), Alone::new());
    for _ in 0..5 {
        let owner = Process::start(|| {
            hold_for_ever(&world, &words);
            crate::process::die();
        });
        owner.join_killed();
    }
    let heir = Process::start(|| {
        linux::set_recheck(OFF);
        let me = world.kernel.me().expect("a place in the table");
        assert!(
            Lock(&words.lock, &words).acquire(world.kernel, &Patience::new(), me).expect("the owner is dead").inherited
        );
    });
    heir.join();
}
