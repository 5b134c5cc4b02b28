//! The doorbell: how a client that has posted finds out whether the server sleeps.
//!
//! Dekker's handshake: the client posts and then looks at the bell, the server announces at the bell and then looks at
//! the posts, each with a full fence in between, so at least one sees the other.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::port::PortWords;
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{AcqRel, Relaxed, SeqCst},
    fence,
};

use crate::kernel::{Kernel, Owed};
use crate::wait::Sleepers;

/// Says that the server is about to sleep, and what the bell must be while it does. What is posted after this rings.
#[must_use]
pub fn announce(words: &PortWords) -> u32 {
    let word = words.doorbell.fetch_or(SLEEPERS, SeqCst) | SLEEPERS;
    // SYNC(port-1): pairs with `ring`.
    fence(SeqCst);
    word
}

/// Wakes the server if it sleeps: after a post. True if it did.
#[inline]
pub fn ring(kernel: &dyn Kernel, words: &PortWords) -> bool {
    // SYNC(port-1): pairs with `announce`.
    fence(SeqCst);
    ring_after_fence(kernel, words)
}

/// As [`ring`], by a caller that has just had a full fence.
#[inline]
pub fn ring_after_fence(kernel: &dyn Kernel, words: &PortWords) -> bool {
    let asleep = words.doorbell.load(Relaxed) & SLEEPERS != 0;
    if asleep {
        ring_slow(kernel, words);
    }
    asleep
}

#[cold]
fn ring_slow(kernel: &dyn Kernel, words: &PortWords) {
    let _owed = Owed::name(kernel, &words.baton);
    let mut word = words.doorbell.load(Relaxed);
    while word & SLEEPERS != 0 {
        let rung = (word & !SLEEPERS).wrapping_add(1) & !SLEEPERS;
        match words.doorbell.compare_exchange(word, rung, AcqRel, Relaxed) {
            Ok(_) => {
                kernel.wake(&words.doorbell, 1);
                return;
            }
            Err(other) => word = other,
        }
    }
}

/// Wakes `count` receivers: more is there than one of them can take, or nothing will come any more.
pub fn tell(kernel: &dyn Kernel, words: &PortWords, count: u32) {
    let _owed = Owed::name(kernel, &words.baton);
    let mut word = words.doorbell.load(Relaxed);
    while let Err(other) =
        words.doorbell.compare_exchange(word, (word & !SLEEPERS).wrapping_add(1) & !SLEEPERS, AcqRel, Relaxed)
    {
        word = other;
    }
    kernel.wake(&words.doorbell, count);
}

impl Sleepers for PortWords {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        tell(kernel, self, u32::MAX);
    }
}
