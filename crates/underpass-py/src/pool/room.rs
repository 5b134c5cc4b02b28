//! `underpass.PoolRoom`: a pool as those see it who need a block of some size.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::pool::ForBlock;

use super::Pool;
use crate::handle::{Handle, Part};
use crate::many;

/// A pool as those see it who need a block of some size: ready while one is free.
///
/// What ``Pool.room_for`` returns: for `wait_any`, beside other objects.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct PoolRoom {
    pub handle: Arc<Handle>,
    pub core: ForBlock,
    pub part: Part,
}

impl Drop for PoolRoom {
    fn drop(&mut self) {
        self.handle.end_part(self.part);
    }
}

impl PoolRoom {
    pub fn new(pool: &Bound<'_, Pool>, length: usize) -> PyResult<Self> {
        let Pool { handle, core } = pool.get();
        let largest = core.largest();
        if length > largest {
            return Err(PyValueError::new_err(format!(
                "size={length} is more than the {largest} bytes of the largest blocks of {}",
                handle.title
            )));
        }
        let core = ForBlock { pool: core.clone(), length };
        Ok(Self { handle: handle.clone(), core, part: Part::one_of_many() })
    }
}

#[pymethods]
impl PoolRoom {
    /// A descriptor that is readable while a block is free: see `SharedObject.fileno`.
    fn fileno(slf: &Bound<'_, Self>) -> PyResult<RawFd> {
        many::fileno(slf)
    }

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __repr__(&self) -> String {
        format!("<room of {} for {} bytes>", self.handle.title, self.core.length)
    }
}
