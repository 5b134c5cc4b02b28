//! What `dispatch` calls with a member, and which thread is about that.
//!
//! ```text
//!   UNREGISTERED ──add──▶ IDLE ──it becomes ready──▶ PENDING ──begin──┬─ persistent ─▶ WAITING ──end──▶ IDLE
//!                                                                     └─ once ───────▶ UNREGISTERED
//! ```
//! The states are those of Barrelfish's channels (`lib/barrelfish/waitset.c`). IDLE and PENDING differ by the set's look alone; WAITING, while
//! a call runs, is told by `Calls`. Invariant: a call begins under the lock of the set that the member is in, of a member that nobody
//! runs, and that nobody has run since it was found ready.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use super::WaitSet;
use super::awaited::Running;
use super::member::Member;

/// The handler of a member.
#[derive(Debug)]
pub struct Handler {
    pub function: Py<PyAny>,
    /// Its member stays one.
    pub persistent: bool,
    pub calls: Arc<Calls>,
}

impl Handler {
    pub fn new(function: Py<PyAny>, persistent: bool) -> Self {
        Self { function, persistent, calls: Arc::default() }
    }

    /// The same, of the same member in another set.
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { function: self.function.clone_ref(py), persistent: self.persistent, calls: self.calls.clone() }
    }
}

/// The calls of a handler. They go with the member into other sets.
#[derive(Debug, Default)]
pub struct Calls(Mutex<Progress>);

#[derive(Debug, Default)]
struct Progress {
    running: Option<Running>,
    ended: u32,
    /// Where the member has moved to during this call, and its key there.
    moved: Vec<(Py<WaitSet>, u64)>,
}

impl Calls {
    /// How many have ended.
    pub fn ended(&self) -> u32 {
        self.lock().ended
    }

    pub fn is_running(&self) -> bool {
        self.lock().running.is_some()
    }

    /// The one that runs.
    pub fn running(&self) -> Option<Running> {
        self.lock().running.clone()
    }

    /// Begins one, if none runs and none has ended since `ended` had.
    pub fn begin(&self, ended: u32) -> bool {
        let mut progress = self.lock();
        let can = progress.running.is_none() && progress.ended == ended;
        if can {
            progress.running = Some(Running::here());
        }
        can
    }

    /// Ends it; the sets that the member has moved to meanwhile.
    fn end(&self) -> Vec<(Py<WaitSet>, u64)> {
        let mut progress = self.lock();
        progress.running = None;
        progress.ended = progress.ended.wrapping_add(1);
        std::mem::take(&mut progress.moved)
    }

    /// The member is in that set from now on: the end of a call that runs is told there as well.
    pub fn move_to(&self, set: &Bound<'_, WaitSet>, key: u64) {
        let mut progress = self.lock();
        if progress.running.is_some() {
            progress.moved.push((set.clone().unbind(), key));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call of a handler that has begun.
#[derive(Debug)]
pub struct Call {
    pub key: u64,
    pub function: Py<PyAny>,
    pub calls: Arc<Calls>,
    /// What was the member, of a handler that is called once: dropped without the set's lock.
    pub left: Option<Member>,
}

impl Call {
    /// Ends it, whatever it came to, and tells those who may go on by that.
    pub fn end(self, py: Python<'_>, set: &WaitSet) {
        let moved = self.calls.end();
        set.call_ended(py, self.key);
        for (set, key) in moved {
            set.get().call_ended(py, key);
        }
        drop(self.left);
    }
}
