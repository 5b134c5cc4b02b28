//! `underpass.Event`.

use std::sync::Arc;

use pyo3::prelude::*;
use underpass_core::notification as core;
use underpass_core::waiters::Wish;
use underpass_lab::record::Manner;
use underpass_shm::header::{Kind, PARAMETERS};

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::notification;
use crate::number::mode;
use crate::object::{self, Object, SharedObject};
use crate::space::Space;
use crate::stay::Stay;
use crate::timeout::Timeout;

/// The one flag of an event.
const FLAG: u64 = 1;
const WISH: Wish = Wish { value: FLAG, how: 0 };

/// A flag that processes set, clear, and wait for: the standard library's ``Event``, on a notification.
///
/// It stays set until it is cleared, whoever waits and whoever dies. A ``set`` lets all go who wait at that moment, also
/// if ``clear`` follows at once. Asking and setting make no system call while nobody sleeps.
///
/// Example:
///     >>> import underpass
///     >>> ready = underpass.Event()
///     >>> ready.set()
///     >>> ready.wait(timeout=1)
///     True
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Event {
    pub handle: Arc<Handle>,
    pub core: core::Notification,
}

/// A snapshot of an event.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct EventStatistics {
    /// True while it is set.
    is_set: bool,
    /// How many threads sleep here, and tasks wait, wherever they are.
    waiters: usize,
}

#[pymethods]
impl EventStatistics {
    fn __repr__(&self) -> String {
        let is_set = if self.is_set { "True" } else { "False" };
        format!("EventStatistics(is_set={is_set}, waiters={})", self.waiters)
    }
}

impl Object for Event {
    const KIND: Kind = Kind::Event;
    const PARAMETERS: &'static [&'static str] = &[];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let core = notification::over(py, &handle)?;
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }
}

impl Event {
    fn make(
        py: Python<'_>,
        space: Option<&Space>,
        name: Option<&str>,
        mode: Option<u32>,
    ) -> PyResult<PyClassInitializer<Self>> {
        <Self as Object>::over(py, notification::create(py, Self::KIND, space, name, mode)?)
    }

    #[inline]
    fn wait_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        self.handle.check(py)?;
        match timeout.within("wait", |deadline| self.core.wait(self.handle.kernel(), WISH, deadline)) {
            Ok(_) => Ok(true),
            Err(error) => Err(self.failed(py, "not set", timeout, error)),
        }
    }

    #[cold]
    pub fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: underpass_core::Error) -> PyErr {
        let context = Context { time: timeout.text(), ..Context::of(&self.handle.title, failed) };
        raise(py, &context, error)
    }
}

#[pymethods]
impl Event {
    #[new]
    fn new(py: Python<'_>) -> PyResult<PyClassInitializer<Self>> {
        Self::make(py, None, None, None)
    }

    /// Make a named event. Raises ExistsError if the name is taken.
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

    /// Open a named event, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the event of that name, or make it.
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

    /// Set the flag and wake all who wait. Idempotent; never waits for a waiter.
    ///
    /// If the process dies inside, either nothing has happened, or everybody is told.
    fn set(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check_for(py, Manner::Set(1))?;
        let before = self.core.notify(self.handle.kernel(), FLAG);
        before.map(drop).map_err(|error| self.failed(py, "not set", Timeout::NoWait, error))
    }

    /// Clear the flag. Idempotent; nobody is woken.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check_for(py, Manner::Set(0))?;
        let before = self.core.clear(self.handle.kernel(), FLAG);
        before.map(drop).map_err(|error| self.failed(py, "not cleared", Timeout::NoWait, error))
    }

    /// True while the flag is set.
    fn is_set(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.check_look(py)?;
        Ok(self.core.bits() & FLAG != 0)
    }

    /// Wait until the flag is set; always True.
    ///
    /// A ``set`` lets all go who wait, together, also if the flag is cleared at once. Nothing happens to a waiter when
    /// whoever should set it dies: pass ``timeout``.
    ///
    /// Raises:
    ///     TimedOut: It was not set within ``timeout`` seconds; the standard library returns False.
    #[pyo3(signature = (*, timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.wait_for(py, Timeout::new(timeout)?)
    }

    /// Return True if the flag is set, or raise WouldBlock.
    fn wait_nowait(&self, py: Python<'_>) -> PyResult<bool> {
        self.wait_for(py, Timeout::NoWait)
    }

    /// A task's wait until it is set.
    fn _stay(slf: &Bound<'_, Self>) -> Stay {
        let (this, event) = (slf.get(), slf.clone().unbind());
        Stay::new(&this.handle, Arc::new(this.core.clone()), WISH, move |py, given| match given {
            Ok(_) => Ok(true),
            Err(error) => Err(event.get().failed(py, "not set", Timeout::NoWait, error)),
        })
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<EventStatistics> {
        self.handle.look(py)?;
        Ok(EventStatistics { is_set: self.core.bits() & FLAG != 0, waiters: self.handle.waiters_with(&self.core) })
    }

    fn __repr__(&self) -> String {
        let state = if self.core.bits() & FLAG == 0 { "not set" } else { "set" };
        notification::describe_with(&self.handle, &self.core, state)
    }
}
