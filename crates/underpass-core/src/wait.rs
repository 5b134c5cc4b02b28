//! The one way to wait: spin a little, announce, park, look again.
//!
//! Every object brings two closures. `ready` is a cheap look for the spin. `attempt` either finishes the operation, or
//! *announces* the sleeper, so that whoever makes it possible knows that a wake is owed, and fills in what to watch.
//!
//! Invariant: a sleeper that leaves, however it leaves, owes nobody a wake. After a success the object's attempt has
//! passed on what it did not use; after an error this function wakes the next sleeper of the baton; a park that expired
//! consumed no wake, and the last attempt after it announces the others again. One who is handed the baton makes all
//! others look too. One who was woken and leaves while it watches lives wakes the next, who watches them in its place.

use underpass_shm::operation::Operation;
use underpass_shm::sync::{AtomicU32, Ordering::Relaxed, spin_hint};

use crate::error::Phase;
use crate::kernel::{Kernel, Owed, Parked, Purpose, Watch};
use crate::{Deadline, Error, Result};

/// Turns between two looks at the clock while spinning.
const TURNS: u32 = 32;
/// A spin is never allowed less than this many nanoseconds, so that a partner that became quick is noticed.
const LEAST: u32 = 2_000;

/// How long spinning has paid at one place: doubled when it did, halved when it did not.
#[derive(Debug)]
pub struct Patience(AtomicU32);

impl Clone for Patience {
    /// One that has learned nothing yet.
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl Patience {
    /// Starts with the least.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU32::new(LEAST))
    }

    /// Forgets that spinning has not paid.
    pub fn renew(&self) {
        self.0.store(u32::MAX, Relaxed);
    }

    /// Spins until `ready` or as long as the kernel and experience allow.
    fn spin(&self, kernel: &dyn Kernel, partner: u64, mut ready: impl FnMut() -> bool) -> bool {
        let most = u32::try_from(kernel.spin(partner)).unwrap_or(u32::MAX);
        if most == 0 {
            return false;
        }
        let limit = self.0.load(Relaxed).clamp(LEAST.min(most), most);
        let mut end = None;
        loop {
            for _ in 0..TURNS {
                if ready() {
                    self.0.store(limit.saturating_mul(2).min(most), Relaxed);
                    return true;
                }
                spin_hint();
            }
            // A partner that answers within the first turns costs no look at the clock.
            let now = kernel.now();
            if now > *end.get_or_insert(now + u64::from(limit)) {
                self.0.store(limit / 2, Relaxed);
                return false;
            }
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

/// All who sleep on one object, on whichever of its words.
pub trait Sleepers: std::fmt::Debug {
    /// The word that is always 0, on which every one of them waits too.
    fn baton(&self) -> &AtomicU32;

    /// Makes every one of them look at the state again, also those who are about to sleep.
    fn recall(&self, kernel: &dyn Kernel);
}

/// How and how long an operation waits.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a, 'p> {
    /// Those who sleep on the same object; none: nobody else ever does, so nothing is passed on.
    pub sleepers: Option<&'a dyn Sleepers>,
    /// Until when.
    pub deadline: Deadline,
    /// What spinning has paid here.
    pub patience: &'p Patience,
    /// Which processors the partner may run on, as far as it is known: its [`Kernel::cpus`], or 0.
    pub partner: u64,
    /// What it is called, for those who look on.
    pub operation: Operation,
}

/// Waits until `attempt` succeeds. Without a watch list it only tries; with one it announces the sleeper and fills the
/// list in. Its second argument is true once the caller has slept.
#[cold]
pub fn wait_until<'a, T>(
    kernel: &dyn Kernel,
    waiting: Waiting<'a, '_>,
    ready: impl FnMut() -> bool,
    mut attempt: impl FnMut(Option<&mut Watch<'a>>, bool) -> Result<Option<T>>,
) -> Result<T> {
    if waiting.deadline == Deadline::NoWait {
        return attempt(None, false)?.ok_or(Error::WouldBlock);
    }
    if waiting.patience.spin(kernel, waiting.partner, ready)
        && let Some(done) = attempt(None, false)?
    {
        return Ok(done);
    }
    park_until(kernel, waiting, attempt)
}

/// The sleeping half.
#[cold]
fn park_until<'a, T>(
    kernel: &dyn Kernel,
    waiting: Waiting<'a, '_>,
    mut attempt: impl FnMut(Option<&mut Watch<'a>>, bool) -> Result<Option<T>>,
) -> Result<T> {
    let Waiting { sleepers, deadline, operation, .. } = waiting;
    let baton = sleepers.map(Sleepers::baton);
    let mut watch = Watch::new();
    watch.purpose = Some(Purpose::new(operation));
    let _owed = baton.map(|baton| Owed::name(kernel, baton));
    let mut slept = false;
    let mut expired = deadline.time().is_some_and(|time| kernel.now() >= time);
    loop {
        watch.clear();
        match attempt(Some(&mut watch), slept) {
            Ok(Some(done)) => return Ok(done),
            Ok(None) if expired => {
                hand_watch_on(kernel, &watch, slept);
                return Err(Error::TimedOut(Phase::Wait));
            }
            Ok(None) => {}
            Err(error) => {
                // The wake that ended the sleep may have been meant for somebody who can use it.
                if slept && let Some(baton) = baton {
                    kernel.wake(baton, 1);
                }
                return Err(error);
            }
        }
        match kernel.park(&watch, baton.as_slice(), deadline.time()) {
            Parked::Look => slept = true,
            Parked::Baton => {
                // Whoever died may have owed more wakes than this one. The others are woken by their words, so that
                // they do not recall each other for ever.
                slept = true;
                if let Some(sleepers) = sleepers {
                    sleepers.recall(kernel);
                }
            }
            Parked::Expired => expired = true,
            Parked::Interrupted => {
                hand_watch_on(kernel, &watch, slept);
                return Err(Error::Interrupted);
            }
        }
    }
}

/// A sleeper that was woken may have been told of a new life to watch in place of all others: if it leaves, another of
/// those that sleep where it slept has to look again.
fn hand_watch_on(kernel: &dyn Kernel, watch: &Watch<'_>, slept: bool) {
    if slept && !watch.lives().is_empty() {
        for (word, _) in watch.words() {
            kernel.wake(word, 1);
        }
    }
}
