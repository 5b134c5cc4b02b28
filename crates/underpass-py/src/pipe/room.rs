//! `underpass.PipeRoom`: a pipe as those see it who write.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::prelude::*;
use underpass_core::pipe::ForWriting;

use super::Pipe;
use crate::handle::Handle;
use crate::many;
use crate::object::Pickled;
use crate::since::Since;

/// A pipe as those see it who write: ready while there is room for a byte, and once it was shut down.
///
/// What ``Pipe.room`` is: for `wait_any`, beside other objects.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct PipeRoom {
    pipe: Py<Pipe>,
    pub handle: Arc<Handle>,
    pub core: ForWriting,
}

impl PipeRoom {
    pub fn new(pipe: Bound<'_, Pipe>) -> Self {
        let (handle, core) = (pipe.get().handle.clone(), ForWriting { pipe: pipe.get().core.clone(), least: 1 });
        Self { pipe: pipe.unbind(), handle, core }
    }
}

#[pymethods]
impl PipeRoom {
    /// A descriptor that is readable while there is room: see `SharedObject.fileno`.
    fn fileno(slf: &Bound<'_, Self>) -> PyResult<RawFd> {
        many::fileno(slf)
    }

    /// What tasks wait for that come now, for room for so many bytes: a reset ends it.
    fn _since(&self, least: usize) -> Since {
        let writing = ForWriting { least, ..self.core.clone() };
        Since::for_bytes(&self.handle, Arc::new(writing), "not written", least)
    }

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py, (Py<Pipe>, &'static str)>> {
        Ok((py.import("builtins")?.getattr("getattr")?, (self.pipe.clone_ref(py), "room")))
    }

    fn __repr__(&self) -> String {
        format!("<room of {}>", self.handle.title)
    }
}
