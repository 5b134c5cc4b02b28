//! What a loop waits for whose tasks come for what a reset takes from them: for `underpass.aio`.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use pyo3::prelude::*;
use underpass_core::since::{self as core, Resets};

use crate::error::{Context, raise};
use crate::handle::Handle;

/// An object, as those wait for it who came since a certain reset: two of them are equal if nothing was reset in between and they wait for
/// the same.
///
/// Ready once the object is, and for good once it was reset. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Since {
    pub handle: Arc<Handle>,
    pub core: core::Since,
    /// What is said not to have happened then.
    failed: &'static str,
    /// Of a stream, for how many bytes; else 0.
    least: usize,
}

impl Since {
    pub fn now(handle: &Arc<Handle>, object: Arc<dyn Resets + Send + Sync>, failed: &'static str) -> Self {
        Self::for_bytes(handle, object, failed, 0)
    }

    pub fn for_bytes(
        handle: &Arc<Handle>,
        object: Arc<dyn Resets + Send + Sync>,
        failed: &'static str,
        least: usize,
    ) -> Self {
        Self { handle: handle.clone(), core: core::Since::now(object), failed, least }
    }

    /// Handles of one object have one count, and one line in which their tasks stand, but each a member of its own.
    fn key(&self) -> (usize, u32, &'static str, usize) {
        (Arc::as_ptr(&self.handle).addr(), self.core.resets(), self.failed, self.least)
    }
}

#[pymethods]
impl Since {
    /// Return what ``verb()`` returns, or raise ResetError if it was reset since.
    fn attempt(&self, py: Python<'_>, verb: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.handle.check(py)?;
        self.core.judge().map_err(|error| raise(py, &Context::of(&self.handle.title, self.failed), error))?;
        Ok(verb.call0()?.unbind())
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.key().hash(&mut hasher);
        hasher.finish()
    }

    /// In which line those stand who come with it, whatever handle they have: those who came since that reset.
    #[getter]
    fn _line(&self) -> (u64, u32, &'static str, usize) {
        (self.handle.header.nonce, self.core.resets(), self.failed, self.least)
    }

    /// Its handle was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __repr__(&self) -> String {
        format!("<wait for {}>", self.handle.title)
    }
}
