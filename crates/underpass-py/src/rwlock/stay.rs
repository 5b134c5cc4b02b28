//! What a task has while it waits to read or to write.

use std::sync::Arc;

use pyo3::prelude::*;
use underpass_core::rwlock::{self as core, How};
use underpass_core::stay::{Stay, Steps as _};

use super::RWLock;
use crate::handle::Handle;
use crate::timeout::Timeout;

/// A task's way into a lock of readers and writers: ready once it is let in. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct RWLockStay {
    lock: Py<RWLock>,
    pub handle: Arc<Handle>,
    how: How,
    pub core: Stay<core::RWLock>,
}

impl RWLockStay {
    pub fn new(lock: Py<RWLock>, handle: Arc<Handle>, how: How, core: Stay<core::RWLock>) -> Self {
        Self { lock, handle, how, core }
    }

    fn failed(&self) -> &'static str {
        match self.how {
            How::Read => "not held for reading",
            How::Write => "not held for writing",
            How::Upgrade => "not upgraded",
        }
    }
}

#[pymethods]
impl RWLockStay {
    /// Come, or look again: return once it is held, to a writer the OwnerDiedError of one that died; or raise WouldBlock.
    fn attempt(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.handle.check(py)?;
        let lock = self.lock.get();
        let given = self.core.step(self.handle.kernel());
        let died = given.and_then(|given| self.core.object().judge(self.core.wish(), given));
        let died = lock.judge(py, self.failed(), Timeout::NoWait, died)?;
        match self.how {
            How::Read => lock.note_reading(py, core::RWLock::task_of(self.core.wish())),
            _ => lock.note(py),
        }
        Ok(died.map(|death| lock.told(py, &death)))
    }

    /// Wait no more: what it was given is another's, and those who waited behind it are let in.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.core.give_up(self.handle.kernel());
        self.lock.get().judge(py, "not left", Timeout::NoWait, ended)
    }

    fn __repr__(&self) -> String {
        format!("<wait for {}>", self.handle.title)
    }
}
