//! `underpass.Loan`: a slot of a queue, or a packet of a ring, written in place.

use std::ffi::c_int;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use underpass_core::queue::{self as core, Ticket};
use underpass_core::{Error, Kernel, Result};

use crate::lease::slot;
use crate::number::Whole;
use crate::queue::Queue;
use crate::slot::Slot;

/// Bytes to write in place. It is a writable buffer (``memoryview(loan)``, ``numpy.frombuffer(loan)``); leaving its
/// ``with`` block commits them as a message, an exception or the process's death abandons them.
///
/// Example:
///     >>> import underpass
///     >>> queue = underpass.Queue(4, 64)
///     >>> with queue.loan(5) as loan:
///     ...     loan[:] = b"hello"
///     >>> queue.get()
///     b'hello'
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Loan {
    lent: Box<dyn Lent>,
    length: usize,
    slot: Slot,
}

/// What was lent, and how it ends.
pub trait Lent: std::fmt::Debug + Send + Sync {
    /// Its first bytes are a message.
    fn commit(&self, kernel: &dyn Kernel, size: usize) -> Result<()>;

    /// They are none.
    fn abandon(&self, kernel: &dyn Kernel) -> Result<()>;
}

/// A slot of a queue.
#[derive(Debug)]
struct Message {
    core: Arc<core::Queue>,
    ticket: Ticket,
}

impl Lent for Message {
    fn commit(&self, kernel: &dyn Kernel, size: usize) -> Result<()> {
        self.core.commit(kernel, &self.ticket, size).inspect_err(|error| {
            if *error != Error::Interrupted {
                // The queue was shut down meanwhile: the slot must not stay lent.
                let _ = self.abandon(kernel);
            }
        })
    }

    fn abandon(&self, kernel: &dyn Kernel) -> Result<()> {
        self.core.abandon(kernel, &self.ticket)
    }
}

impl Loan {
    pub fn new(queue: &Queue, ticket: Ticket) -> Self {
        let slot = slot(queue, &ticket, true);
        Self::of(Message { core: queue.core.clone(), ticket }, ticket.length, slot)
    }

    /// Of so many bytes, which are the slot's.
    pub fn of(lent: impl Lent + 'static, length: usize, slot: Slot) -> Self {
        Self { lent: Box::new(lent), length, slot }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.slot.forget(|kernel| self.lent.abandon(kernel));
    }
}

#[pymethods]
impl Loan {
    /// Put the first ``size`` bytes as a message; all of them by default. Raises EndOfStream after a shutdown.
    #[pyo3(signature = (size=None))]
    fn commit(&self, py: Python<'_>, size: Option<Whole>) -> PyResult<()> {
        let size = size.map_or(Ok(self.length), |size| size.size("size"))?;
        if size > self.length {
            return Err(PyValueError::new_err(format!("size={size} is more than the {} bytes lent", self.length)));
        }
        self.slot.settle(py, "loan not committed", |kernel| self.lent.commit(kernel, size))
    }

    /// Give the bytes back unsent.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        self.slot.settle(py, "loan not ended", |kernel| self.lent.abandon(kernel))
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
            (false, true) => self.commit(py, None),
            (false, false) => self.abandon(py),
        }
    }

    fn __setitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let view = pyo3::types::PyMemoryView::from(slf.as_any())?;
        let result = view.set_item(index, value);
        view.call_method0("release")?;
        result
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let view = pyo3::types::PyMemoryView::from(slf.as_any())?;
        let bytes = view.call_method0("tobytes")?;
        view.call_method0("release")?;
        bytes.get_item(index)
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
        self.length
    }

    fn __repr__(&self) -> String {
        let state = if self.slot.is_settled() { ", settled" } else { "" };
        format!("<Loan of {}, {} bytes{state}>", self.slot.title(), self.length)
    }
}
