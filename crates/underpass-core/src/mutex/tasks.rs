//! A mutex that is handed over, as tasks wait for it: each in a slot, as a thread that waits, and handed it in its turn.
//!
//! The word knows the thread. Which of its tasks holds the mutex is known where they run: there a task that holds it already
//! is not let here.
//!
//! Invariant: of the tasks of a thread at most one is in the word or on its way; what one returns is nobody's until it was
//! taken back, so that it is not taken from another of them.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::mutex::OWNER_DEAD;
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::Acquire;

use super::fair::{ACQUIRES, Fair, LEFT, Line, NEWS, RECOVERS};
use super::{Death, Mutex, Way};
use crate::kernel::{Kernel, Watch};
use crate::stay::{AsRoom, Slotted};
use crate::waiters::{Waiters, Wish};
use crate::{Error, Result};

/// What tasks wait for.
#[derive(Debug, Clone)]
pub struct InLine {
    mutex: Mutex,
    fair: Fair,
}

impl Mutex {
    /// Itself, as tasks wait for it; none if it is not handed over.
    #[must_use]
    pub fn in_line(&self) -> Option<InLine> {
        match &self.way {
            Way::Fair(fair) => Some(InLine { mutex: self.clone(), fair: fair.clone() }),
            Way::Barging(_) | Way::Lending => None,
        }
    }
}

impl InLine {
    /// That of a task that takes it from the living only, or also from the dead.
    #[must_use]
    pub fn wish(recovers: bool) -> Wish {
        Wish { value: 0, how: if recovers { RECOVERS } else { ACQUIRES } }
    }

    /// What a task has that was given that: the mutex, and who has died with it.
    pub fn judge(&self, given: u64) -> Result<Option<Death>> {
        match given {
            NEWS => Err(Error::OwnerDied(self.mutex.last_death())),
            given => Ok((given == LEFT).then(|| self.mutex.last_death())),
        }
    }
}

impl AsRoom for InLine {
    type Room<'r> = Line<'r>;

    fn room<'r>(&'r self, kernel: &'r dyn Kernel) -> Result<Line<'r>> {
        Ok(self.fair.line(&self.mutex, kernel, kernel.me()?))
    }

    fn watch_for<'a>(&'a self, _wish: Wish, watch: &mut Watch<'a>) {
        self.fair.watch_owner(&self.mutex, watch);
    }
}

impl Slotted for InLine {
    fn waiters(&self) -> &Waiters {
        self.fair.waiters()
    }

    /// Nobody comes who hands it over: it was given back, or its owner has died.
    fn is_torn(&self, kernel: &dyn Kernel) -> bool {
        let word = self.mutex.words.lock.word.load(Acquire);
        let owner = Life(word & !SLEEPERS);
        let is_left = owner == Life::NOBODY || owner.0 == OWNER_DEAD || !kernel.alive(owner);
        word != 0 && is_left && !self.fair.is_on_its_way()
    }

    fn came(&self, kernel: &dyn Kernel, given: u64) {
        if given != NEWS {
            self.fair.came(kernel);
            self.mutex.entered(kernel, given == LEFT);
        }
    }
}
