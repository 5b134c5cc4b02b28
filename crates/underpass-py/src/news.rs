//! What comes to a space, as an event loop hears of it: for `underpass.aio`.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use pyo3::prelude::*;
use underpass_shm::space as shm;

use crate::error::{from_shm, plain};
use crate::kernel_lab;
use crate::space::Space;

/// Notices of the names that come to a space from now on, by a descriptor that is readable once there are some.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct News {
    core: shm::News,
}

#[pymethods]
impl News {
    #[new]
    #[pyo3(signature = (space=None))]
    fn new(py: Python<'_>, space: Option<&Bound<'_, Space>>) -> PyResult<Self> {
        if space.is_none() && kernel_lab::current().is_some() {
            let text = "in the lab no coroutine waits for a name: open what is there, or call open(..., timeout=)";
            return Err(plain(py, "MisuseError", text));
        }
        let home = Space::or_default(py, space.map(Bound::get))?;
        let core = home.linux.space().news().map_err(|error| from_shm(py, error))?;
        Ok(Self { core })
    }

    /// The descriptor: level-triggered.
    fn fileno(&self) -> RawFd {
        self.core.as_fd().as_raw_fd()
    }

    /// Take the notices that are there: whoever looks for a name after that has looked after they came.
    fn take(&self, py: Python<'_>) -> PyResult<()> {
        self.core.take().map(drop).map_err(|error| from_shm(py, error))
    }
}
