//! `underpass.Loan`: a message that is written in place, of a queue or of a broadcast.

use std::ffi::c_int;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use underpass_core::broadcast::{Broadcast as Ring, Lent};
use underpass_core::queue::{Queue as Room, Ticket};
use underpass_core::{Error, Kernel, Result};

use crate::broadcast::{self, Broadcast};
use crate::error::{Context, raise};
use crate::lease;
use crate::number::Whole;
use crate::queue::Queue;
use crate::slot::{self, Slot};
use crate::timeout::Timeout;

/// Whose bytes they are.
#[derive(Debug)]
enum Of {
    Queue(Arc<Room>, Ticket),
    Broadcast(Arc<Ring>, Lent),
}

impl Of {
    fn length(&self) -> usize {
        match self {
            Self::Queue(_, ticket) => ticket.length,
            Self::Broadcast(_, lent) => lent.length,
        }
    }

    fn commit(&self, kernel: &dyn Kernel, size: usize) -> Result<()> {
        match self {
            Self::Queue(core, ticket) => core.commit(kernel, ticket, size),
            Self::Broadcast(core, lent) => core.commit(kernel, lent, size),
        }
    }

    fn abandon(&self, kernel: &dyn Kernel) -> Result<()> {
        match self {
            Self::Queue(core, ticket) => core.abandon(kernel, ticket),
            Self::Broadcast(core, lent) => core.abandon(kernel, lent),
        }
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
    of: Of,
    slot: Slot,
}

impl Loan {
    pub fn new(queue: &Queue, ticket: Ticket) -> Self {
        Self { of: Of::Queue(queue.core.clone(), ticket), slot: lease::slot(queue, &ticket, true) }
    }

    pub fn of_broadcast(broadcast: &Broadcast, lent: Lent) -> Self {
        // Which loan of these bytes it is: no other that is open has them.
        let number = lent.number() as u32;
        let start = broadcast.core.lent_bytes(&lent);
        let slot = Slot::new(&broadcast.handle, start, lent.length, (number, lent.process), true);
        Self { of: Of::Broadcast(broadcast.core.clone(), lent), slot }
    }

    fn failed(&self, py: Python<'_>, failed: &str, error: Error) -> PyErr {
        match self.of {
            Of::Queue(..) => raise(py, &Context::of(self.slot.title(), failed), error),
            Of::Broadcast(..) => {
                broadcast::failed(py, self.slot.handle(), failed, Timeout::NoWait, String::new(), error)
            }
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.slot.forget(|kernel| self.of.abandon(kernel));
    }
}

#[pymethods]
impl Loan {
    /// Put or publish the first ``size`` bytes as a message; all of them by default. Raises EndOfStream after a shutdown.
    #[pyo3(signature = (size=None))]
    fn commit(&self, py: Python<'_>, size: Option<Whole>) -> PyResult<()> {
        let lent = self.of.length();
        let size = size.map_or(Ok(lent), |size| size.size("size"))?;
        if size > lent {
            return Err(PyValueError::new_err(format!("size={size} is more than the {lent} bytes lent")));
        }
        let failed = "loan not committed";
        let commit = |kernel: &dyn Kernel| {
            self.of.commit(kernel, size).inspect_err(|error| {
                if *error != Error::Interrupted {
                    // It was shut down meanwhile: the bytes must not stay lent.
                    let _ = self.of.abandon(kernel);
                }
            })
        };
        self.slot.settle_or(py, failed, commit, |error| self.failed(py, failed, error))
    }

    /// Give the bytes back unsent.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        self.slot.settle(py, "loan not ended", |kernel| self.of.abandon(kernel))
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
        self.of.length()
    }

    fn __repr__(&self) -> String {
        let state = if self.slot.is_settled() { ", settled" } else { "" };
        format!("<Loan of {}, {} bytes{state}>", self.slot.title(), self.of.length())
    }
}
