//! The waits of a set: what is heard, looked at and learned, and how long that takes.

use pyo3::prelude::*;
use underpass_core::error::Phase;
use underpass_core::hearing::{Heard, Verb};
use underpass_core::kernel::Purpose;
use underpass_core::linux::{self, StillWaiting};
use underpass_core::{Deadline, Error};
use underpass_shm::clock;
use underpass_shm::operation::Operation;
use underpass_shm::poller::Polled;

use super::super::NAMED;
use super::awaited::Awaited;
use super::member::Found;
use super::{WaitSet, closed};
use crate::error::{Context, from_shm, raise};
use crate::event_loop;
use crate::timeout::Timeout;
use crate::waits;

impl WaitSet {
    pub(super) fn found(&self, py: Python<'_>, name: &str, timeout: Timeout) -> PyResult<Found> {
        let subject = || (self.describe(py, name), "not ready");
        within(py, name, timeout, subject, |deadline| self.wait_until(py, name, deadline, Verb::Wait, None))
    }

    /// What is waited for by that name: its first members, for errors.
    pub(super) fn describe(&self, py: Python<'_>, name: &str) -> String {
        let (count, first) = {
            let state = self.whatever_state(py);
            (state.len(), state.first(py, NAMED))
        };
        let named = first.iter().map(|what| what.bind(py).to_string()).collect::<Vec<_>>().join(", ");
        let members = match count {
            0 => "it has none".into(),
            _ if count > NAMED => format!("{named} and {} more", count - NAMED),
            _ => named,
        };
        if name == "wait_any" { format!("any of {members}") } else { format!("any member of the wait set ({members})") }
    }

    /// Says that this wait is a long one, if it is time for that, and until when it may be silent.
    fn warn(&self, py: Python<'_>, name: &str, purpose: &Purpose) -> PyResult<u64> {
        let now = clock::monotonic();
        if purpose.since.get() == 0 {
            event_loop::warn(py, name, || self.describe(py, name))?;
            purpose.since.set(now);
        }
        let mut logged = Ok(());
        let still_waiting = || {
            let (object, waited) = (self.describe(py, name).into(), now.saturating_sub(purpose.since.get()));
            logged = waits::log(py, &StillWaiting { object, verb: name, waited, holders: Vec::new() });
            logged.is_err()
        };
        let silent_until = linux::warn(purpose, now, still_waiting);
        logged.map(|()| silent_until.unwrap_or(u64::MAX))
    }

    /// One look, which empties the descriptors only if it may find nothing: they are readable again while something is ready, and who
    /// is woken by a ring need not read first.
    pub(super) fn look(&self, py: Python<'_>, everything: bool) -> PyResult<Found> {
        loop {
            let mut state = self.lock(py)?;
            let glances = !everything && state.glances(py)?;
            let candidates = if glances { state.glance(py)? } else { state.hear_now(py, everything)? };
            drop(state);
            let looked = candidates.look(py);
            let found = self.whatever_state(py).learn(py, Verb::Wait, &candidates, looked)?;
            if !glances || !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// The members that are ready for that, one at least; perhaps none once what is `awaited` is settled.
    pub(super) fn wait_until(
        &self,
        py: Python<'_>,
        name: &str,
        deadline: Deadline,
        verb: Verb,
        awaited: Option<&Awaited>,
    ) -> PyResult<Result<Found, Error>> {
        if self.in_lab {
            return self.wait_in_lab(py, name, deadline, verb);
        }
        let purpose = Purpose::new(Operation::Any);
        let mut heard = Heard::nothing();
        let mut until = 0;
        let mut news = 0;
        let mut expired = deadline == Deadline::NoWait;
        loop {
            let mut state = self.lock(py)?;
            let known = if until == 0 { state.known(py)? } else { None };
            // What others have found, or added, since this one heard is not told again; nor is the end of what it waits for.
            let is_settled = awaited.is_some_and(|awaited| awaited.is_settled(&state));
            let sleeps = until != 0 && news == state.news(verb) && !is_settled;
            let poller = state.asleep(py, verb, awaited)?;
            drop(state);
            let woken = match known {
                Some(keys) => Ok(Polled::Keys(keys)),
                None if !sleeps => poller.wait(0),
                None => py.detach(|| poller.wait(until)),
            };
            let mut state = self.whatever_state(py);
            state.awake(verb, awaited);
            if state.is_closed() {
                return Err(closed(py));
            }
            let told = match woken.map_err(|error| from_shm(py, error))? {
                Polled::Keys(keys) => keys,
                Polled::Interrupted => {
                    drop(state);
                    py.check_signals()?;
                    continue;
                }
            };
            // Nobody has told anything for long: somebody may have died unseen.
            heard.all |= sleeps && told.is_empty();
            let candidates = state.hear(py, verb, &told, &mut heard)?;
            news = state.news(verb);
            drop(state);
            let looked = candidates.look(py);
            let mut state = self.whatever_state(py);
            let found = state.learn(py, verb, &candidates, looked)?;
            let is_settled = awaited.is_some_and(|awaited| awaited.is_settled(&state));
            drop(state);
            if is_settled || !found.is_empty() {
                return Ok(Ok(found));
            }
            if expired {
                return Ok(Err(if deadline == Deadline::NoWait {
                    Error::WouldBlock
                } else {
                    Error::TimedOut(Phase::Wait)
                }));
            }
            let silent_until = self.warn(py, name, &purpose)?;
            let recheck = clock::monotonic().saturating_add(linux::recheck()).min(silent_until);
            until = deadline.time().map_or(recheck, |time| time.min(recheck));
            expired = deadline.time().is_some_and(|time| clock::monotonic() >= time);
        }
    }
}

/// What a wait of that name comes to within its time-out. `subject` is what its error names, and what became of it.
pub(super) fn within<T>(
    py: Python<'_>,
    name: &str,
    timeout: Timeout,
    subject: impl FnOnce() -> (String, &'static str),
    wait: impl FnOnce(Deadline) -> PyResult<Result<T, Error>>,
) -> PyResult<T> {
    let waited = match timeout.deadline(name) {
        Ok(deadline) => wait(deadline)?,
        Err(error) => Err(error),
    };
    timeout.judge(waited).map_err(|error| {
        let (object, failed) = subject();
        raise(py, &Context { object: &object, failed, time: timeout.text(), detail: String::new() }, error)
    })
}
