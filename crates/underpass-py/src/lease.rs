//! `underpass.Lease`: a message being worked on, read in place.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyMemoryView, PyType, PyWeakrefMethods, PyWeakrefReference};
use underpass_core::Error;
use underpass_core::kernel::Kernel;
use underpass_core::queue::{self as core, Ticket};
use underpass_shm::life::Life;

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::queue::Queue;
use crate::timeout::Timeout;

/// One slot of a queue that this process holds, as a buffer of Python: the base of leases and loans.
#[derive(Debug)]
pub struct Slot {
    handle: Arc<Handle>,
    core: Arc<core::Queue>,
    pub ticket: Ticket,
    writable: bool,
    /// Views of the bytes that Python has, or `SETTLED`: one word, so that no view is given while the slot is settled.
    views: AtomicUsize,
    /// Views that other processes of the lab have, which got at this Python object as a forked child does.
    strangers: Strangers,
}

const SETTLED: usize = 1 << (usize::BITS - 1);

impl Slot {
    pub fn new(queue: &Queue, ticket: Ticket, writable: bool) -> Self {
        Self {
            handle: queue.handle.clone(),
            core: queue.core.clone(),
            ticket,
            writable,
            views: AtomicUsize::new(0),
            strangers: Strangers::default(),
        }
    }

    pub fn title(&self) -> &str {
        &self.handle.title
    }

    pub fn is_settled(&self) -> bool {
        self.views.load(Acquire) & SETTLED != 0
    }

    /// Settles the slot, once, and only when nobody looks at its bytes any more.
    pub fn settle(
        &self,
        py: Python<'_>,
        failed: &str,
        action: impl FnOnce(&core::Queue, &dyn underpass_core::Kernel, &Ticket) -> underpass_core::Result<()>,
    ) -> PyResult<()> {
        let refused = |why: &str| raise(py, &Context::of(self.title(), failed), Error::Misuse(why.into()));
        self.handle.point(py)?;
        match self.views.compare_exchange(0, SETTLED, AcqRel, Acquire) {
            Ok(_) => {
                if let Some(other) = self.strangers.alive(self.handle.kernel()) {
                    let pid = self.handle.kernel().pid(other);
                    return Err(self.race(py, &format!("it ends while pid {pid} still views its bytes")));
                }
            }
            Err(views) if views & SETTLED == 0 => {
                let why = format!("{views} views of its bytes are still in use: release or delete them first");
                return Err(refused(&why));
            }
            Err(_) => {
                return Err(refused("it was settled before, or belongs to the process that this one was forked from"));
            }
        }
        action(&self.core, self.handle.kernel(), &self.ticket).map_err(|error| {
            // Ctrl-C came before it was done: it can be settled again.
            if error == Error::Interrupted {
                self.views.store(0, Release);
            }
            raise(py, &Context::of(self.title(), failed), error)
        })
    }

    /// Gives the bytes to Python.
    ///
    /// # Safety
    /// `view` is the one that Python asks to have filled in, and `owner` is the object that contains this slot.
    pub unsafe fn export(&self, owner: *mut ffi::PyObject, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let counted = |views: usize| (views & SETTLED == 0).then_some(views + 1);
        if let Some(other) = self.stranger() {
            return Python::attach(|py| {
                if self.is_settled() {
                    let pid = self.handle.kernel().pid(other);
                    return Err(self.race(py, &format!("pid {pid} views its bytes after it has ended")));
                }
                // SAFETY: as for the owner; the lab tells if the slot is settled meanwhile.
                unsafe { self.fill(owner, view, flags) }?;
                self.strangers.add(other);
                Ok(())
            });
        }
        if self.views.fetch_update(AcqRel, Acquire, counted).is_err() {
            return Err(PyBufferError::new_err(format!("{}: the lease or loan has ended", self.title())));
        }
        // SAFETY: S7, the block is this process's until the slot is settled, and that waits for all exports.
        unsafe { self.fill(owner, view, flags) }.inspect_err(|_| self.unexport())
    }

    /// Fills a view in.
    ///
    /// # Safety
    /// As for [`Self::export`].
    unsafe fn fill(&self, owner: *mut ffi::PyObject, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let start = self.core.blocks().start(self.ticket.slot).cast::<c_void>();
        let length = self.ticket.length.cast_signed();
        // SAFETY: S7, the caller sees to it that the block is not used otherwise while the view lasts.
        let code = unsafe { ffi::PyBuffer_FillInfo(view, owner, start, length, c_int::from(!self.writable), flags) };
        if code == 0 { Ok(()) } else { Err(Python::attach(PyErr::fetch)) }
    }

    pub fn unexport(&self) {
        match self.stranger() {
            Some(other) => self.strangers.remove(other),
            None => {
                self.views.fetch_sub(1, AcqRel);
            }
        }
    }

    /// The process that runs, if it is one of the lab's and not the one whose slot this is.
    fn stranger(&self) -> Option<Life> {
        let running = self.handle.process_in_lab()?;
        (running != self.ticket.process).then_some(running)
    }

    /// Two processes use the same bytes, and nothing orders that.
    fn race(&self, py: Python<'_>, what: &str) -> PyErr {
        let why = format!(
            "a race on its bytes: {what}, and the next message in the slot overwrites them: wait for the other process first, or give it a copy"
        );
        let raised = raise(py, &Context::of(self.title(), "lease or loan used by two"), Error::Misuse(why));
        // The lab's verdict says so.
        drop(raised.value(py).setattr("race", true));
        raised
    }

    /// For one that Python forgot: nobody can look at the bytes any more.
    pub fn forget(&self, lease: bool) {
        if self.views.swap(SETTLED, AcqRel) & SETTLED == 0 {
            let kernel = self.handle.kernel();
            Python::attach(|py| {
                // Collected while an exception is under way, or interrupted by one: neither may meet the other.
                let under_way = PyErr::take(py);
                // A forked copy is refused, and that is right: the slot is the parent's.
                let _ = if lease {
                    self.core.put_back(kernel, &self.ticket, true)
                } else {
                    self.core.abandon(kernel, &self.ticket)
                };
                drop(PyErr::take(py));
                if let Some(error) = under_way {
                    error.restore(py);
                }
            });
        }
    }
}

/// Who has views of a slot that is another's: only the lab, whose processes share the Python objects, can count them.
#[derive(Debug, Default)]
struct Strangers(Mutex<Vec<Life>>);

impl Strangers {
    fn all(&self) -> MutexGuard<'_, Vec<Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, process: Life) {
        self.all().push(process);
    }

    fn remove(&self, process: Life) {
        let mut all = self.all();
        if let Some(place) = all.iter().position(|other| *other == process) {
            all.swap_remove(place);
        }
    }

    /// One that lives: the dead look no more.
    fn alive(&self, kernel: &dyn Kernel) -> Option<Life> {
        self.all().iter().copied().find(|process| kernel.alive(*process))
    }
}

/// A message being worked on. A normal exit is ``done``, an exception ``put_back``, the process's death puts it back in front.
///
/// The value is read in place: it is valid until the lease ends, which waits for no view; with views in use it raises
/// MisuseError and nothing is settled. A lease that is forgotten is put back.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Lease {
    slot: Slot,
    /// The view that `value` gave out. Weak: the view holds the lease, and a forgotten lease must be collected.
    value: Mutex<Option<Py<PyWeakrefReference>>>,
}

impl Lease {
    pub fn new(queue: &Queue, ticket: Ticket) -> Self {
        Self { slot: Slot::new(queue, ticket, false), value: Mutex::new(None) }
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
        self.slot.forget(true);
    }
}

#[pymethods]
impl Lease {
    /// The message, read in place: a read-only memoryview that ends with the lease.
    #[getter]
    fn value<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        let py = slf.py();
        if slf.get().slot.stranger().is_some() {
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
        self.slot.ticket.delivery
    }

    /// End the lease: the message is gone. Raises MisuseError if it was settled before or is still viewed.
    fn done(&self, py: Python<'_>) -> PyResult<()> {
        self.release_value(py);
        self.slot.settle(py, "lease not ended", |queue, kernel, ticket| queue.done(kernel, ticket))
    }

    /// Put the message back: to the front, or behind all others.
    #[pyo3(signature = (*, front=true))]
    fn put_back(&self, py: Python<'_>, front: bool) -> PyResult<()> {
        self.release_value(py);
        self.slot.settle(py, "lease not ended", |queue, kernel, ticket| queue.put_back(kernel, ticket, front))
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

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.slot.unexport();
    }

    fn __len__(&self) -> usize {
        self.slot.ticket.length
    }

    fn __repr__(&self) -> String {
        let state = if self.slot.is_settled() { ", settled" } else { "" };
        let ticket = &self.slot.ticket;
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
        match queue.core.take(queue.kernel(), Timeout::Seconds(None).deadline()) {
            Ok(ticket) => Ok(Some(Lease::new(queue, ticket))),
            Err(Error::EndOfStream) => Ok(None),
            Err(error) => Err(queue.failed(py, "gave nothing to take", error)),
        }
    }
}
