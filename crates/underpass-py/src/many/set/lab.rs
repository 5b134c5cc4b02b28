//! A wait set of the lab, which has no descriptors: each wait is one for objects.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use underpass_core::error::Phase;
use underpass_core::hearing::Verb;
use underpass_core::kernel::{Kernel as _, Parked, Watch};
use underpass_core::many::Enough;
use underpass_core::{Deadline, Error};
use underpass_shm::operation::Operation;

use super::super::Party;
use super::WaitSet;
use super::member::Found;
use crate::error::plain;
use crate::kernel_lab;

impl WaitSet {
    pub(super) fn wait_in_lab(
        &self,
        py: Python<'_>,
        name: &str,
        deadline: Deadline,
        verb: Verb,
    ) -> PyResult<Result<Found, Error>> {
        let all = self.lock(py)?.all(py, verb);
        let mut objects = Vec::with_capacity(all.len());
        let mut members = Vec::with_capacity(all.len());
        for (member, one) in all.iter().enumerate() {
            spread(one.what.bind(py), &mut objects);
            members.resize(objects.len(), member);
        }
        if objects.is_empty() {
            return sleep_in_lab(py, name, deadline).map(Err);
        }
        let party = Party::of_members(py, &objects)?;
        Ok(party.wait_until(Operation::Any, Enough::Any, deadline).map(|ready| {
            let mut found: Vec<usize> = ready.into_iter().map(|object| members[object]).collect();
            found.dedup();
            found.into_iter().map(|member| all[member].clone_ref(py)).collect()
        }))
    }

    /// A set of the lab is a member of another as long as that is not a member of it.
    pub(super) fn check_nesting(&self, what: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(set) = what.cast::<Self>() else { return Ok(()) };
        if std::ptr::eq(set.get(), self) {
            let text = format!("{what} cannot be a member of itself, nor of one of its members");
            return Err(PyOSError::new_err(text));
        }
        let inside = set.get().whatever_state(what.py()).all(what.py(), Verb::Wait);
        inside.iter().try_for_each(|one| self.check_nesting(one.what.bind(what.py())))
    }
}

/// Adds what a member of a set of the lab waits for: itself, or all that a set inside does, as a descriptor of its would tell.
fn spread<'py>(what: &Bound<'py, PyAny>, objects: &mut Vec<Bound<'py, PyAny>>) {
    let Ok(set) = what.cast::<WaitSet>() else { return objects.push(what.clone()) };
    for member in set.get().whatever_state(what.py()).all(what.py(), Verb::Wait) {
        spread(member.what.bind(what.py()), objects);
    }
}

/// A wait of the lab for nothing but its time-out; what it ends with.
fn sleep_in_lab(py: Python<'_>, name: &str, deadline: Deadline) -> PyResult<Error> {
    if deadline == Deadline::NoWait {
        return Ok(Error::WouldBlock);
    }
    let lab = kernel_lab::current()
        .ok_or_else(|| plain(py, "MisuseError", &format!("{name}: no program of the lab runs")))?;
    let until = deadline.time();
    while until.is_none_or(|time| lab.now() < time) {
        match lab.park(&Watch::new(), &[], until) {
            Parked::Expired => break,
            Parked::Interrupted => return Ok(Error::Interrupted),
            Parked::Look | Parked::Baton => {}
        }
    }
    Ok(Error::TimedOut(Phase::Wait))
}

pub fn no_descriptors(py: Python<'_>) -> PyErr {
    let text = "this wait set was made in the lab, which has no descriptors: wait for objects there; coroutines run in a process whose function is an async def, or by lab.run()";
    plain(py, "MisuseError", text)
}
