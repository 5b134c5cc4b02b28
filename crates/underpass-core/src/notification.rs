//! 64 flags: seL4's notification, Zephyr's `k_event`.
//!
//! Follows Zephyr's `k_event_wait_safe`: a post is broadcast to every waiter whose wish it fulfils, then what consumers
//! were given is cleared, in one step for everybody else.
//!
//! Invariant: while nobody holds the lock, no waiter's wish is fulfilled by `bits`: who comes later finds what nobody
//! waited for. A post has happened once `serving` is set; whoever inherits the lock ends it.

use underpass_shm::layout::notification::NotificationWords;
use underpass_shm::place::Placed;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::stay::Slotted;
use crate::wait::Sleepers;
use crate::waiters::{Room, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// In [`Wish::how`]: all of the flags, not any.
pub const ALL: u32 = 1;
/// In [`Wish::how`]: clear what was waited for.
pub const CONSUME: u32 = 2;

/// A handle of a notification.
#[derive(Debug, Clone)]
pub struct Notification {
    words: Placed<NotificationWords>,
    waiters: Waiters,
}

/// Which flags fulfil the wish, if they do.
fn matched(bits: u64, wish: Wish) -> Option<u64> {
    let found = bits & wish.value;
    let enough = if wish.how & ALL == 0 { found != 0 } else { found == wish.value };
    enough.then_some(found)
}

/// A slot in a word: 0 is none.
fn number(slot: Option<usize>) -> u32 {
    slot.map_or(0, |index| u32::try_from(index + 1).unwrap_or(u32::MAX))
}

/// What [`number`] has written.
fn index(number: u32) -> Option<usize> {
    (number as usize).checked_sub(1)
}

impl Notification {
    /// A handle over zeroed words, or those that others use.
    #[must_use]
    pub fn new(words: Placed<NotificationWords>, waiters: Waiters) -> Self {
        Self { words, waiters }
    }

    /// Sets `bits` beside those that are set; the flags before.
    #[inline]
    pub fn notify(&self, kernel: &dyn Kernel, bits: u64) -> Result<u64> {
        self.change(kernel, |before| before | bits)
    }

    /// Makes the flags in `mask` those of `bits`; the flags before.
    #[inline]
    pub fn set(&self, kernel: &dyn Kernel, bits: u64, mask: u64) -> Result<u64> {
        self.change(kernel, |before| before & !mask | bits & mask)
    }

    /// Clears flags; the flags before.
    #[inline]
    pub fn clear(&self, kernel: &dyn Kernel, bits: u64) -> Result<u64> {
        self.change(kernel, |before| before & !bits)
    }

    #[inline]
    fn change(&self, kernel: &dyn Kernel, change: impl FnOnce(u64) -> u64) -> Result<u64> {
        let _held = self.waiters.enter(kernel, self)?;
        let before = self.words.bits.load(Relaxed);
        self.post(kernel, change(before));
        Ok(before)
    }

    /// Waits until flags fulfil the wish; those flags.
    #[inline]
    pub fn wait(&self, kernel: &dyn Kernel, wish: Wish, deadline: Deadline) -> Result<u64> {
        if wish.value == 0 {
            return Ok(0);
        }
        if self.ready(wish) {
            // Who takes nothing away needs no lock.
            if wish.how & CONSUME == 0
                && let Some(found) = matched(self.words.bits.load(Acquire), wish)
            {
                return Ok(found);
            }
            let _held = self.waiters.enter(kernel, self)?;
            if let Some(found) = self.now(wish) {
                return Ok(found);
            }
        }
        if deadline == Deadline::NoWait && self.waiters.is_empty() {
            return Err(Error::WouldBlock);
        }
        self.waiters.wait(kernel, self, wish, deadline)
    }

    /// The flags that are set now.
    #[inline]
    #[must_use]
    pub fn bits(&self) -> u64 {
        let bits = self.words.bits.load(Acquire);
        if self.waiters.is_empty() {
            return bits;
        }
        let returned = self.waiters.returned().filter(|(wish, _)| wish.how & CONSUME != 0);
        returned.fold(bits, |bits, (_, given)| bits | given)
    }

    /// How many have a slot in which they wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }

    /// Makes `value` the flags, as those see them who wait; the lock is held.
    #[inline]
    fn post(&self, kernel: &dyn Kernel, value: u64) {
        if self.waiters.is_quiet() {
            self.words.bits.store(value, Release);
        } else {
            self.post_slow(kernel, value);
        }
    }

    #[cold]
    fn post_slow(&self, kernel: &dyn Kernel, value: u64) {
        let _owed = self.waiters.begin(kernel);
        self.begin(value, None);
        self.serve(kernel);
        self.waiters.settle(kernel, self);
    }

    /// `source`: the slot from which flags come back.
    fn begin(&self, value: u64, source: Option<usize>) {
        self.words.posted.store(value, Relaxed);
        self.words.taken.store(0, Relaxed);
        self.words.slot.store(0, Relaxed);
        self.words.source.store(number(source), Relaxed);
        self.words.serving.store(1, Release);
    }

    /// Gives each waiter what it wishes, if the post has it, and the rest to those who come later.
    fn serve(&self, kernel: &dyn Kernel) {
        let words = &*self.words;
        let (posted, mut taken) = (words.posted.load(Relaxed), words.taken.load(Relaxed));
        for (index, wish) in self.waiters.waiting() {
            let Some(found) = matched(posted, wish) else { continue };
            words.slot.store(number(Some(index)), Relaxed);
            if self.waiters.grant(index, found) && wish.how & CONSUME != 0 {
                taken |= found;
                words.taken.store(taken, Relaxed);
            }
        }
        words.bits.store(posted & !taken, Release);
        self.waiters.tell_heirs(kernel);
        self.waiters.open_door(kernel);
        if let Some(index) = index(words.source.load(Relaxed)) {
            self.waiters.dismiss(index);
        }
        words.serving.store(0, Release);
    }
}

impl Ready for Notification {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.waiters
    }

    /// A flag is set.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        if self.bits() != 0 {
            return Ok(true);
        }
        let Some(watch) = watch else { return Ok(false) };
        let _held = self.waiters.enter(kernel, self)?;
        self.waiters.reap(kernel, self);
        self.waiters.announce_onlooker(watch);
        Ok(self.words.bits.load(Relaxed) != 0)
    }
}

/// Some flags of a notification, as those see it who wait for them and for other things besides.
#[derive(Debug, Clone)]
pub struct Wished {
    /// Whose flags.
    pub notification: Notification,
    /// Which, and whether all of them.
    pub wish: Wish,
}

impl Ready for Wished {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.notification.waiters
    }

    /// The wish is fulfilled.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let Notification { words, waiters } = &self.notification;
        let is_fulfilled = |bits| matched(bits, self.wish).is_some();
        if is_fulfilled(self.notification.bits()) {
            return Ok(true);
        }
        let Some(watch) = watch else { return Ok(false) };
        let _held = waiters.enter(kernel, &self.notification)?;
        waiters.reap(kernel, &self.notification);
        waiters.announce_onlooker(watch);
        Ok(is_fulfilled(words.bits.load(Relaxed)))
    }
}

impl Room for Notification {
    fn ready(&self, wish: Wish) -> bool {
        matched(self.words.bits.load(Relaxed), wish).is_some()
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        let bits = self.words.bits.load(Relaxed);
        let found = matched(bits, wish)?;
        if wish.how & CONSUME != 0 {
            self.words.bits.store(bits & !found, Release);
        }
        Some(found)
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {
        // Flags change under the lock alone, and with a waiter in a slot only after `posts`.
    }

    fn mend(&self, kernel: &dyn Kernel) {
        let words = &*self.words;
        if words.serving.load(Acquire) == 0 {
            return;
        }
        let _owed = self.waiters.begin(kernel);
        // The one who was being served when the server died: did it get it?
        if let Some(index) = index(words.slot.load(Relaxed))
            && let Some(given) = self.waiters.was_given(index)
            && self.waiters.wish(index).how & CONSUME != 0
        {
            words.taken.store(words.taken.load(Relaxed) | given, Relaxed);
        }
        self.serve(kernel);
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64) {
        if self.waiters.wish(index).how & CONSUME != 0 {
            let _owed = self.waiters.begin(kernel);
            self.begin(self.words.bits.load(Relaxed) | given, Some(index));
            self.serve(kernel);
        }
    }
}

impl Slotted for Notification {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn is_torn(&self, _kernel: &dyn Kernel) -> bool {
        self.words.serving.load(Acquire) != 0
    }
}
