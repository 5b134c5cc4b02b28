//! `underpass.Notification`.

use std::sync::Arc;

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;
use underpass_core::kernel::Wanted;
use underpass_core::notification::{self as core, ALL, CONSUME};
use underpass_core::stay::Slotted;
use underpass_core::waiters::{self, Waiters, Wish};
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::notification::NotificationWords;
use underpass_shm::place::Placed;

use crate::error::{Context, raise};
use crate::handle::{Handle, Part};
use crate::number::mode;
use crate::object::{self, Object, Pickled, SharedObject};
use crate::space::Space;
use crate::stay::Stay;
use crate::timeout::Timeout;

/// 64 flags, a bit each.
#[derive(Debug, Clone, Copy)]
pub struct Flags(u64);

impl Flags {
    const EVERY: Self = Self(u64::MAX);
    const FIRST: Self = Self(1);
}

impl<'a, 'py> FromPyObject<'a, 'py> for Flags {
    type Error = PyErr;

    #[inline]
    fn extract(bits: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        bits.extract().map(Self).map_err(|error| {
            if !error.is_instance_of::<PyOverflowError>(bits.py()) {
                return error;
            }
            PyValueError::new_err(format!("{} is not between 0 and 2**64 - 1: there are 64 flags", *bits))
        })
    }
}

const WAITERS: usize = WORDS + size_of::<NotificationWords>();

/// Makes an object that is a notification below; its words are zero at first.
pub fn create(
    py: Python<'_>,
    kind: Kind,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
) -> PyResult<Arc<Handle>> {
    let extent = waiters::extent(WAITERS);
    let wanted = Wanted { name, kind, extent, parameters: [0; PARAMETERS], mode, format: &|_| Ok(()) };
    Handle::create(py, space, &wanted).map(Arc::new)
}

/// The core of such an object.
pub fn over(py: Python<'_>, handle: &Handle) -> PyResult<core::Notification> {
    let words = Placed::at(&handle.region, WORDS);
    let waiters = Waiters::at(&handle.region, WAITERS);
    match (words, waiters) {
        (Some(words), Some(waiters)) => Ok(core::Notification::new(words, waiters)),
        _ => Err(raise(
            py,
            &Context::of(&handle.title, "not opened"),
            underpass_core::Error::Corrupted(format!("{} bytes are too few", handle.region.len())),
        )),
    }
}

/// A word of 64 flags between processes: seL4's notification, Zephyr's ``k_event``, a doorbell.
///
/// Whoever waits asks for any or all of some flags. A change that fulfils the wishes of several waiters is given to
/// each of them in the same instant, whatever happens to the flags afterwards; then what those have asked for who
/// consume is cleared (Zephyr's ``wait_safe``). So a flag is seen by all who wait for it, and by nobody who comes later.
/// Flags that nobody waits for stay until somebody does. An uncontended operation makes no system call.
///
/// A notification that has been given to a waiter who dies before it has taken it is set again. What ``wait`` has
/// returned is gone with its process. 4,095 threads can wait at one time; further ones wait for their turn to wait, and
/// are given what is still set then.
///
/// Example:
///     >>> import underpass
///     >>> news = underpass.Notification()
///     >>> news.notify(0b101)
///     0
///     >>> news.wait(0b001)
///     1
///     >>> bin(news.bits)
///     '0b100'
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Notification {
    pub handle: Arc<Handle>,
    pub core: core::Notification,
}

/// Some flags of a notification: ready when any of them is set, or all.
///
/// What ``Notification.flags`` is: for `wait_any`, beside other objects.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct NotificationFlags {
    notification: Py<Notification>,
    pub handle: Arc<Handle>,
    pub part: Part,
    pub core: core::Wished,
}

impl Drop for NotificationFlags {
    fn drop(&mut self) {
        self.handle.end_part(self.part);
    }
}

#[pymethods]
impl NotificationFlags {
    /// A descriptor that is readable while they are set: see `SharedObject.fileno`. It is closed with this, which is to be kept.
    fn fileno(slf: &Bound<'_, Self>) -> PyResult<std::os::fd::RawFd> {
        crate::many::fileno(slf)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py, (Py<Notification>, u64)>> {
        let Wish { value, how } = self.core.wish;
        let all = [("all", how & ALL != 0)].into_py_dict(py)?;
        let flags = py.get_type::<Notification>().getattr("flags")?;
        let flags = py.import("functools")?.getattr("partial")?.call((flags,), Some(&all))?;
        Ok((flags, (self.notification.clone_ref(py), value)))
    }

    fn __repr__(&self) -> String {
        let quantity = if self.core.wish.how & ALL == 0 { "any" } else { "all" };
        format!("<{quantity} of the flags {:#x} of {}>", self.core.wish.value, self.handle.title)
    }
}

/// A snapshot of a notification.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct NotificationStatistics {
    /// The flags.
    bits: u64,
    /// How many threads sleep here, and tasks wait, wherever they are.
    waiters: usize,
}

#[pymethods]
impl NotificationStatistics {
    fn __repr__(&self) -> String {
        format!("NotificationStatistics(bits={:#x}, waiters={})", self.bits, self.waiters)
    }
}

impl Object for Notification {
    const KIND: Kind = Kind::Notification;
    const PARAMETERS: &'static [&'static str] = &[];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let core = over(py, &handle)?;
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }
}

fn wish(bits: Flags, all: bool, consume: bool) -> Wish {
    Wish { value: bits.0, how: if all { ALL } else { 0 } | if consume { CONSUME } else { 0 } }
}

impl Notification {
    fn make(
        py: Python<'_>,
        space: Option<&Space>,
        name: Option<&str>,
        mode: Option<u32>,
    ) -> PyResult<PyClassInitializer<Self>> {
        <Self as Object>::over(py, create(py, Self::KIND, space, name, mode)?)
    }

    #[inline]
    fn wait_for(&self, py: Python<'_>, bits: Flags, all: bool, consume: bool, timeout: Timeout) -> PyResult<u64> {
        self.handle.check(py)?;
        let wish = wish(bits, all, consume);
        match timeout.within("wait", |deadline| self.core.wait(self.handle.kernel(), wish, deadline)) {
            Ok(found) => Ok(found),
            Err(error) => Err(self.failed(py, wish, timeout, error)),
        }
    }

    #[cold]
    pub fn failed(&self, py: Python<'_>, wish: Wish, timeout: Timeout, error: underpass_core::Error) -> PyErr {
        let quantity = if wish.how & ALL == 0 { "any" } else { "all" };
        let detail =
            format!("its bits are {:#x}, and {quantity} of {:#x} was waited for", self.core.bits(), wish.value);
        let context = Context { object: &self.handle.title, failed: "not notified", time: timeout.text(), detail };
        raise(py, &context, error)
    }

    #[inline]
    fn told(&self, py: Python<'_>, before: underpass_core::Result<u64>) -> PyResult<u64> {
        before.map_err(|error| raise(py, &Context::of(&self.handle.title, "not changed"), error))
    }
}

#[pymethods]
impl Notification {
    #[new]
    fn new(py: Python<'_>) -> PyResult<PyClassInitializer<Self>> {
        Self::make(py, None, None, None)
    }

    /// Make a named notification. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, Self::make(py, space.map(Bound::get), Some(name), mode)?)
    }

    /// Open a named notification, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the notification of that name, or make it.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let create = || Self::make(py, space.map(Bound::get), Some(name), mode);
        object::open_or_create(py, name, space, [0; PARAMETERS], create)
    }

    /// Set the flags in ``bits`` beside those that are set; the flags before.
    ///
    /// Wakes every waiter whose wish that fulfils, in one go. It never waits for a waiter. Zephyr's ``k_event_post``,
    /// seL4's ``Signal``. If the process dies inside, either nothing has happened, or everybody is told.
    ///
    /// Raises:
    ///     ValueError: ``bits`` is not between 0 and 2**64 - 1.
    #[inline]
    #[pyo3(signature = (bits=Flags::FIRST))]
    fn notify(&self, py: Python<'_>, bits: Flags) -> PyResult<u64> {
        self.handle.check(py)?;
        self.told(py, self.core.notify(self.handle.kernel(), bits.0))
    }

    /// Make the flags in ``mask`` those of ``bits``, and leave the others; the flags before.
    ///
    /// Wakes as ``notify`` does. Zephyr's ``k_event_set_masked``.
    #[pyo3(signature = (bits, mask=Flags::EVERY))]
    fn set(&self, py: Python<'_>, bits: Flags, mask: Flags) -> PyResult<u64> {
        self.handle.check(py)?;
        self.told(py, self.core.set(self.handle.kernel(), bits.0, mask.0))
    }

    /// Clear the flags in ``bits``, by default all; the flags before. Nobody is woken.
    #[pyo3(signature = (bits=Flags::EVERY))]
    fn clear(&self, py: Python<'_>, bits: Flags) -> PyResult<u64> {
        self.handle.check(py)?;
        self.told(py, self.core.clear(self.handle.kernel(), bits.0))
    }

    /// Wait for any of the flags in ``bits``, or with ``all`` for all of them at once; those that were set.
    ///
    /// A waiter is woken by the one change that fulfils its wish, together with every other whose wish it fulfils; there
    /// is no order among them. With ``consume`` what is returned has been cleared for those who come later. Nothing
    /// happens to a waiter when whoever should notify dies: pass ``timeout``. Waiting for no flag returns 0 at once.
    ///
    /// Raises:
    ///     TimedOut: That did not happen within ``timeout`` seconds. Nothing was cleared.
    ///     ValueError: ``bits`` is not between 0 and 2**64 - 1.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> LOADED, READY = 0b01, 0b10
    ///     >>> news = underpass.Notification()
    ///     >>> before = news.notify(LOADED)
    ///     >>> news.wait(LOADED | READY, all=True, timeout=0)
    ///     Traceback (most recent call last):
    ///     underpass.errors.TimedOut: notification ...
    ///     >>> before = news.notify(READY)
    ///     >>> news.wait(LOADED | READY, all=True, timeout=1)
    ///     3
    #[pyo3(signature = (bits=Flags::EVERY, *, all=false, consume=true, timeout=None))]
    fn wait(&self, py: Python<'_>, bits: Flags, all: bool, consume: bool, timeout: Option<f64>) -> PyResult<u64> {
        self.wait_for(py, bits, all, consume, Timeout::new(timeout)?)
    }

    /// Return what ``wait`` would return at once, or raise WouldBlock.
    #[pyo3(signature = (bits=Flags::EVERY, *, all=false, consume=true))]
    fn wait_nowait(&self, py: Python<'_>, bits: Flags, all: bool, consume: bool) -> PyResult<u64> {
        self.wait_for(py, bits, all, consume, Timeout::NoWait)
    }

    /// A task's wait for flags.
    #[pyo3(signature = (bits, all, consume))]
    fn _stay(slf: &Bound<'_, Self>, bits: Flags, all: bool, consume: bool) -> Stay {
        let (this, wish) = (slf.get(), wish(bits, all, consume));
        let notification = slf.clone().unbind();
        Stay::new(&this.handle, Arc::new(this.core.clone()), wish, move |py, given| {
            given.map_err(|error| notification.get().failed(py, wish, Timeout::NoWait, error))
        })
    }

    /// Some of the flags, as something to be waited for beside others: ready when any of them is set, or with ``all`` all.
    ///
    /// For `wait_any` and a `WaitSet`, as ``Queue.room`` is. It takes no flag.
    ///
    /// Raises:
    ///     ValueError: ``bits`` is not between 0 and 2**64 - 1.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> news = underpass.Notification()
    ///     >>> urgent = news.flags(0b100)
    ///     >>> news.notify(0b101)
    ///     0
    ///     >>> underpass.wait_any(urgent, timeout=1) == [urgent]
    ///     True
    #[pyo3(signature = (bits, *, all=false))]
    fn flags(slf: Bound<'_, Self>, bits: Flags, all: bool) -> PyResult<NotificationFlags> {
        let (py, handle) = (slf.py(), slf.get().handle.clone());
        handle.check(py)?;
        let wish = Wish { value: bits.0, how: if all { ALL } else { 0 } };
        let core = core::Wished { notification: over(py, &handle)?, wish };
        Ok(NotificationFlags { notification: slf.unbind(), handle, part: Part::one_of_many(), core })
    }

    /// The flags that are set now.
    #[getter]
    fn bits(&self, py: Python<'_>) -> PyResult<u64> {
        self.handle.look(py)?;
        Ok(self.core.bits())
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<NotificationStatistics> {
        self.handle.look(py)?;
        Ok(NotificationStatistics { bits: self.core.bits(), waiters: self.handle.waiters_with(&self.core) })
    }

    fn __repr__(&self) -> String {
        describe_with(&self.handle, &self.core, &format!("bits {:#x}", self.core.bits()))
    }
}

/// `<Once 'setup', done, waiters 2>`.
pub fn describe(handle: &Handle, state: &str) -> String {
    described(handle, state, &handle.waiters_text())
}

/// `<Notification 'news', bits 0x1, waiters 2>`: tasks in slots are among them.
pub fn describe_with(handle: &Handle, object: &impl Slotted, state: &str) -> String {
    described(handle, state, &handle.waiters_text_with(object))
}

pub fn described(handle: &Handle, state: &str, waiters: &str) -> String {
    let closed = if handle.is_closed() { ", closed" } else { "" };
    format!("<{} {}, {state}{waiters}{closed}>", handle.header.kind.name(), handle.label())
}
