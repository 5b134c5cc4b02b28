//! Who waits for the handler of a member, and for whom that one waits in turn.
//!
//! A thread that waits here ends with a call of that handler; if one runs, with what its runner does, who may wait for another. Invariant: of
//! those who wait for calls that run none waits for itself in the end: who would close such a ring is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::handler::Calls;
use super::members::State;

/// The member whose handler somebody waits for.
#[derive(Debug, Clone)]
pub struct Awaited {
    key: u64,
    calls: Arc<Calls>,
    /// How many of its calls had ended before.
    before: u32,
}

impl Awaited {
    pub fn new(key: u64, calls: Arc<Calls>) -> Self {
        Self { key, before: calls.ended(), calls }
    }

    /// A call has ended since.
    pub fn is_handled(&self) -> bool {
        self.calls.ended() != self.before
    }

    /// It is no member any more, and nobody calls its handler.
    pub fn is_gone(&self, state: &State) -> bool {
        !state.is_member(self.key) && self.calls.runner().is_none()
    }

    /// There is nothing more to wait for. Whoever makes it so has the sleepers of the set look.
    pub fn is_settled(&self, state: &State) -> bool {
        self.is_handled() || self.is_gone(state)
    }

    /// The same wait.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.calls, &other.calls) && (self.key, self.before) == (other.key, other.before)
    }

    /// The thread without which it does not end.
    fn runner(&self) -> Option<Arc<Runner>> {
        self.calls.runner().filter(|_| !self.is_handled())
    }
}

/// A thread that calls handlers, as others see it.
#[derive(Debug, Default)]
pub struct Runner {
    /// For whose handler it waits, at its innermost.
    waits_for: Mutex<Option<Awaited>>,
}

thread_local! {
    static CURRENT: Arc<Runner> = Arc::default();
}

impl Runner {
    /// The calling thread.
    pub fn current() -> Arc<Self> {
        CURRENT.with(Clone::clone)
    }

    fn waits_for(&self) -> MutexGuard<'_, Option<Awaited>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a thread would wait for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is inside that call.
    Direct,
    /// It is inside a call for which that call waits, or another in between.
    Round,
}

/// A wait of this thread for the handler of a member.
#[derive(Debug)]
pub struct Waits {
    pub awaited: Awaited,
    me: Arc<Runner>,
    /// For what this thread waits around it.
    around: Option<Awaited>,
}

impl Waits {
    /// Begins it, unless this thread would wait for itself.
    pub fn begin(awaited: Awaited) -> Result<Self, Way> {
        let me = Runner::current();
        // Said before the look: of two threads that close a ring at once, one at least sees the other.
        let around = me.waits_for().replace(awaited.clone());
        let waits = Self { awaited, me, around };
        let (mut next, mut way) = (waits.awaited.runner(), Way::Direct);
        while let Some(runner) = next {
            if Arc::ptr_eq(&runner, &waits.me) {
                return Err(way);
            }
            let further = runner.waits_for().clone();
            (next, way) = (further.and_then(|awaited| awaited.runner()), Way::Round);
        }
        Ok(waits)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        *self.me.waits_for() = self.around.take();
    }
}
