//! `underpass._core.BroadcastRoom`: a broadcast as its writer sees it.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use pyo3::prelude::*;
use underpass_core::broadcast::{self as core, ForPublishing};

use crate::handle::Handle;

/// A broadcast as its writer sees it who publishes so many bytes: ready when that would not wait. Two are equal if they wait for the same.
///
/// For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct BroadcastRoom {
    pub handle: Arc<Handle>,
    pub core: ForPublishing,
}

impl BroadcastRoom {
    pub fn new(handle: &Arc<Handle>, broadcast: &core::Broadcast, size: usize) -> Self {
        Self { handle: handle.clone(), core: ForPublishing { broadcast: broadcast.clone(), size } }
    }

    /// Handles of one object are each a member of its own.
    fn key(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.handle).addr(), self.core.size)
    }
}

#[pymethods]
impl BroadcastRoom {
    fn __eq__(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.key().hash(&mut hasher);
        hasher.finish()
    }

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __repr__(&self) -> String {
        format!("<room of {}>", self.handle.title)
    }
}
