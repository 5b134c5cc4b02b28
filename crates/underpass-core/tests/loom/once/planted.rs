//! The once, with one line to spoil.

use underpass_core::kernel::Kernel;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who has waited does not look again whether it is done.
    LooksOnce,
    /// The flag is read without order: what was made need not be seen.
    ReadsRelaxed,
    /// The flag is set before it is run.
    SetsFirst,
}

struct Spoiled {
    done: AtomicU32,
    turn: Mutex,
    value: UnsafeCell<u32>,
    mistake: Mistake,
}

// SAFETY: S3, loom's cell reports every access that is not exclusive.
unsafe impl Sync for Spoiled {}
// SAFETY: S3.
unsafe impl Send for Spoiled {}

impl Spoiled {
    fn is_done(&self) -> bool {
        let order = if self.mistake == Mistake::ReadsRelaxed { Relaxed } else { Acquire };
        self.done.load(order) != 0
    }

    fn call(&self, kernel: &dyn Kernel) -> u32 {
        if !self.is_done() {
            sure(self.turn.recover(kernel, Deadline::Never));
            if self.mistake == Mistake::LooksOnce || !self.is_done() {
                if self.mistake == Mistake::SetsFirst {
                    self.done.store(1, Release);
                }
                // SAFETY: S3, loom checks it.
                self.value.with_mut(|value| unsafe { *value += 1 });
                self.done.store(1, Release);
            }
            sure(self.turn.end_recovery(kernel, true));
        }
        // SAFETY: S3, loom checks it.
        self.value.with(|value| unsafe { *value })
    }
}

fn two_call(mistake: Mistake) {
    explore(move || {
        let turn = Mutex::new(Placed::own(MutexWords::new()), false);
        let spoiled = Spoiled { done: AtomicU32::new(0), turn, value: UnsafeCell::new(0), mistake };
        let (world, once) = (World::new(), Arc::new(spoiled));
        let other = world.spawn(1, {
            let once = once.clone();
            move |kernel| once.call(kernel)
        });
        let mine = world.run(2, |kernel| once.call(kernel));
        assert_eq!([mine, other.join()], [1, 1], "it ran once");
    });
}

#[test]
fn test_without_a_mistake() {
    two_call(Mistake::None);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_looks_once() {
    two_call(Mistake::LooksOnce);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_reads_relaxed() {
    two_call(Mistake::ReadsRelaxed);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_sets_first() {
    two_call(Mistake::SetsFirst);
}
