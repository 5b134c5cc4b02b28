//! Bytes of an object that a process holds: what leases, loans and blocks have in common.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use underpass_core::{Error, Kernel};
use underpass_shm::forks;
use underpass_shm::life::Life;

use crate::error::{Context, apart, exception, raise};
use crate::handle::Handle;
use crate::kernel_lab::{HeldBytes, LabKernel};

/// Its bytes are a buffer of Python's.
#[derive(Debug)]
pub struct Slot {
    handle: Arc<Handle>,
    /// Where they start, in memory that the handle keeps.
    start: AtomicPtr<u8>,
    length: usize,
    /// How the lab knows what this process holds.
    bytes: HeldBytes,
    writable: bool,
    /// After how many forks: a forked child has a copy of it, and no right to the bytes.
    epoch: u32,
    /// Views of the bytes that Python has, or `SETTLED`: one word, so that no view is given while the slot is settled.
    views: AtomicUsize,
}

const SETTLED: usize = 1 << (usize::BITS - 1);

impl Slot {
    /// Of `length` bytes at `start` of the object's memory; `number` tells them apart from those that were there before, and
    /// `holder` is the process.
    pub fn new(
        handle: &Arc<Handle>,
        start: *mut u8,
        length: usize,
        (number, holder): (u32, Life),
        writable: bool,
    ) -> Self {
        let bytes = HeldBytes { start: start.addr(), number, holder };
        Self {
            handle: handle.clone(),
            start: AtomicPtr::new(start),
            length,
            bytes,
            writable,
            epoch: forks::epoch(),
            views: AtomicUsize::new(0),
        }
    }

    pub fn title(&self) -> &str {
        &self.handle.title
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn is_settled(&self) -> bool {
        self.views.load(Acquire) & SETTLED != 0
    }

    /// Settles the slot, once, and only when nobody looks at its bytes any more.
    pub fn settle(
        &self,
        py: Python<'_>,
        failed: &str,
        action: impl FnOnce(&dyn Kernel) -> underpass_core::Result<()>,
    ) -> PyResult<()> {
        self.settle_or(py, failed, action, |error| raise(py, &Context::of(self.title(), failed), error))
    }

    /// The same, where the object says in its own words what became of the action.
    pub fn settle_or(
        &self,
        py: Python<'_>,
        failed: &str,
        action: impl FnOnce(&dyn Kernel) -> underpass_core::Result<()>,
        say: impl FnOnce(Error) -> PyErr,
    ) -> PyResult<()> {
        let refused = |why: &str| raise(py, &Context::of(self.title(), failed), Error::Misuse(why.into()));
        self.handle.point(py)?;
        match self.views.compare_exchange(0, SETTLED, AcqRel, Acquire) {
            Ok(_) => {
                if let Some(viewer) = self.handle.lab().and_then(|lab| lab.viewer_of(self.bytes)) {
                    let pid = self.handle.kernel().pid(viewer);
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
        action(self.handle.kernel()).map_err(|error| {
            // Ctrl-C came before it was done: it can be settled again.
            if error == Error::Interrupted {
                self.views.store(0, Release);
            }
            say(error)
        })
    }

    /// Gives the bytes to Python.
    ///
    /// # Safety
    /// `view` is the one that Python asks to have filled in, and `owner` is the object that contains this slot.
    pub unsafe fn export(&self, owner: *mut ffi::PyObject, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let counted = |views: usize| (views & SETTLED == 0).then_some(views + 1);
        if let Some((lab, viewer)) = self.stranger() {
            // SAFETY: as for the owner; the lab tells if the slot is settled meanwhile.
            return unsafe { self.export_to(lab, viewer, owner, view, flags) };
        }
        if self.epoch != forks::epoch() {
            let text = "the lease, loan or block belongs to the process that this one was forked from";
            return Err(PyBufferError::new_err(format!("{}: {text}", self.title())));
        }
        if self.views.fetch_update(AcqRel, Acquire, counted).is_err() {
            return Err(PyBufferError::new_err(format!("{}: the lease, loan or block has ended", self.title())));
        }
        // SAFETY: S7, the block is this process's until the slot is settled, and that waits for all exports.
        unsafe { self.fill(owner, view, flags) }.inspect_err(|_| self.uncount())
    }

    /// Gives the bytes to a process of the lab that does not hold them; the view remembers whose it is.
    ///
    /// # Safety
    /// As for [`Self::export`].
    #[cold]
    unsafe fn export_to(
        &self,
        lab: &LabKernel,
        viewer: Life,
        owner: *mut ffi::PyObject,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if self.is_settled() {
            let what = format!("pid {} views its bytes after it has ended", self.handle.kernel().pid(viewer));
            return Err(Python::attach(|py| self.race(py, &what)));
        }
        // SAFETY: as the caller promises.
        unsafe { self.fill(owner, view, flags) }?;
        // SAFETY: S7, the view is the one that Python passed, and `internal` is for whoever exports.
        unsafe { (*view).internal = ptr::without_provenance_mut(viewer.0 as usize) };
        lab.views.add(self.bytes, viewer);
        Ok(())
    }

    /// Fills a view in.
    ///
    /// # Safety
    /// As for [`Self::export`].
    unsafe fn fill(&self, owner: *mut ffi::PyObject, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let (start, length) = (self.start.load(Relaxed).cast::<c_void>(), self.length.cast_signed());
        // SAFETY: S7, the caller sees to it that the block is not used otherwise while the view lasts.
        let code = unsafe { ffi::PyBuffer_FillInfo(view, owner, start, length, c_int::from(!self.writable), flags) };
        if code == 0 { Ok(()) } else { Err(Python::attach(PyErr::fetch)) }
    }

    /// Takes a view back.
    ///
    /// # Safety
    /// `view` is one that [`Self::export`] filled in.
    pub unsafe fn unexport(&self, view: *const ffi::Py_buffer) {
        // SAFETY: S7, as the caller promises.
        let stranger = unsafe { (*view).internal }.addr();
        match (u32::try_from(stranger), self.handle.lab()) {
            (Ok(viewer @ 1..), Some(lab)) => lab.views.remove(self.bytes, Life(viewer)),
            _ => self.uncount(),
        }
    }

    fn uncount(&self) {
        self.views.fetch_sub(1, AcqRel);
    }

    /// Whoever asks is a process of the lab, and not the one whose slot this is.
    pub fn is_strange(&self) -> bool {
        self.stranger().is_some()
    }

    fn stranger(&self) -> Option<(&LabKernel, Life)> {
        let lab = self.handle.lab()?;
        Some((lab, lab.stranger_to(self.bytes)?))
    }

    /// Two processes use the same bytes, and nothing orders that.
    fn race(&self, py: Python<'_>, what: &str) -> PyErr {
        let title = self.title();
        let message = format!(
            "{title} lease or loan used by two: a race on its bytes: {what}, and the next message in the slot overwrites them: \
             wait for the other process first, or give it a copy"
        );
        // The lab's verdict says so.
        exception(py, "MisuseError", &message, |attributes| attributes.set_item("race", true))
    }

    /// For one that Python forgot: nobody can look at the bytes any more.
    pub fn forget<T>(&self, settle: impl FnOnce(&dyn Kernel) -> T) {
        if self.views.swap(SETTLED, AcqRel) & SETTLED == 0 {
            // A forked copy is refused, and that is right: the bytes are the parent's. Collected, perhaps, while an exception is
            // under way.
            Python::attach(|py| apart(py, || drop(settle(self.handle.kernel()))));
        }
    }
}

/// What stands at an index of an object's bytes, or, of a slice, a copy of it.
pub fn item<'py>(owner: &Bound<'py, PyAny>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let view = PyMemoryView::from(owner)?;
    let part = view.get_item(index);
    // A slice is another view: its bytes are copied before both end.
    let copied = part.and_then(|part| match part.cast::<PyMemoryView>() {
        Ok(part) => {
            let bytes = part.call_method0("tobytes");
            part.call_method0("release").and(bytes)
        }
        Err(_) => Ok(part),
    });
    view.call_method0("release")?;
    copied
}

/// Writes an item of an object's bytes, or a slice.
pub fn set_item(owner: &Bound<'_, PyAny>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let view = PyMemoryView::from(owner)?;
    let result = view.set_item(index, value);
    view.call_method0("release")?;
    result
}
