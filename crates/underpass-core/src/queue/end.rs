//! The end of a queue: shut down, purged, drained.

use underpass_shm::layout::queue::{CLOSED, JOINERS};
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire};

use super::{Message, Queue};
use crate::kernel::{Kernel, Owed};
use crate::wait::{Waiting, wait_until};
use crate::{Deadline, Result};

impl Queue {
    /// Nothing can be put any more; getters drain what is there.
    pub fn shutdown(&self, kernel: &dyn Kernel) {
        let words = &self.room.words;
        let _owed = Owed::name(kernel, &words.baton);
        words.tail.word.fetch_or(CLOSED, AcqRel);
        words.freed.word.fetch_or(CLOSED, AcqRel);
        self.room.tell_all(kernel);
    }

    /// Throws away what is queued, and how much that was. Putters that wait leave with `Reset`.
    pub fn purge(&self, kernel: &dyn Kernel) -> Result<usize> {
        self.purge_after(kernel, |_| Ok(()))
    }

    /// The same after `look`, while nobody gets anything: at what is queued, by [`Self::all`].
    pub fn purge_after(&self, kernel: &dyn Kernel, look: impl FnOnce(u32) -> Result<()>) -> Result<usize> {
        let me = kernel.me()?;
        let _owed = Owed::name(kernel, &self.room.words.baton);
        {
            // Who has waited for room compares it with that side taken: it puts before, and its message goes too, or not at all.
            let _side = self.room.putters(kernel, &self.locking, me)?;
            self.room.words.purges.fetch_add(1, AcqRel);
        }
        let thrown = {
            let _side = self.room.getters(kernel, &self.locking, me)?;
            let depth = self.room.queued()?;
            look(depth)?;
            if depth > 0 {
                self.room.drop_front(kernel, depth);
            }
            depth
        };
        self.room.tell_putters(kernel, u32::MAX);
        Ok(thrown as usize)
    }

    /// The first `depth` messages, in no order: for those who keep getters away.
    pub fn all(&self, depth: u32) -> impl Iterator<Item = Result<Message<'_>>> {
        (0..depth).filter_map(|position| self.room.any(position).transpose()).map(|slot| self.message_in(slot?))
    }

    /// Throws away the first message, in the order in which they would be got, that has these bytes; false: none has.
    pub fn remove(&self, kernel: &dyn Kernel, data: &[u8]) -> Result<bool> {
        let _side = self.room.getters(kernel, &self.locking, kernel.me()?)?;
        self.room.remove(kernel, data)
    }

    /// How often it was purged.
    #[must_use]
    pub fn purges(&self) -> u32 {
        self.room.words.purges.load(Acquire)
    }

    /// True once the queue was shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.room.words.tail.word.load(Acquire) & CLOSED != 0
    }

    /// Waits until nothing is queued or leased.
    pub fn join(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let me = kernel.me()?;
        let words = &self.room.words;
        let ready = || self.room.drained();
        if ready() {
            return Ok(());
        }
        let waiting = Waiting {
            sleepers: Some(&**words),
            deadline,
            patience: &self.putting,
            partner: 0,
            operation: Operation::Join,
        };
        wait_until(kernel, waiting, ready, |watch, _| {
            if let Some(watch) = watch {
                self.room.announce_sleeper(watch, &words.freed, JOINERS);
                self.reap(kernel, me, |life| watch.life(life))?;
            }
            Ok(self.room.drained().then_some(()))
        })
    }
}
