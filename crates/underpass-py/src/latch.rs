//! `underpass.sync.Latch`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::kernel::Wanted;
use underpass_core::latch::{self as core, MOST};
use underpass_core::{Error, Result};
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::latch::LatchWords;
use underpass_shm::place::Placed;
use underpass_shm::region::Extent;

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::notification::describe;
use crate::number::{Whole, mode, whole};
use crate::object::{self, Object, SharedObject};
use crate::space::Space;
use crate::timeout::Timeout;

/// Shut until so many have arrived, then open for ever: Java's ``CountDownLatch``, C++'s ``std::latch``.
///
/// Who arrives does not wait, who waits need not arrive, and any number may wait. What was written to shared memory before
/// an arrival is seen by everybody who finds it open. There is no way back: for what is done again and again there is
/// ``Barrier``.
///
/// Nobody owns anything of it. Who dies before it has arrived is waited for, for ever or until a time-out, since nobody
/// knows who was to come (a ``Barrier`` that was joined does). An arrival that is killed inside has happened or not; if it
/// was the last, everybody is woken also when it dies before it could. Arriving, and asking whether it is open, makes no
/// system call while nobody sleeps.
///
/// Args:
///     count: How many are to come, 0 to 2**31 - 1. With 0 it is open from the start.
///
/// Raises:
///     ValueError: ``count`` is out of range.
///
/// Example:
///     >>> import threading
///     >>> from underpass.sync import Latch
///     >>> ready = Latch(2)
///     >>> for _ in range(2):
///     ...     threading.Thread(target=ready.count_down).start()
///     >>> ready.wait(timeout=10)
///     True
///     >>> ready.count
///     0
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Latch {
    pub handle: Arc<Handle>,
    pub core: core::Latch,
}

/// A snapshot of a latch.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct LatchStatistics {
    /// How many are still to come; 0: it is open.
    count: u32,
    /// Threads that sleep until it is open, wherever they are.
    waiters: usize,
}

#[pymethods]
impl LatchStatistics {
    fn __repr__(&self) -> String {
        format!("LatchStatistics(count={}, waiters={})", self.count, self.waiters)
    }
}

fn checked(count: Whole) -> PyResult<u32> {
    count.word("count", 0, MOST).and_then(|number| {
        let range = || PyValueError::new_err(format!("count={number} is not between 0 and {MOST}"));
        (number <= MOST).then_some(number).ok_or_else(range)
    })
}

const fn parameters(count: u32) -> [u64; PARAMETERS] {
    [count as u64, 0, 0, 0, 0, 0, 0, 0]
}

fn words(handle: &Handle) -> Option<Placed<LatchWords>> {
    Placed::at(&handle.region, WORDS)
}

fn create(
    py: Python<'_>,
    space: Option<&Bound<'_, Space>>,
    name: Option<&str>,
    mode: Option<u32>,
    count: u32,
) -> PyResult<PyClassInitializer<Latch>> {
    let wanted = Wanted {
        name,
        kind: Kind::Latch,
        extent: Extent::whole(WORDS + size_of::<LatchWords>()),
        parameters: parameters(count),
        mode,
        format: &|region| {
            let words = Placed::at(region, WORDS).ok_or_else(|| Error::Corrupted("too short".into()))?;
            core::Latch::format(&words, count);
            Ok(())
        },
    };
    Latch::over(py, Arc::new(Handle::create(py, space.map(Bound::get), &wanted)?))
}

impl Object for Latch {
    const KIND: Kind = Kind::Latch;
    const PARAMETERS: &'static [&'static str] = &["count"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let Some(words) = words(&handle) else {
            let error = Error::Corrupted("its length is out of range".into());
            return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
        };
        Ok(object::base(&handle).add_subclass(Self { handle, core: core::Latch::new(words) }))
    }
}

impl Latch {
    #[inline]
    fn wait_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        self.handle.check(py)?;
        match timeout.within("wait", |deadline| self.core.wait(self.handle.kernel(), deadline)) {
            Ok(()) => Ok(true),
            Err(error) => Err(self.failed(py, "not open", timeout, error)),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let detail = format!("{} are still to come", self.core.count());
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }
}

#[pymethods]
impl Latch {
    #[new]
    fn new(py: Python<'_>, count: Whole) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, checked(count)?)
    }

    /// Make a named latch. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, count, *, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        count: Whole,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space, Some(name), mode, checked(count)?)?)
    }

    /// Open a named latch, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the latch of that name, or make it. Raises MismatchError if it exists and was made with another ``count``.
    #[staticmethod]
    #[pyo3(signature = (name, count, *, space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        count: Whole,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let count = checked(count)?;
        object::open_or_create(py, name, space, parameters(count), || create(py, space, Some(name), mode, count))
    }

    /// Arrive ``n`` times, and go on. The last arrival wakes everybody who waits.
    ///
    /// Never waits. Killed inside, it has counted or not; all who wait are woken if it has, and was the last.
    ///
    /// Raises:
    ///     MisuseError: Fewer than ``n`` are to come. Nothing was counted.
    ///     ValueError: ``n`` is below 1.
    #[pyo3(signature = (n=1))]
    fn count_down(&self, py: Python<'_>, #[pyo3(from_py_with = whole)] n: i64) -> PyResult<()> {
        self.handle.check(py)?;
        if n < 1 {
            return Err(PyValueError::new_err(format!("n={n} is below 1")));
        }
        let done: Result<()> = self.core.count_down(self.handle.kernel(), u32::try_from(n).unwrap_or(u32::MAX));
        done.map_err(|error| self.failed(py, "not counted down", Timeout::NoWait, error))
    }

    /// Wait until it is open; always True.
    ///
    /// The last arrival wakes all who wait, in no order that is promised: nobody takes anything from another.
    ///
    /// Raises:
    ///     TimedOut: Not within ``timeout`` seconds; the text says how many are still to come.
    #[pyo3(signature = (*, timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.wait_for(py, Timeout::new(timeout)?)
    }

    /// True if it is open; raise WouldBlock at once if it is not.
    fn wait_nowait(&self, py: Python<'_>) -> PyResult<bool> {
        self.wait_for(py, Timeout::NoWait)
    }

    /// How many are still to come; 0: it is open.
    #[getter]
    fn count(&self, py: Python<'_>) -> PyResult<u32> {
        self.handle.look(py)?;
        Ok(self.core.count())
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<LatchStatistics> {
        self.handle.look(py)?;
        Ok(LatchStatistics { count: self.core.count(), waiters: self.handle.waiters() })
    }

    fn __repr__(&self) -> String {
        match self.core.count() {
            0 => describe(&self.handle, "open"),
            count => describe(&self.handle, &format!("{count} to come")),
        }
    }
}
