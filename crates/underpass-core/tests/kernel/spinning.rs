//! Spinning is for those whose partner can run meanwhile.

use underpass_core::kernel::Kernel;

use crate::process::{Process, affinity, pin, until};
use crate::world::World;

/// A partner that is not known.
const ANYBODY: u64 = 0;

/// A role for a process of a machine that has two processors to spin on; elsewhere nothing happens.
fn with_two_processors(role: impl FnOnce(&World, &[usize])) {
    let world = World::new();
    let cpus = affinity(0);
    if cpus.len() < 2 || world.kernel.spin(ANYBODY) == 0 {
        eprintln!("skipped: the affinity or the quota of this process leaves one processor");
        return;
    }
    Process::start(|| role(&world, &cpus)).join();
}

#[test]
fn test_spin_is_off_with_one_processor_and_on_again_with_two() {
    with_two_processors(|world, cpus| {
        pin(0, &cpus[1..2]);
        until("the narrower affinity is noticed", || world.kernel.spin(ANYBODY) == 0);
        let in_a_new_thread = std::thread::scope(|scope| scope.spawn(|| world.kernel.spin(ANYBODY)).join());
        assert_eq!(in_a_new_thread.expect("it asked"), 0);
        pin(0, cpus);
        until("the wider affinity is noticed", || world.kernel.spin(ANYBODY) > 0);
    });
}

#[test]
fn test_spin_depends_on_where_the_partner_may_run() {
    with_two_processors(|world, cpus| {
        pin(0, &cpus[..1]);
        until("the narrower affinity is noticed", || world.kernel.spin(ANYBODY) == 0);
        let here = world.kernel.cpus();
        assert_eq!(world.kernel.spin(here), 0, "both on one processor: only one of them can run");
        assert!(world.kernel.spin(here.rotate_left(1)) > 0, "each on a processor of its own");
    });
}
