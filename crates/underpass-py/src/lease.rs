//! `underpass.Lease`: a message being worked on, read in place.

use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyMemoryView, PyType, PyWeakrefMethods, PyWeakrefReference};
use underpass_core::Error;
use underpass_core::queue::{self as core, Ticket};

use crate::queue::Queue;
use crate::slot::Slot;
use crate::timeout::Timeout;

/// The bytes of one slot of a queue, as this process holds them.
pub fn slot(queue: &Queue, ticket: &Ticket, writable: bool) -> Slot {
    let start = queue.core.blocks().start(ticket.slot);
    Slot::new(&queue.handle, start, ticket.length, (ticket.number, ticket.process), writable)
}

/// A message being worked on. A normal exit is ``done``, an exception ``put_back``, the process's death puts it back in front.
///
/// The value is read in place: it is valid until the lease ends, which waits for no view; with views in use it raises
/// MisuseError and nothing is settled. A lease that is forgotten is put back.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Lease {
    core: Arc<core::Queue>,
    ticket: Ticket,
    slot: Slot,
    /// The view that `value` gave out. Weak: the view holds the lease, and a forgotten lease must be collected.
    value: Mutex<Option<Py<PyWeakrefReference>>>,
}

impl Lease {
    pub fn new(queue: &Queue, ticket: Ticket) -> Self {
        Self { core: queue.core.clone(), ticket, slot: slot(queue, &ticket, false), value: Mutex::new(None) }
    }

    fn given(&self, py: Python<'_>) -> MutexGuard<'_, Option<Py<PyWeakrefReference>>> {
        self.value.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the view that `value` gave out. One that something else hangs on stays: `settle` counts it and says so.
    fn release_value(&self, py: Python<'_>) {
        let view = self.given(py).take().and_then(|view| view.bind(py).upgrade());
        if let Some(view) = view {
            let _ = view.call_method0("release");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slot.forget(|kernel| self.core.put_back(kernel, &self.ticket, true));
    }
}

#[pymethods]
impl Lease {
    /// The message, read in place: a read-only memoryview that ends with the lease.
    #[getter]
    fn value<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        let py = slf.py();
        if slf.get().slot.is_strange() {
            // A forked child has its own.
            return PyMemoryView::from(slf.as_any());
        }
        let given = slf.get().given(py).as_ref().and_then(|view| view.bind(py).upgrade());
        if let Some(view) = given {
            return Ok(view.cast_into()?);
        }
        let view = PyMemoryView::from(slf.as_any())?;
        *slf.get().given(py) = Some(PyWeakrefReference::new(&view)?.unbind());
        Ok(view)
    }

    /// ``Lease[memoryview]``: what the value is, for type checkers.
    #[classmethod]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        cls.py().import("types")?.getattr("GenericAlias")?.call1((cls, item))
    }

    /// How often the message was delivered; 1 the first time.
    #[getter]
    fn deliveries(&self) -> u32 {
        self.ticket.delivery
    }

    /// End the lease: the message is gone. Raises MisuseError if it was settled before or is still viewed.
    fn done(&self, py: Python<'_>) -> PyResult<()> {
        self.release_value(py);
        self.slot.settle(py, "lease not ended", |kernel| self.core.done(kernel, &self.ticket))
    }

    /// Put the message back: to the front, or behind all others.
    #[pyo3(signature = (*, front=true))]
    fn put_back(&self, py: Python<'_>, front: bool) -> PyResult<()> {
        self.release_value(py);
        self.slot.settle(py, "lease not ended", |kernel| self.core.put_back(kernel, &self.ticket, front))
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
            (false, true) => self.done(py),
            (false, false) => self.put_back(py, true),
        }
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
        self.ticket.length
    }

    fn __repr__(&self) -> String {
        let state = if self.slot.is_settled() { ", settled" } else { "" };
        let ticket = &self.ticket;
        format!("<Lease of {}, {} bytes, delivery {}{state}>", self.slot.title(), ticket.length, ticket.delivery)
    }
}

/// Lease after lease, until nothing can come any more.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Leases {
    queue: Py<Queue>,
}

impl Leases {
    pub fn new(queue: Py<Queue>) -> Self {
        Self { queue }
    }
}

#[pymethods]
impl Leases {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Lease>> {
        let queue = self.queue.get();
        queue.handle.check(py)?;
        match Timeout::Seconds(None).within("leases", |deadline| queue.core.take(queue.kernel(), deadline)) {
            Ok(ticket) => Ok(Some(Lease::new(queue, ticket))),
            Err(Error::EndOfStream) => Ok(None),
            Err(error) => Err(queue.failed(py, "gave nothing to take", error)),
        }
    }
}
