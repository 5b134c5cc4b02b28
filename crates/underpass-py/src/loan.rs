//! `underpass.Loan`: a message of a queue or a broadcast, or a packet of a ring, written in place.

use std::ffi::c_int;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use underpass_core::queue::{self as core, Ticket};
use underpass_core::{Error, Kernel, Result};

use crate::error::{Context, raise};
use crate::lease;
use crate::number::Whole;
use crate::queue::Queue;
use crate::slot::{self, Slot};

/// What was lent, and how it ends.
pub trait Lent: std::fmt::Debug + Send + Sync {
    /// Its first bytes are a message.
    fn commit(&self, kernel: &dyn Kernel, size: usize) -> Result<()>;

    /// They are none.
    fn abandon(&self, kernel: &dyn Kernel) -> Result<()>;

    /// Why it was not committed, in the object's words.
    fn refused(&self, py: Python<'_>, slot: &Slot, failed: &str, error: Error) -> PyErr {
        raise(py, &Context::of(slot.title(), failed), error)
    }
}

/// A slot of a queue.
#[derive(Debug)]
struct Message {
    core: Arc<core::Queue>,
    ticket: Ticket,
}

impl Lent for Message {
    fn commit(&self, kernel: &dyn Kernel, size: usize) -> Result<()> {
        self.core.commit(kernel, &self.ticket, size)
    }

    fn abandon(&self, kernel: &dyn Kernel) -> Result<()> {
        self.core.abandon(kernel, &self.ticket)
    }
}

/// Bytes to write in place. It is a writable buffer (``memoryview(loan)``, ``numpy.frombuffer(loan)``); leaving its
/// ``with`` block commits them as a message, an exception or the process's death abandons them. Made by `Queue.loan` and `Broadcast.loan`.
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

impl Loan {
    pub fn new(queue: &Queue, ticket: Ticket) -> Self {
        let slot = lease::slot(queue, &ticket, true);
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
    /// Put or publish the first ``size`` bytes as a message; all of them by default. Raises EndOfStream after a shutdown.
    #[pyo3(signature = (size=None))]
    fn commit(&self, py: Python<'_>, size: Option<Whole>) -> PyResult<()> {
        let size = size.map_or(Ok(self.length), |size| size.size("size"))?;
        if size > self.length {
            return Err(PyValueError::new_err(format!("size={size} is more than the {} bytes lent", self.length)));
        }
        let failed = "loan not committed";
        let commit = |kernel: &dyn Kernel| {
            self.lent.commit(kernel, size).inspect_err(|error| {
                if *error != Error::Interrupted {
                    // It was shut down meanwhile: the bytes must not stay lent.
                    let _ = self.lent.abandon(kernel);
                }
            })
        };
        self.slot.settle_or(py, failed, commit, |error| self.lent.refused(py, &self.slot, failed, error))
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
        slot::set_item(slf.as_any(), index, value)
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slot::item(slf.as_any(), index)
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
