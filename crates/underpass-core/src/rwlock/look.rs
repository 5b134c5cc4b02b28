//! What is seen of a lock of readers and writers without holding it: all of it a peek, and not a promise.

use underpass_shm::layout::rwlock::{CLOSED, WRITER_DEAD};
use underpass_shm::life::{Life, Me};
use underpass_shm::sync::Ordering::Relaxed;

use super::line::{READ, owner_of};
use super::{Owner, Places, RWLock};
use crate::kernel::Kernel;
use crate::mutex::{Death, Holder};
use crate::site::{Site, Tenure};

impl RWLock {
    /// The last writer that died, as whoever found it wrote it down.
    pub(super) fn last_death(&self) -> Death {
        let held = self.words.held.load(Relaxed);
        let died = self.words.died.load(Relaxed);
        Death { thread: Life((died >> 32) as u32), pid: died as u32, held: (held != 0).then_some(held) }
    }

    /// How long the writer has held it, as far as waiters saw.
    pub(super) fn held(&self, kernel: &dyn Kernel) -> Option<u64> {
        let since = self.words.since.load(Relaxed);
        (since != 0).then(|| kernel.now().saturating_sub(since))
    }

    /// Somebody has waited since the writer came, or as it came.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.words.since.load(Relaxed) != 0
    }

    /// Who writes, or died while it wrote.
    #[must_use]
    pub fn writing(&self, kernel: &dyn Kernel) -> Option<Holder> {
        let thread = self.writer().thread;
        if thread == Life::NOBODY {
            return None;
        }
        if thread.0 == WRITER_DEAD {
            let Death { thread, pid, held } = self.last_death();
            return Some(Holder { thread, pid, held, dead: true });
        }
        let (pid, held) = (kernel.pid(thread), self.held(kernel));
        Some(Holder { thread, pid, held, dead: !kernel.alive(thread) })
    }

    /// Somebody waits, or whoever has the lock is about to look.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.words.gate.load(Relaxed) & CLOSED != 0
    }

    /// Who reads and lives, and what is known of since when: longest first.
    #[must_use]
    pub fn reading(&self, kernel: &dyn Kernel) -> Vec<(Owner, Tenure)> {
        let writer = self.writer();
        let lives = |(reader, _): &(Owner, Tenure)| *reader != writer && kernel.alive(reader.thread);
        let mut reading: Vec<_> = self.places.tenures().filter(lives).collect();
        reading.sort_by_key(|(_, tenure)| tenure.since.unwrap_or(u64::MAX));
        reading
    }

    /// Writes down where the caller's thread, or that task of it, came to read.
    pub fn note_reading(&self, me: Me, task: u32, site: &Site) {
        self.places.note(Owner::of(me, task), site);
    }

    /// The numbers by which that thread's tasks are known here: each that holds it, or waits in a slot.
    #[must_use]
    pub fn tasks_of(&self, thread: Life) -> Vec<u32> {
        let waiting = self.waiters.waiting().map(|(_, wish)| wish).chain(self.waiters.unsettled()).map(owner_of);
        let all = self.places.readers().chain([self.writer()]).chain(waiting);
        all.filter(|owner| owner.thread == thread).map(|owner| owner.task).collect()
    }

    /// Where readers are, the dead too.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// How many wait in a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }

    /// Nobody holds it, and nobody has died with it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.writer() == Owner::NOBODY && self.places.readers().next().is_none()
    }

    /// Who waits for its turn to write or to upgrade, longest first.
    #[must_use]
    pub fn first_writer(&self) -> Option<Owner> {
        let index = self.waiters.first_of(|wish| wish.how != READ)?;
        Some(owner_of(self.waiters.wish(index)))
    }
}
