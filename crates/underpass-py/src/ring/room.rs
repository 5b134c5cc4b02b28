//! `underpass.data.RingRoom`: a ring as those see it who write.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::ring::ForClaim;

use super::Ring;
use crate::handle::{Handle, Part};
use crate::many;

/// A ring as those see it who write: ready while a packet of some size finds room, or the reader has died.
///
/// What ``room_for`` of a ring returns: for `wait_any`, beside other objects.
#[pyclass(frozen, module = "underpass.data")]
#[derive(Debug)]
pub struct RingRoom {
    pub handle: Arc<Handle>,
    pub core: ForClaim,
    pub part: Part,
}

impl Drop for RingRoom {
    fn drop(&mut self) {
        self.handle.end_part(self.part);
    }
}

impl RingRoom {
    pub fn new(ring: &Bound<'_, Ring>, size: usize) -> PyResult<Self> {
        let Ring { handle, core } = ring.get();
        let longest = core.longest();
        if size > longest {
            let title = &handle.title;
            return Err(PyValueError::new_err(format!(
                "size={size} is more than the {longest} bytes of the longest packet of {title}"
            )));
        }
        let core = ForClaim { ring: core.clone(), size };
        Ok(Self { handle: handle.clone(), core, part: Part::one_of_many() })
    }
}

#[pymethods]
impl RingRoom {
    /// A descriptor that is readable while a packet finds room: see `SharedObject.fileno`.
    fn fileno(slf: &Bound<'_, Self>) -> PyResult<RawFd> {
        many::fileno(slf)
    }

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __repr__(&self) -> String {
        format!("<room of {} for {} bytes>", self.handle.title, self.core.size)
    }
}
