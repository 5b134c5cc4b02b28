//! `Pipe.putting`: who writes, so that readers know when nobody will.

use pyo3::prelude::*;

use super::Pipe;
use crate::under::insist;

/// Registers a writer while the block runs.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Putting {
    pub pipe: Py<Pipe>,
}

#[pymethods]
impl Putting {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        let pipe = self.pipe.get();
        pipe.handle.check(py)?;
        pipe.core.join_writers(pipe.kernel()).map_err(|error| pipe.failed(py, "cannot register a writer", error))
    }

    fn __exit__(&self, py: Python<'_>, _kind: Py<PyAny>, _error: Py<PyAny>, _trace: Py<PyAny>) -> PyResult<()> {
        let pipe = self.pipe.get();
        let leave = || pipe.core.leave_writers(pipe.kernel());
        insist(py, &pipe.handle, leave, |error| pipe.failed(py, "cannot unregister a writer", error))
    }
}
