//! What a member of a wait set is known by.

use std::os::fd::RawFd;

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::super::waitable;
use super::WaitSet;
use crate::news::News;
use crate::object::SharedObject;

/// What a member is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// By the address of what was given.
    Object(usize),
    Descriptor(RawFd),
}

impl Identity {
    /// Of something that can be waited for.
    pub fn of(py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<Self> {
        let refused = match waitable(what) {
            Ok(_) => return Ok(Self::itself(what)),
            Err(error) if what.is_instance_of::<SharedObject>() => return Err(error),
            Err(error) => error,
        };
        if is_simulated(what) || News::in_lab(what).is_some() {
            return Ok(Self::itself(what));
        }
        if let Ok(number) = what.extract::<i64>() {
            return Self::numbered(what, number);
        }
        // A class has the method, and no descriptor.
        if what.is_instance_of::<PyType>() {
            return Err(refused);
        }
        let fileno = what.getattr_opt(intern!(py, "fileno"))?.ok_or(refused)?;
        Self::numbered(what, fileno.call0()?.extract()?)
    }

    /// The same; none of what cannot be waited for, or not any more. What else its ``fileno()`` raises is raised.
    pub fn if_any(py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        match Self::of(py, what) {
            Ok(identity) => Ok(Some(identity)),
            Err(_) if what.is_instance_of::<SharedObject>() => Ok(None),
            Err(error) => {
                let is_none = error.is_instance_of::<PyTypeError>(py)
                    || error.is_instance_of::<PyValueError>(py)
                    || error.is_instance_of::<PyOSError>(py);
                if is_none { Ok(None) } else { Err(error) }
            }
        }
    }

    /// What has the descriptor of that number; -1 is how a closed one tells.
    fn numbered(what: &Bound<'_, PyAny>, number: i64) -> PyResult<Self> {
        let known = RawFd::try_from(number).ok().filter(|number| *number >= 0);
        let refused = || {
            PyValueError::new_err(format!(
                "{what} has no descriptor that could be waited for, its number is {number}: it was closed; open it anew"
            ))
        };
        known.map(Self::Descriptor).ok_or_else(refused)
    }

    /// What was given, whatever it is.
    pub fn itself(what: &Bound<'_, PyAny>) -> Self {
        Self::Object(what.as_ptr().addr())
    }
}

/// It was made in the lab, and is a member of others there without a descriptor; not once it was closed.
fn is_simulated(what: &Bound<'_, PyAny>) -> bool {
    what.cast::<WaitSet>().is_ok_and(|set| set.get().in_lab && !set.get().whatever_state(what.py()).is_closed())
}
