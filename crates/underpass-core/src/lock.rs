//! The lock inside an object: one word, owned by a thread, taken over from the dead.
//!
//! Drepper's third mutex ("Futexes are tricky", 2011) with the owner in the word and a life to watch.
//!
//! Invariant: a word that is not 0 names a thread; whoever finds that thread dead takes the word in one
//! compare-and-swap, and is told that the protected state may be half changed.

use underpass_shm::layout::lock::{LockWords, SLEEPERS};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use crate::kernel::{Kernel, Owed, Watch};
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Result};

/// A lock, and the sleepers of the object that it is in.
#[derive(Debug, Clone, Copy)]
pub struct Lock<'a>(pub &'a LockWords, pub &'a dyn Sleepers);

impl<'a> Lock<'a> {
    /// Takes the lock, waiting as long as its owner lives. `inherited` tells that the last owner died inside.
    #[inline]
    pub fn acquire(self, kernel: &'a dyn Kernel, patience: &Patience, me: Me) -> Result<Held<'a>> {
        let free = self.0.word.compare_exchange(0, me.thread.0, Acquire, Relaxed).is_ok();
        let inherited = if free { false } else { self.acquire_slow(kernel, patience, me)? };
        Ok(Held { lock: self, kernel, inherited })
    }

    #[cold]
    fn acquire_slow(self, kernel: &dyn Kernel, patience: &Patience, me: Me) -> Result<bool> {
        let ready = || self.0.word.load(Relaxed) & !SLEEPERS == 0;
        let waiting =
            Waiting { sleepers: self.1, deadline: Deadline::Never, patience, partner: 0, operation: Operation::Lock };
        wait_until(kernel, waiting, ready, |watch, slept| Ok(self.attempt(kernel, me, watch, slept)))
    }

    fn attempt(self, kernel: &dyn Kernel, me: Me, watch: Option<&mut Watch<'a>>, slept: bool) -> Option<bool> {
        let mut watch = watch;
        loop {
            let word = self.0.word.load(Relaxed);
            let owner = Life(word & !SLEEPERS);
            let dead = owner != Life::NOBODY && !kernel.alive(owner);
            if owner == Life::NOBODY || dead {
                let kept = if slept || dead { SLEEPERS } else { word & SLEEPERS };
                if self.0.word.compare_exchange(word, me.thread.0 | kept, Acquire, Relaxed).is_ok() {
                    if slept || dead {
                        // The next sleeper still watches the last owner: it has to watch this one.
                        kernel.wake(&self.0.word, 1);
                    }
                    return Some(dead);
                }
                continue;
            }
            let watch = watch.as_deref_mut()?;
            if word & SLEEPERS != 0 || self.0.word.compare_exchange(word, word | SLEEPERS, Relaxed, Relaxed).is_ok() {
                watch.word(&self.0.word, word | SLEEPERS);
                watch.life(owner);
                return None;
            }
        }
    }

    /// True when somebody holds it and has died: a peek, not a promise.
    #[must_use]
    pub fn owner_died(self, kernel: &dyn Kernel) -> bool {
        let owner = Life(self.0.word.load(Acquire) & !SLEEPERS);
        owner != Life::NOBODY && !kernel.alive(owner)
    }

    #[inline]
    fn release(self, kernel: &dyn Kernel) {
        let word = self.0.word.load(Relaxed);
        if word & SLEEPERS == 0 && self.0.word.compare_exchange(word, 0, AcqRel, Relaxed).is_ok() {
            return;
        }
        self.release_slow(kernel);
    }

    #[cold]
    fn release_slow(self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, self.1.baton());
        self.0.word.swap(0, AcqRel);
        kernel.wake(&self.0.word, 1);
    }
}

/// The lock, held; dropping it releases.
#[derive(Debug)]
pub struct Held<'a> {
    lock: Lock<'a>,
    kernel: &'a dyn Kernel,
    /// The last owner died inside: complete or undo what it began.
    pub inherited: bool,
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        // In loom's world a thread dies by unwinding, and the dead release nothing.
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        self.lock.release(self.kernel);
    }
}
