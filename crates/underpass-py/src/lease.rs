//! `underpass.Lease`: a message being worked on, read in place.

use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyMemoryView, PyType, PyWeakrefMethods, PyWeakrefReference};
use underpass_core::broadcast::{Reader, Taken};
use underpass_core::queue::{Queue as Room, Ticket};
use underpass_core::{Error, Kernel, Result};

use crate::broadcast::Subscription;
use crate::error::{Context, raise};
use crate::queue::Queue;
use crate::slot::Slot;
use crate::timeout::Timeout;

/// The bytes of one slot of a queue, as this process holds them.
pub fn slot(queue: &Queue, ticket: &Ticket, writable: bool) -> Slot {
    let start = queue.core.blocks().start(ticket.slot);
    Slot::new(&queue.handle, start, ticket.length, (ticket.number, ticket.process), writable)
}

/// Whose message it is.
#[derive(Debug)]
enum Of {
    Queue(Arc<Room>, Ticket),
    Subscription(Arc<Reader>, Taken),
}

impl Of {
    fn length(&self) -> usize {
        match self {
            Self::Queue(_, ticket) => ticket.length,
            Self::Subscription(_, taken) => taken.length,
        }
    }

    fn done(&self, kernel: &dyn Kernel) -> Result<()> {
        match self {
            Self::Queue(core, ticket) => core.done(kernel, ticket),
            Self::Subscription(reader, taken) => reader.done(kernel, taken),
        }
    }

    /// Ends it for one who has not done what was to be done with the message: another may, if it was only this one's.
    fn give_up(&self, kernel: &dyn Kernel) -> Result<()> {
        match self {
            Self::Queue(core, ticket) => core.put_back(kernel, ticket, true),
            Self::Subscription(reader, taken) => match reader.done(kernel, taken) {
                // It is counted, and what was read is not used.
                Err(Error::Overwritten(_)) => Ok(()),
                other => other,
            },
        }
    }
}

/// A message being worked on, of a `Queue` or of a `Subscription`.
///
/// Of a queue: a normal exit is ``done``, an exception ``put_back``, the process's death puts it back in front. A lease that is forgotten is
/// put back. Of a subscription the message is got, whatever ends the lease; where messages are overwritten, ``done`` and a normal exit raise
/// ResetError if this one was meanwhile.
///
/// The value is read in place: it is valid until the lease ends, which waits for no view; with views in use it raises
/// MisuseError and nothing is settled.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Lease {
    of: Of,
    slot: Slot,
    /// The view that `value` gave out. Weak: the view holds the lease, and a forgotten lease must be collected.
    value: Mutex<Option<Py<PyWeakrefReference>>>,
}

impl Lease {
    pub fn new(queue: &Queue, ticket: Ticket) -> Self {
        let slot = slot(queue, &ticket, false);
        Self { of: Of::Queue(queue.core.clone(), ticket), slot, value: Mutex::new(None) }
    }

    pub fn of_subscription(subscription: &Subscription, taken: Taken) -> Self {
        // Which message at these bytes it is: no other that is read has them.
        let numbers = (taken.number as u32, taken.process);
        let start = subscription.core.taken_bytes(&taken);
        let slot = Slot::new(&subscription.handle, start, taken.length, numbers, false);
        Self { of: Of::Subscription(subscription.core.clone(), taken), slot, value: Mutex::new(None) }
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
        self.slot.forget(|kernel| self.of.give_up(kernel));
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

    /// How often the message was delivered; 1 the first time, and of a subscription always.
    #[getter]
    fn deliveries(&self) -> u32 {
        match &self.of {
            Of::Queue(_, ticket) => ticket.delivery,
            Of::Subscription(..) => 1,
        }
    }

    /// End the lease: the message is gone, of a subscription for this one.
    ///
    /// Raises:
    ///     MisuseError: It was settled before or is still viewed.
    ///     ResetError: Of a subscription, where messages are overwritten: this one was. What was read of it may be torn; it counts as lost.
    fn done(&self, py: Python<'_>) -> PyResult<()> {
        self.release_value(py);
        self.slot.settle(py, "lease not ended", |kernel| self.of.done(kernel))
    }

    /// Put the message back: to the front, or behind all others. Raises MisuseError for one of a subscription, which is everybody's.
    #[pyo3(signature = (*, front=true))]
    fn put_back(&self, py: Python<'_>, front: bool) -> PyResult<()> {
        let failed = "lease not ended";
        let Of::Queue(core, ticket) = &self.of else {
            let why = "a message of a broadcast is everybody's, and goes back nowhere: end the lease by done()";
            return Err(raise(py, &Context::of(self.slot.title(), failed), Error::Misuse(why.into())));
        };
        self.release_value(py);
        self.slot.settle(py, failed, |kernel| core.put_back(kernel, ticket, front))
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
            (false, false) => {
                self.release_value(py);
                self.slot.settle(py, "lease not ended", |kernel| self.of.give_up(kernel))
            }
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
        self.of.length()
    }

    fn __repr__(&self) -> String {
        let state = if self.slot.is_settled() { ", settled" } else { "" };
        let which = match &self.of {
            Of::Queue(_, ticket) => format!("delivery {}", ticket.delivery),
            Of::Subscription(_, taken) => format!("message {}", taken.number),
        };
        format!("<Lease of {}, {} bytes, {which}{state}>", self.slot.title(), self.of.length())
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
