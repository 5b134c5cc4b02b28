//! The blocks that hold a mutex.

use pyo3::prelude::*;

use super::Mutex;
use crate::timeout::Timeout;

/// Holds a mutex while the block runs.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct MutexHolding {
    pub(super) mutex: Py<Mutex>,
    pub(super) timeout: Timeout,
}

#[pymethods]
impl MutexHolding {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        self.mutex.get().acquire_for(py, self.timeout).map(drop)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.mutex.get().leave(py, kind)
    }
}

/// Holds a mutex while the block runs, also after its owner died.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct MutexRecovering {
    pub(super) mutex: Py<Mutex>,
    pub(super) timeout: Timeout,
}

#[pymethods]
impl MutexRecovering {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.mutex.get().recover_for(py, self.timeout)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.mutex.get().end_recovery(py, kind)
    }
}
