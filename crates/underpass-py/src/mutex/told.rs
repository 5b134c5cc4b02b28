//! What people are told of a mutex: in errors, in a repr, in its statistics.

use pyo3::prelude::*;
use underpass_core::Error;
use underpass_core::mutex::{Death, Holder};

use super::Mutex;
use crate::error::{self, Context, raise};
use crate::fairness;
use crate::peer::Peer;
use crate::site;
use crate::timeout::Timeout;
use crate::who;

const ADVICE: &str = "enter it with recovering(), repair, and go on";

/// A snapshot of a mutex.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct MutexStatistics {
    /// ``"free"``, ``"held"``, or ``"owner died"`` until somebody has repaired what it protects.
    state: &'static str,
    /// Its owner may acquire it again.
    recursive: bool,
    /// Who gets it when it is released while several wait.
    fairness: &'static str,
    /// Its owner has the priority of those who wait.
    inherit_priority: bool,
    /// Threads that sleep until they get it, wherever they are.
    waiters: usize,
    /// The thread that holds it, also one that has died; None while it is free.
    owner: Option<Peer>,
    /// Seconds for which that one has held it, or at least has; None if that is not known.
    held_for: Option<f64>,
    /// The line on which it was acquired, as ``"worker.py:31"``. It is known if somebody waited for the mutex then, or the
    /// owner's process runs with ``UNDERPASS_DEBUG=1``; otherwise None.
    line: Option<String>,
}

#[pymethods]
impl MutexStatistics {
    fn __repr__(&self) -> String {
        let Self { state, recursive, fairness, inherit_priority, waiters, .. } = self;
        let [recursive, inherits] = [*recursive, *inherit_priority].map(|it| if it { "True" } else { "False" });
        format!(
            "MutexStatistics(state='{state}', recursive={recursive}, fairness='{fairness}', inherit_priority={inherits}, waiters={waiters})"
        )
    }
}

impl Mutex {
    pub(super) fn snapshot(&self) -> MutexStatistics {
        // The scheduler's order is one of priority, too.
        let fairness = if self.inherits_priority() { 2 } else { self.handle.header.parameters[1] };
        let fairness = fairness::name(fairness);
        let (state, recursive, waiters) = (self.state(), self.is_recursive(), self.waiters());
        let owner = self.owned();
        MutexStatistics {
            state,
            recursive,
            fairness,
            inherit_priority: self.inherits_priority(),
            waiters,
            held_for: owner.as_ref().and_then(|owner| owner.held_for),
            line: owner.as_ref().and_then(|owner| owner.line.clone()),
            owner,
        }
    }

    /// Who has it, or had it when it died.
    pub fn owned(&self) -> Option<Peer> {
        let holder = self.holder()?;
        Some(Peer::owner(&self.handle, holder.thread, holder.pid, &who::tenure_of(&self.handle, &holder)))
    }

    /// Writes down where it was taken, if somebody waits who may ask.
    #[inline]
    pub(super) fn note(&self, py: Python<'_>) {
        if (self.core.has_sleepers() || site::wanted()) && !self.is_inner() {
            site::note(py, &self.handle);
        }
    }

    /// Forgets it: the next tenure may be one that nobody writes down.
    #[inline]
    pub(super) fn forget(&self) {
        if (self.core.has_sleepers() || site::wanted()) && !self.is_inner() {
            site::forget(&self.handle);
        }
    }

    /// It is held at more than one level: where the first was taken is what is told.
    fn is_inner(&self) -> bool {
        self.core.depth(self.handle.kernel()).is_ok_and(|depth| depth > 1)
    }

    #[cold]
    pub fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let detail = match (&error, self.holder()) {
            (Error::OwnerDied(_), _) => ADVICE.to_owned(),
            (Error::NotOwner, Some(holder)) if holder.dead => {
                let (who, fate) = who::late(&self.handle, holder.thread, holder.pid);
                format!("its owner, {who}, has {fate}: {ADVICE}")
            }
            (Error::NotOwner, Some(holder)) => format!(
                "it is held by {}, and this is {}: only its owner releases it",
                who::living(&self.handle, holder.thread, holder.pid),
                who::myself(&self.handle, holder.thread)
            ),
            (Error::NotOwner, None) => "nobody holds it: acquire it first".to_owned(),
            (_, Some(holder)) => self.describe(&holder),
            (_, None) => "it is free again by now".to_owned(),
        };
        let context = Context { object: &self.handle.title, failed, time: timeout.text(), detail };
        match error {
            Error::OwnerDied(death) => self.owner_died(py, &context, &death),
            error => raise(py, &context, error),
        }
    }

    pub(super) fn owner_died(&self, py: Python<'_>, context: &Context<'_>, death: &Death) -> PyErr {
        let (who, fate) = who::late(&self.handle, death.thread, death.pid);
        error::owner_died(py, context, death, &format!("{who}, {fate}"))
    }

    /// For statistics.
    pub fn state(&self) -> &'static str {
        match self.holder() {
            None => "free",
            Some(holder) if holder.dead => "owner died",
            Some(_) => "held",
        }
    }

    /// For a repr: who has it.
    pub fn told(&self) -> String {
        self.holder().map_or_else(|| "free".to_owned(), |holder| self.describe(&holder))
    }

    fn describe(&self, holder: &Holder) -> String {
        who::describe(&self.handle, "held", holder)
    }
}
