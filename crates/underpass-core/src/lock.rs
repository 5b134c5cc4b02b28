//! A lock: one word, owned by a thread. The one inside each object, and the ground of [`crate::mutex`].
//!
//! Drepper's third mutex ("Futexes are tricky", 2011) with the owner in the word and a life to watch.
//!
//! Invariant: a word that is not 0 names who has it; nobody but that thread gives it back, and from the dead it is taken
//! in one compare-and-swap, by somebody who is told. While others sleep, one of them watches the one who has it.

use underpass_shm::layout::lock::{LockWords, SLEEPERS};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::kernel::{Kernel, Owed, Watch};
use crate::planted::{Fault, planted};
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// What is said to a thread that would wait for itself.
pub const TWICE: &str = "this thread holds it already and would wait for itself: release it first";
/// What is said to a thread that would wait for tasks that it keeps from running.
pub const BEHIND_ITS_TASKS: &str = "a task of this thread's event loop holds it, or is before this thread, which it would \
                                    wait for: await the verb of its .aio";

/// What a user of locks adds to taking one.
pub trait Rules {
    /// What the wait is called, for those who look on.
    fn operation(&self) -> Operation;

    /// The word names somebody who is known to be dead. Ok: take it over.
    fn inherit(&self, dead: Life) -> Result<()>;

    /// True for what the word can name that is no thread, and stands for a dead one.
    fn is_dead(&self, _owner: Life) -> bool {
        false
    }

    /// This sleeper is the first of the owner's tenure.
    fn announced(&self) {}
}

/// The lock inside an object: whoever finds its owner dead goes on in its place.
struct Heir;

impl Rules for Heir {
    fn operation(&self) -> Operation {
        Operation::Lock
    }

    fn inherit(&self, _dead: Life) -> Result<()> {
        Ok(())
    }
}

/// A lock, and the sleepers of the object that it is in.
#[derive(Debug, Clone, Copy)]
pub struct Lock<'a>(pub &'a LockWords, pub &'a dyn Sleepers);

impl<'a> Lock<'a> {
    /// Takes the lock, waiting as long as its owner lives. `inherited` tells that the last owner died inside.
    #[inline]
    pub fn acquire(self, kernel: &'a dyn Kernel, patience: &Patience, me: Me) -> Result<Held<'a>> {
        let inherited =
            if self.try_take(me) { false } else { self.take(kernel, Deadline::Never, patience, me, &Heir)? };
        Ok(Held { lock: self, kernel, me, inherited })
    }

    /// Takes the lock if nobody has it: also not one who has died.
    #[inline]
    pub fn acquire_if_free(self, kernel: &'a dyn Kernel, me: Me) -> Option<Held<'a>> {
        self.try_take(me).then(|| Held { lock: self, kernel, me, inherited: false })
    }

    /// Takes it if it is free.
    #[inline]
    pub(crate) fn try_take(self, me: Me) -> bool {
        self.0.word.compare_exchange(0, me.thread.0, Acquire, Relaxed).is_ok()
    }

    /// Waits for it, and takes it; true if that was from the dead.
    #[cold]
    pub(crate) fn take(
        self,
        kernel: &dyn Kernel,
        deadline: Deadline,
        patience: &Patience,
        me: Me,
        rules: &impl Rules,
    ) -> Result<bool> {
        let ready = || {
            let owner = self.owner();
            owner == Life::NOBODY || rules.is_dead(owner)
        };
        let waiting = Waiting { sleepers: Some(self.1), deadline, patience, partner: 0, operation: rules.operation() };
        wait_until(kernel, waiting, ready, |watch, slept| {
            // To ask is a system call: not after a spin that has just seen it free.
            let ask = watch.is_some() || deadline == Deadline::NoWait;
            self.attempt(kernel, me, rules, watch, slept, ask)
        })
    }

    fn attempt(
        self,
        kernel: &dyn Kernel,
        me: Me,
        rules: &impl Rules,
        mut watch: Option<&mut Watch<'a>>,
        slept: bool,
        ask: bool,
    ) -> Result<Option<bool>> {
        loop {
            let word = self.0.word.load(Acquire);
            let owner = Life(word & !SLEEPERS);
            let dead = owner != Life::NOBODY && (rules.is_dead(owner) || ask && !kernel.alive(owner));
            if dead {
                rules.inherit(owner)?;
            }
            if dead || owner == Life::NOBODY {
                let kept = if slept || dead { SLEEPERS } else { word & SLEEPERS };
                if self.0.word.compare_exchange(word, me.thread.0 | kept, Acquire, Relaxed).is_ok() {
                    if (slept || dead) && !planted(Fault::KeptWatch) {
                        // The next sleeper still watches the last owner: it has to watch this one.
                        kernel.wake(&self.0.word, 1);
                    }
                    return Ok(Some(dead));
                }
                continue;
            }
            if owner == me.thread {
                return Err(Error::Misuse(TWICE.into()));
            }
            let Some(watch) = watch.as_deref_mut() else { return Ok(None) };
            if !self.announce(word, rules) {
                continue;
            }
            watch.word(&self.0.word, word | SLEEPERS);
            watch.life(owner);
            return Ok(None);
        }
    }

    /// Says whether the caller would not wait for it: it is free, its owner is dead, or it is the caller's own. With a watch
    /// list a caller that would wait is announced.
    pub(crate) fn is_free(
        self,
        kernel: &dyn Kernel,
        me: Me,
        rules: &impl Rules,
        mut watch: Option<&mut Watch<'a>>,
    ) -> bool {
        loop {
            let word = self.0.word.load(Acquire);
            let owner = Life(word & !SLEEPERS);
            if owner == Life::NOBODY || owner == me.thread || rules.is_dead(owner) || !kernel.alive(owner) {
                return true;
            }
            let Some(watch) = watch.as_deref_mut() else { return false };
            if self.announce(word, rules) {
                watch.word(&self.0.word, word | SLEEPERS);
                watch.life(owner);
                return false;
            }
        }
    }

    /// Says in the word that somebody sleeps; false: it is no longer that.
    fn announce(self, word: u32, rules: &impl Rules) -> bool {
        if word & SLEEPERS == 0 {
            if self.0.word.compare_exchange(word, word | SLEEPERS, Relaxed, Relaxed).is_err() {
                return false;
            }
            rules.announced();
        }
        true
    }

    /// Who has it: a peek, not a promise.
    #[must_use]
    pub fn owner(self) -> Life {
        Life(self.0.word.load(Acquire) & !SLEEPERS)
    }

    /// True when somebody holds it and has died: a peek, not a promise.
    #[must_use]
    pub fn owner_died(self, kernel: &dyn Kernel) -> bool {
        let owner = self.owner();
        owner != Life::NOBODY && !kernel.alive(owner)
    }

    /// Gives it back if the caller holds it and nobody sleeps.
    #[inline]
    pub(crate) fn try_give(self, me: Me) -> bool {
        self.0.word.compare_exchange(me.thread.0, 0, Release, Relaxed).is_ok()
    }

    /// The owner gives it back, or leaves something else in its place.
    #[cold]
    pub(crate) fn give(self, kernel: &dyn Kernel, left: Life) {
        let _owed = Owed::name(kernel, self.1.baton());
        if self.0.word.swap(left.0, AcqRel) & SLEEPERS != 0 {
            kernel.wake(&self.0.word, 1);
        }
    }
}

/// The lock, held; dropping it releases.
#[derive(Debug)]
pub struct Held<'a> {
    lock: Lock<'a>,
    kernel: &'a dyn Kernel,
    me: Me,
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
        if !self.lock.try_give(self.me) {
            self.lock.give(self.kernel, Life::NOBODY);
        }
    }
}
