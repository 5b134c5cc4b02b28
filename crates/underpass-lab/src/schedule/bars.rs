//! Standing back: who finds a lock taken, and waits for nothing else, has not come yet for all that others see.
//!
//! It is as if the step had been chosen later, so the partial-order reduction need not tell when it came: a lock that is taken
//! disables the step, as the literature has it. Only a death or a fault can tell the two apart, so with those nobody stands back.

use crate::choice::{Object, Pending};
use crate::record::{Manner, Thing};
use crate::schedule::{Next, Schedule};

impl Schedule {
    /// Who runs, and finds a lock taken, is to stand back from it.
    #[must_use]
    pub fn bars(&self) -> bool {
        self.bars && self.running.is_some()
    }

    /// The running task stands back from a lock until somebody [gives](Self::give) it; `pending` is what it does then.
    pub fn bar(&mut self, object: Object, pending: Pending) -> Next {
        if let Some(task) = self.running.filter(|_| !self.is_over()) {
            self.record.bar(object);
            self.world.set_pending(task, pending);
            self.world.bar(task, object);
        }
        self.advance()
    }

    /// The step that is under way waited for a lock, and takes it.
    pub fn take(&mut self, object: Object) {
        self.tie_lock(object, Manner::Take);
    }

    /// It takes one for which it would not have waited.
    pub fn grab(&mut self, object: Object) {
        self.tie_lock(object, Manner::Change);
    }

    /// It gives one back.
    pub fn give(&mut self, object: Object) {
        self.tie_lock(object, Manner::Give);
        self.world.unbar(|other| other == object);
    }

    fn tie_lock(&mut self, object: Object, manner: Manner) {
        if self.bars {
            self.tie(Thing::Lock(object), manner);
        }
    }
}
