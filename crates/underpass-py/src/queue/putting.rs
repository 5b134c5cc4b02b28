//! `Queue.putting`: who puts, so that getters know when nobody will.

use pyo3::prelude::*;

use super::Queue;
use crate::under::insist;

/// Registers a putter while the block runs.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Putting {
    pub queue: Py<Queue>,
}

#[pymethods]
impl Putting {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.queue.get();
        queue.handle.check(py)?;
        queue.core.join_putters(queue.kernel()).map_err(|error| queue.failed(py, "cannot register a putter", error))
    }

    fn __exit__(&self, py: Python<'_>, _kind: Py<PyAny>, _error: Py<PyAny>, _trace: Py<PyAny>) -> PyResult<()> {
        let queue = self.queue.get();
        let leave = || queue.core.leave_putters(queue.kernel());
        insist(py, &queue.handle, leave, |error| queue.failed(py, "cannot unregister a putter", error))
    }
}
