//! A member of a wait set: what it is, and where it is heard of.

use std::os::fd::RawFd;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::hearing::Verb;
use underpass_shm::layout::bell::WatchersWords;
use underpass_shm::place::Placed;

use super::handler::Handler;
use super::identity::Identity;
use super::no_member;

#[derive(Debug)]
pub struct Member {
    pub identity: Identity,
    pub what: Py<PyAny>,
    pub handler: Option<Handler>,
    pub source: Source,
}

/// Where it is heard that a member may be ready.
#[derive(Debug)]
pub enum Source {
    Object {
        watchers: Placed<WatchersWords>,
        place: usize,
        bell: usize,
        mark: u64,
    },
    Descriptor(RawFd),
    /// The lab's, where every look is at all.
    Simulated,
}

/// Why something does not become a member.
#[derive(Debug)]
pub enum Refused {
    /// It is one.
    Known,
    /// A plain file is always ready.
    PlainFile,
    /// The set itself has that descriptor.
    ItsOwn,
    /// It is no member any more of the set that it was to be moved from.
    Gone,
    /// Its descriptor was closed since.
    Closed,
    Because(PyErr),
}

impl Refused {
    /// The error of what was given.
    pub fn raise(self, what: &Bound<'_, PyAny>) -> PyErr {
        match self {
            Self::Known => PyValueError::new_err(format!("{what} is in the set already")),
            Self::PlainFile => PyValueError::new_err(format!(
                "{what} is a plain file, which is always ready, or a directory or device like /dev/null, of which epoll tells nothing: \
                 read it without waiting"
            )),
            Self::ItsOwn => PyValueError::new_err(format!(
                "{what} cannot be a member: its number is the set's own by now; what had it was closed, open it anew"
            )),
            Self::Gone => no_member(what),
            Self::Closed => PyValueError::new_err(format!(
                "{what} cannot be moved: its descriptor was closed since it was added; remove it, and open it anew"
            )),
            Self::Because(error) => error,
        }
    }
}

impl From<PyErr> for Refused {
    fn from(error: PyErr) -> Self {
        Self::Because(error)
    }
}

/// Members that are ready.
pub type Found = Vec<FoundMember>;

/// A member that was found ready, as it was then.
#[derive(Debug)]
pub struct FoundMember {
    pub key: u64,
    pub what: Py<PyAny>,
    /// How many calls of its handler had ended before the look.
    pub calls: u32,
}

impl FoundMember {
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { key: self.key, what: self.what.clone_ref(py), calls: self.calls }
    }
}

impl Member {
    /// As found by a look before which so many calls had ended.
    pub fn found(&self, py: Python<'_>, key: u64, calls: u32) -> FoundMember {
        FoundMember { key, what: self.what.clone_ref(py), calls }
    }

    /// How many calls of its handler have ended.
    pub fn calls(&self) -> u32 {
        self.handler.as_ref().map_or(0, |handler| handler.calls.ended())
    }

    /// Whether who sleeps for that is told of it.
    pub fn is_for(&self, verb: Verb) -> bool {
        verb == Verb::Wait || self.handler.as_ref().is_some_and(|handler| !handler.calls.is_running())
    }
}
