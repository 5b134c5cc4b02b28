//! Those who wait and found no slot sleep at the door; those who look on sleep elsewhere. Both are told of every change.

use underpass_shm::layout::lock::{ONLOOKERS, SLEEPERS};
use underpass_shm::sync::Ordering::{AcqRel, Acquire};

use super::Waiters;
use crate::kernel::{Kernel, Watch};
use crate::planted::{Fault, planted};

impl Waiters {
    /// One who found no slot says that it sleeps for one; false if there is one by now. The lock is held.
    pub fn queue_at_door<'a>(&'a self, watch: &mut Watch<'a>) -> bool {
        let posts = self.words.posts.load(Acquire);
        // SYNC(waiters-2): pairs with the look in `open_door`: slots are left without the lock.
        let word = self.words.door.fetch_or(SLEEPERS, AcqRel) | SLEEPERS;
        if self.vacant().is_some() {
            return false;
        }
        watch.word(&self.words.door, word);
        watch.word(&self.words.posts, posts);
        self.watch_given(watch);
        true
    }

    /// One who waits for many objects says that it is told of every change here. The lock is held.
    pub fn announce_onlooker<'a>(&'a self, watch: &mut Watch<'a>) {
        let posts = self.words.posts.load(Acquire);
        let word = self.words.door.fetch_or(ONLOOKERS, AcqRel) | ONLOOKERS;
        watch.word(&self.words.door, word);
        watch.word(&self.words.posts, posts);
        self.watch_given(watch);
    }

    /// The same, where changes are made without the lock: whoever makes one from now on finds the onlooker, or is seen by it.
    pub fn announce_onlooker_of_changes<'a>(&'a self, watch: &mut Watch<'a>) {
        self.announce_onlooker(watch);
        // SYNC(waiters-1): pairs with `is_quiet_after_a_change`, of which this is ahead, or sees what was changed before.
        let _is_empty = self.is_empty_after_a_change();
    }

    /// Somebody looks on who was not told since.
    pub fn are_looked_on(&self) -> bool {
        self.words.door.load(Acquire) & ONLOOKERS != 0
    }

    /// Rings for those who look on, if there are any. The caller owes it: see [`Self::owe`].
    pub fn tell_onlookers(&self, kernel: &dyn Kernel) {
        if self.are_looked_on() && !planted(Fault::UntoldOnlooker) {
            self.open_door(kernel);
        }
    }

    /// Has those look again whom nobody else tells: who sleep for the lock or at the door, and who are about to sleep.
    pub fn recall_the_slotless(&self, kernel: &dyn Kernel) {
        self.words.posts.fetch_add(1, AcqRel);
        for word in [&self.words.door, &self.words.lock.word] {
            // Sleepers may be there though the bit is not: those that were to be told by another, who died.
            word.fetch_and(!SLEEPERS, AcqRel);
            // Who looks on is rung by this, too.
            kernel.wake(word, u32::MAX);
        }
    }

    /// Wakes those who found no slot, and rings for those who look on, if there are any.
    pub fn open_door(&self, kernel: &dyn Kernel) {
        // SYNC(waiters-2): pairs with the announcements in `announce` and `queue_at_door`.
        let mut word = self.words.door.fetch_or(0, AcqRel);
        while word & (SLEEPERS | ONLOOKERS) != 0 {
            let opened = word.wrapping_add(1) & !(SLEEPERS | ONLOOKERS);
            match self.words.door.compare_exchange(word, opened, AcqRel, Acquire) {
                Ok(_) => {
                    kernel.wake(&self.words.door, if word & SLEEPERS == 0 { 0 } else { u32::MAX });
                    return;
                }
                Err(other) => word = other,
            }
        }
    }
}
