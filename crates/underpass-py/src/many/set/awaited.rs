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
        !state.is_member(self.key) && self.calls.running().is_none()
    }

    /// There is nothing more to wait for. Whoever makes it so has the sleepers of the set look.
    pub fn is_settled(&self, state: &State) -> bool {
        self.is_handled() || self.is_gone(state)
    }

    /// The same wait.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.calls, &other.calls) && (self.key, self.before) == (other.key, other.before)
    }

    /// The call without which it does not end.
    fn running(&self) -> Option<Running> {
        self.calls.running().filter(|_| !self.is_handled())
    }
}

/// A thread that calls handlers, as others see it.
#[derive(Debug, Default)]
pub struct Runner {
    /// For whose handlers it waits, the innermost last: in between it runs what it is given, which may wait in turn.
    waits_for: Mutex<Vec<Awaited>>,
}

thread_local! {
    static CURRENT: Arc<Runner> = Arc::default();
}

impl Runner {
    fn waits_for(&self) -> MutexGuard<'_, Vec<Awaited>> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that runs: of which thread, and how many waits that one was inside when it began.
#[derive(Debug, Clone)]
pub struct Running {
    runner: Arc<Runner>,
    depth: usize,
}

impl Running {
    /// One that the calling thread begins.
    pub fn here() -> Self {
        let runner = CURRENT.with(Clone::clone);
        let depth = runner.waits_for().len();
        Self { runner, depth }
    }

    /// What it waits for: not what was waited for around it, which ends after it.
    fn waits_for(&self) -> Vec<Awaited> {
        self.runner.waits_for().get(self.depth..).unwrap_or_default().to_vec()
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
}

impl Waits {
    /// Begins it, unless this thread would wait for itself.
    pub fn begin(awaited: Awaited) -> Result<Self, Way> {
        let me = CURRENT.with(Clone::clone);
        // Said before the look: of two threads that close a ring at once, one at least sees the other.
        me.waits_for().push(awaited.clone());
        let waits = Self { awaited, me };
        let (mut seen, mut way) = (Vec::new(), Way::Direct);
        let mut next = vec![waits.awaited.clone()];
        while let Some(awaited) = next.pop() {
            let of = Arc::as_ptr(&awaited.calls);
            let Some(running) = awaited.running().filter(|_| !seen.contains(&of)) else { continue };
            if Arc::ptr_eq(&running.runner, &waits.me) {
                return Err(way);
            }
            // A ring of others, which they will be told of, is gone round once.
            seen.push(of);
            next.extend(running.waits_for());
            way = Way::Round;
        }
        Ok(waits)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.me.waits_for().pop();
    }
}
