//! The wake that survives the death of whoever owes it, and of whoever received it.

use underpass_core::Deadline;
use underpass_core::kernel::{Kernel, Owed};
use underpass_core::wait::Sleepers;
use underpass_shm::sync::Ordering::{AcqRel, SeqCst};

use crate::process::{Process, die, is_parked};
use crate::world::World;

#[test]
fn test_releaser_killed_between_its_store_and_its_wake_passes_the_wake_on() {
    let world = World::new();
    let taker = world.taker(|| {});
    let releaser = Process::start(|| {
        let _owed = Owed::name(world.kernel, world.baton());
        world.units().swap(1, AcqRel);
        die();
    });
    releaser.join_killed();
    taker.join();
    assert_eq!(world.units().load(SeqCst), 0, "the taker has the unit");
}

/// The same without a baton: what the test above would look like if the baton did nothing.
#[test]
fn test_releaser_without_a_baton_leaves_the_sleeper_asleep() {
    let world = World::new();
    let taker = world.taker(|| {});
    let releaser = Process::start(|| {
        world.units().swap(1, AcqRel);
        die();
    });
    releaser.join_killed();
    assert!(is_parked(taker.pid) && world.units().load(SeqCst) == 1, "asleep though a unit is free");
    world.kernel.wake(world.units(), 1);
    taker.join();
}

#[test]
fn test_wake_passes_through_a_row_of_sleepers_that_die_before_they_act() {
    let world = World::new();
    let mortals = [(); 8].map(|()| world.taker(|| die()));
    let last = world.taker(|| {});
    {
        let _owed = Owed::name(world.kernel, world.baton());
        world.units().swap(1, AcqRel);
        assert_eq!(world.kernel.wake(world.units(), 1), 1);
    }
    mortals.into_iter().for_each(Process::join_killed);
    last.join();
    assert_eq!(world.units().load(SeqCst), 0, "the last has the unit");
}

/// A sleeper of one object may work on another before it acts on its wake: the outer baton counts again afterwards.
#[test]
fn test_outer_baton_is_named_again_when_the_inner_is_done() {
    let world = World::new();
    let taker = world.taker(|| {});
    let releaser = Process::start(|| {
        let _outer = Owed::name(world.kernel, world.baton());
        drop(Owed::name(world.kernel, world.word(0)));
        world.units().swap(1, AcqRel);
        die();
    });
    releaser.join_killed();
    taker.join();
}

/// Who is not asleep names nothing, so a death outside of any operation touches no word.
#[test]
fn test_baton_is_forgotten_after_the_operation() {
    let world = World::new();
    world.units().store(1, SeqCst);
    world.take(Deadline::Never, || {}).expect("there is a unit");
    let before = world.kernel.name_baton(std::ptr::null());
    assert!(before.is_null(), "no baton is named between operations");
}
