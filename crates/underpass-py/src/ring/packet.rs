//! `underpass.data.Packet`: a packet of a ring, read in place.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use underpass_core::ring as core;

use super::Ring;
use crate::slot::Slot;

/// A packet that was taken, as a read-only buffer (``memoryview(packet)``, ``numpy.frombuffer(packet)``).
///
/// A normal exit of its ``with`` block frees it, an exception puts it back, and so does the process's death, or forgetting it. Put back, it is
/// the next again.
#[pyclass(frozen, module = "underpass.data")]
#[derive(Debug)]
pub struct Packet {
    ring: core::Ring,
    taken: core::Packet,
    slot: Slot,
}

impl Packet {
    pub fn new(Ring { handle, core }: &Ring, taken: core::Packet) -> Self {
        let numbers = (taken.number, taken.process);
        let slot = Slot::new(handle, core.start_of_packet(&taken), taken.length, numbers, false);
        Self { ring: core.clone(), taken, slot }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        self.slot.forget(|kernel| self.ring.put_back(kernel, &self.taken));
    }
}

#[pymethods]
impl Packet {
    /// Give the bytes back to the writers. With views of it in use MisuseError is raised, and it stays.
    fn free(&self, py: Python<'_>) -> PyResult<()> {
        self.slot.settle(py, "packet not freed", |kernel| self.ring.free_packet(kernel, &self.taken))
    }

    /// Leave the packet where it is: it is the next again.
    fn put_back(&self, py: Python<'_>) -> PyResult<()> {
        self.slot.settle(py, "packet not put back", |kernel| self.ring.put_back(kernel, &self.taken))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        match (self.slot.is_settled(), kind.is_none()) {
            (true, _) => Ok(()),
            (false, true) => self.free(py),
            (false, false) => self.put_back(py),
        }
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let view = PyMemoryView::from(slf.as_any())?;
        let bytes = view.call_method0("tobytes");
        view.call_method0("release")?;
        bytes?.get_item(index)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the signature that PyO3 asks for")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: S7, Python passes its own view.
        unsafe { slf.get().slot.export(slf.as_ptr(), view, flags) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: S7, Python passes a view that `__getbuffer__` filled in.
        unsafe { self.slot.unexport(view) }
    }

    fn __len__(&self) -> usize {
        self.taken.length
    }

    fn __repr__(&self) -> String {
        let state = if self.slot.is_settled() { ", settled" } else { "" };
        format!("<Packet of {}, {} bytes{state}>", self.slot.title(), self.taken.length)
    }
}
