//! Calls of handlers: `dispatch`, `wait_for`, and the move of a member into another set.

use std::ptr;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use underpass_core::error::Phase;
use underpass_core::hearing::Verb;
use underpass_core::{Deadline, Error};

use super::super::waitable;
use super::awaited::{Awaited, Waits, Way};
use super::identity::Identity;
use super::lab::no_descriptors;
use super::{WaitSet, no_member};
use crate::error::plain;
use crate::kernel_lab;

impl WaitSet {
    /// Calls the handlers of those that are ready, of one at least: the number. With `awaited` until that one was handled, by whomever.
    pub(super) fn dispatch_until(
        &self,
        py: Python<'_>,
        name: &str,
        deadline: Deadline,
        awaited: Option<&Awaited>,
    ) -> PyResult<Result<usize, Error>> {
        let mut called = 0;
        loop {
            let found = match self.wait_until(py, name, deadline, Verb::Dispatch, awaited)? {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            for one in found {
                if awaited.is_some_and(Awaited::is_handled) {
                    break;
                }
                // Another thread, or an earlier handler, may have removed it, or have called its handler.
                let Some(call) = self.lock(py)?.begin(py, one.key, one.calls) else { continue };
                let outcome = call.function.call1(py, (one.what,));
                call.end(py, self);
                outcome?;
                called += 1;
            }
            match awaited {
                Some(awaited) if awaited.is_handled() => return Ok(Ok(called)),
                Some(awaited) if awaited.is_gone(&*self.lock(py)?) => {
                    let text =
                        "what was waited for is not in the set any more: it was removed, or moved to another one";
                    return Err(PyKeyError::new_err(text));
                }
                None if called > 0 => return Ok(Ok(called)),
                _ if deadline == Deadline::NoWait => return Ok(Err(Error::WouldBlock)),
                _ if deadline.time().is_some_and(|time| kernel_lab::now() >= time) => {
                    return Ok(Err(Error::TimedOut(Phase::Wait)));
                }
                _ => {}
            }
        }
    }

    /// Has this thread wait for the handler of a member, as long as what is returned lasts.
    pub(super) fn awaits(&self, py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<Waits> {
        let key = self.key_of(py, what)?.ok_or_else(|| no_member(what))?;
        let state = self.lock(py)?;
        let (is_member, calls) = (state.is_member(key), state.calls(key).cloned());
        drop(state);
        if !is_member {
            return Err(no_member(what));
        }
        let why = match calls.map(|calls| Waits::begin(Awaited::new(key, calls))) {
            Some(Ok(waits)) => return Ok(waits),
            None => "has no handler that could be waited for: add it with one, or use wait()",
            Some(Err(Way::Direct)) => "is handled by this very call: its handler would wait for itself",
            Some(Err(Way::Round)) => {
                "is handled by a call that waits for this one: both would wait for each other; let one of the handlers return first"
            }
        };
        Err(plain(py, "MisuseError", &format!("{what} {why}")))
    }

    /// Tells of the end of a handler's call. A child that was forked in the handler has no part in it.
    pub(super) fn call_ended(&self, py: Python<'_>, key: u64) {
        if !self.is_inherited() {
            self.whatever_state(py).call_ended(key);
        }
    }

    /// Moves a member: under the locks of both sets, so that nobody finds it in neither.
    pub(super) fn move_to(&self, py: Python<'_>, what: &Bound<'_, PyAny>, to: &Bound<'_, Self>) -> PyResult<()> {
        let key = self.key_of(py, what)?.ok_or_else(|| no_member(what))?;
        let there = to.get();
        drop(there.lock(py)?);
        if ptr::eq(self, there) {
            return Ok(());
        }
        if self.in_lab != there.in_lab {
            return Err(no_descriptors(py));
        }
        let (itself, identity) = self.lock(py)?.what(py, key).ok_or_else(|| no_member(what))?;
        let itself = itself.into_bound(py);
        there.check_member(&itself, identity)?;
        // In one order everywhere, so that two that move something towards each other do not wait for ever.
        let (mut mine, mut theirs);
        if ptr::from_ref(self).addr() < ptr::from_ref(there).addr() {
            mine = self.lock(py)?;
            theirs = there.lock(py)?;
        } else {
            theirs = there.lock(py)?;
            mine = self.lock(py)?;
        }
        let evicted = theirs.evict(&itself, identity);
        let moved = mine.move_to(py, key, to, &mut theirs, self.in_lab);
        drop((mine, theirs));
        drop(evicted);
        moved.map(drop).map_err(|refused| refused.raise(what))
    }

    /// Whether that may become a member, as far as only it can tell: this may run the program's code, a port's admission, or that of its
    /// other descriptors, and so is asked without the lock.
    pub(super) fn check_member(&self, what: &Bound<'_, PyAny>, identity: Identity) -> PyResult<()> {
        match (identity, self.in_lab) {
            (Identity::Descriptor(_), true) => Err(no_descriptors(what.py())),
            (Identity::Descriptor(_), false) => Ok(()),
            (Identity::Object(_), false) => waitable(what)?.0.check_look(what.py()),
            (Identity::Object(_), true) => {
                self.check_nesting(what)?;
                // A set, and what tells of new names, has no handle.
                waitable(what).map_or(Ok(()), |(handle, _)| handle.refuse_closed(what.py()))
            }
        }
    }
}
