//! `underpass.AtomicInt`.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use underpass_core::atomic as core;
use underpass_core::kernel::Wanted;
use underpass_core::waiters::{self, Waiters};
use underpass_lab::record::Manner;
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::atomic::AtomicWords;
use underpass_shm::place::Placed;

use crate::error::{Context, raise};
use crate::handle::{Handle, Part};
use crate::notification::describe_with;
use crate::number::{mode, whole};
use crate::object::{self, Object, Pickled, SharedObject};
use crate::space::Space;
use crate::stay::Stay;
use crate::timeout::Timeout;

const WAITERS: usize = WORDS + size_of::<AtomicWords>();

/// What fits into the word.
#[derive(Debug, Clone, Copy)]
pub struct Number(i64);

impl<'a, 'py> FromPyObject<'a, 'py> for Number {
    type Error = PyErr;

    #[inline]
    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        value.extract().map(Self).map_err(|error| {
            if !error.is_instance_of::<PyOverflowError>(value.py()) {
                return error;
            }
            PyValueError::new_err(format!("{} is not between -2**63 and 2**63 - 1: an AtomicInt has 64 bits", *value))
        })
    }
}

/// A whole number of 64 bits between processes, on which they can wait: C++'s ``atomic<int64_t>``, Zephyr's ``k_futex``.
///
/// Every operation is one indivisible step for all processes, in one order that all of them see. ``add`` and ``sub``
/// count modulo 2**64, from 2**63 - 1 on to -2**63, without an error. Nobody owns it: what a dead process has done to
/// it stays. Without a waiter no operation makes a system call.
///
/// Args:
///     value: The number at the start, -2**63 to 2**63 - 1, as all arguments of its operations.
///
/// Raises:
///     ValueError: ``value`` does not fit.
///
/// Example:
///     >>> import underpass
///     >>> hits = underpass.AtomicInt()
///     >>> hits.add(5)
///     0
///     >>> hits.compare_exchange(5, 6)
///     5
///     >>> int(hits)
///     6
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct AtomicInt {
    handle: Arc<Handle>,
    core: core::AtomicInt,
}

/// An atomic integer as those see it who wait for another value than one: ready while it has another.
///
/// What ``AtomicInt.change_from`` is: for `wait_any`, beside other objects.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct AtomicIntChange {
    atomic: Py<AtomicInt>,
    pub handle: Arc<Handle>,
    pub part: Part,
    pub core: core::Change,
}

impl Drop for AtomicIntChange {
    fn drop(&mut self) {
        self.handle.end_part(self.part);
    }
}

#[pymethods]
impl AtomicIntChange {
    /// A descriptor that is readable while the value is another: see `SharedObject.fileno`. It is closed with this, which is to be kept.
    fn fileno(slf: &Bound<'_, Self>) -> PyResult<RawFd> {
        crate::many::fileno(slf)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py, (Py<AtomicInt>, i64)>> {
        let change_from = py.get_type::<AtomicInt>().getattr("change_from")?;
        Ok((change_from, (self.atomic.clone_ref(py), self.core.wish.value.cast_signed())))
    }

    fn __repr__(&self) -> String {
        format!("<change of {} from {}>", self.handle.title, self.core.wish.value.cast_signed())
    }
}

/// A snapshot of an atomic integer.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct AtomicIntStatistics {
    /// The number.
    value: i64,
    /// How many threads sleep here, and tasks wait, wherever they are.
    waiters: usize,
}

#[pymethods]
impl AtomicIntStatistics {
    fn __repr__(&self) -> String {
        format!("AtomicIntStatistics(value={}, waiters={})", self.value, self.waiters)
    }
}

/// The core of such an object.
fn over(py: Python<'_>, handle: &Handle) -> PyResult<core::AtomicInt> {
    let words = Placed::at(&handle.region, WORDS);
    let waiters = Waiters::at(&handle.region, WAITERS);
    let (Some(words), Some(waiters)) = (words, waiters) else {
        let error = underpass_core::Error::Corrupted(format!("{} bytes are too few", handle.region.len()));
        return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
    };
    Ok(core::AtomicInt::new(words, waiters))
}

impl Object for AtomicInt {
    const KIND: Kind = Kind::AtomicInt;
    const PARAMETERS: &'static [&'static str] = &[];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let core = over(py, &handle)?;
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }
}

impl AtomicInt {
    fn make(
        py: Python<'_>,
        value: Number,
        space: Option<&Space>,
        name: Option<&str>,
        mode: Option<u32>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let wanted = Wanted {
            name,
            kind: Self::KIND,
            extent: waiters::extent(WAITERS),
            parameters: [0; PARAMETERS],
            mode,
            format: &|region| {
                let words =
                    Placed::at(region, WORDS).ok_or_else(|| underpass_core::Error::Corrupted("too short".into()))?;
                core::AtomicInt::format(&words, value.0);
                Ok(())
            },
        };
        <Self as Object>::over(py, Arc::new(Handle::create(py, space, &wanted)?))
    }

    #[inline]
    fn told<T>(&self, py: Python<'_>, result: underpass_core::Result<T>) -> PyResult<T> {
        result.map_err(|error| raise(py, &Context::of(&self.handle.title, "changed, its waiters not told"), error))
    }

    #[inline]
    fn wait_for(&self, py: Python<'_>, expected: Number, timeout: Timeout) -> PyResult<bool> {
        self.handle.check(py)?;
        match timeout.within("wait", |deadline| self.core.wait(self.handle.kernel(), expected.0, deadline)) {
            Ok(()) => Ok(true),
            Err(error) => Err(self.failed(py, timeout, error)),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, timeout: Timeout, error: underpass_core::Error) -> PyErr {
        let detail = format!("its value is {}", self.core.load());
        let context = Context { object: &self.handle.title, failed: "not changed", time: timeout.text(), detail };
        raise(py, &context, error)
    }
}

#[pymethods]
impl AtomicInt {
    #[new]
    #[pyo3(signature = (value=Number(0)), text_signature = "(value=0)")]
    fn new(py: Python<'_>, value: Number) -> PyResult<PyClassInitializer<Self>> {
        Self::make(py, value, None, None, None)
    }

    /// Make a named atomic integer. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, value=Number(0), *, space=None, mode=None), text_signature = "(name, value=0, *, space=None, mode=None)")]
    fn create(
        py: Python<'_>,
        name: &str,
        value: Number,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, Self::make(py, value, space.map(Bound::get), Some(name), mode)?)
    }

    /// Open a named atomic integer, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the atomic integer of that name, or make it with ``value``.
    #[staticmethod]
    #[pyo3(signature = (name, value=Number(0), *, space=None, mode=None), text_signature = "(name, value=0, *, space=None, mode=None)")]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        value: Number,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let create = || Self::make(py, value, space.map(Bound::get), Some(name), mode);
        object::open_or_create(py, name, space, [0; PARAMETERS], create)
    }

    /// Return the value.
    #[inline]
    fn load(&self, py: Python<'_>) -> PyResult<i64> {
        self.handle.check_look(py)?;
        Ok(self.core.load())
    }

    /// Make it ``value``. Wakes all who wait for another one.
    #[inline]
    fn store(&self, py: Python<'_>, value: Number) -> PyResult<()> {
        self.handle.check_for(py, Manner::Set(value.0))?;
        self.told(py, self.core.exchange(self.handle.kernel(), value.0)).map(drop)
    }

    /// Make it ``value``; the value before. Wakes all who wait for another one.
    #[inline]
    fn exchange(&self, py: Python<'_>, value: Number) -> PyResult<i64> {
        self.handle.check(py)?;
        self.told(py, self.core.exchange(self.handle.kernel(), value.0))
    }

    /// Make it ``value`` if it is ``expected``; the value before, which is ``expected`` if that succeeded.
    #[inline]
    fn compare_exchange(&self, py: Python<'_>, expected: Number, value: Number) -> PyResult<i64> {
        self.handle.check(py)?;
        self.told(py, self.core.compare_exchange(self.handle.kernel(), expected.0, value.0))
    }

    /// Add ``value``, modulo 2**64; the value before.
    #[inline]
    fn add(&self, py: Python<'_>, value: Number) -> PyResult<i64> {
        self.handle.check(py)?;
        self.told(py, self.core.add(self.handle.kernel(), value.0))
    }

    /// Subtract ``value``, modulo 2**64; the value before.
    #[inline]
    fn sub(&self, py: Python<'_>, value: Number) -> PyResult<i64> {
        self.handle.check(py)?;
        self.told(py, self.core.sub(self.handle.kernel(), value.0))
    }

    /// Keep the bits that ``value`` has too; the value before.
    #[inline]
    fn and_(&self, py: Python<'_>, value: Number) -> PyResult<i64> {
        self.handle.check(py)?;
        self.told(py, self.core.and(self.handle.kernel(), value.0))
    }

    /// Set the bits that ``value`` has; the value before.
    #[inline]
    fn or_(&self, py: Python<'_>, value: Number) -> PyResult<i64> {
        self.handle.check(py)?;
        self.told(py, self.core.or(self.handle.kernel(), value.0))
    }

    /// Flip the bits that ``value`` has; the value before.
    #[inline]
    fn xor(&self, py: Python<'_>, value: Number) -> PyResult<i64> {
        self.handle.check(py)?;
        self.told(py, self.core.xor(self.handle.kernel(), value.0))
    }

    /// Sleep while the value is ``expected``, until a ``wake``; always True.
    ///
    /// Every change to another value lets all go who wait for it to change, in no order; nobody needs to call ``wake``
    /// for that. A change that is undone at once may be missed. ``wake`` lets the most urgent go, and of those who waited
    /// for longest, also with the value unchanged: look at the value again. Nothing happens to a waiter when whoever should change it dies: pass
    /// ``timeout``. C++20's ``atomic::wait``, Zephyr's ``k_futex_wait``.
    ///
    /// Raises:
    ///     TimedOut: It was ``expected`` for ``timeout`` seconds.
    ///
    /// Example:
    ///     >>> import threading, underpass
    ///     >>> hits = underpass.AtomicInt(0)
    ///     >>> visitor = threading.Thread(target=hits.add, args=(1,))
    ///     >>> visitor.start()
    ///     >>> hits.wait(0, timeout=10)  # sleeps while it is 0
    ///     True
    ///     >>> visitor.join()
    #[pyo3(signature = (expected, *, timeout=None))]
    fn wait(&self, py: Python<'_>, expected: Number, timeout: Option<f64>) -> PyResult<bool> {
        self.wait_for(py, expected, Timeout::new(timeout)?)
    }

    /// Return True if the value is not ``expected``, or raise WouldBlock.
    fn wait_nowait(&self, py: Python<'_>, expected: Number) -> PyResult<bool> {
        self.wait_for(py, expected, Timeout::NoWait)
    }

    /// Any other value than ``expected``, as something to be waited for beside others: ready while the value is another.
    ///
    /// For `wait_any`, `select` and a `WaitSet`, as ``Queue.room`` is: what ``wait`` waits for, without the ``wake`` of one who chooses
    /// among those who wait.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> hits = underpass.AtomicInt(5)
    ///     >>> change = hits.change_from(5)
    ///     >>> hits.add(1)
    ///     5
    ///     >>> underpass.wait_any(change, timeout=1) == [change]
    ///     True
    fn change_from(slf: Bound<'_, Self>, expected: Number) -> PyResult<AtomicIntChange> {
        let (py, handle) = (slf.py(), slf.get().handle.clone());
        handle.check(py)?;
        let core = core::Change { atomic: over(py, &handle)?, wish: core::AtomicInt::wish(expected.0) };
        Ok(AtomicIntChange { atomic: slf.unbind(), handle, part: Part::one_of_many(), core })
    }

    /// A task's wait while the value is ``expected``.
    fn _stay(&self, py: Python<'_>, expected: Number) -> PyResult<Stay> {
        let (handle, wish) = (self.handle.clone(), core::AtomicInt::wish(expected.0));
        Ok(Stay::new(&self.handle, Arc::new(over(py, &self.handle)?), wish, move |py, given| match given {
            Ok(_) => Ok(true),
            Err(error) => Err(raise(py, &Context::of(&handle.title, "not changed"), error)),
        }))
    }

    /// Let up to ``count`` waiters go, whatever the value is; how many there were.
    ///
    /// Those go first who wait most urgently (their SCHED_FIFO or SCHED_RR priority, or that of `underpass.sync.priority`),
    /// and of those who have waited for longest; the dead are passed over, and in place of one who dies before it has
    /// returned the next one goes. At most 4,095 wait at one time, and further ones have not begun to. Zephyr's
    /// ``k_futex_wake``.
    ///
    /// Raises:
    ///     ValueError: ``count`` is below 1.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> hits = underpass.AtomicInt(0)
    ///     >>> hits.wake(3)  # nobody waits
    ///     0
    #[pyo3(signature = (count=1))]
    fn wake(&self, py: Python<'_>, #[pyo3(from_py_with = whole)] count: i64) -> PyResult<u64> {
        self.handle.check(py)?;
        match u64::try_from(count) {
            Ok(count) if count > 0 => self.core.wake(self.handle.kernel(), count).map_err(|error| {
                let context = Context::of(&self.handle.title, "its waiters not woken");
                raise(py, &context, error)
            }),
            _ => Err(PyValueError::new_err(format!("count={count} is below 1"))),
        }
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<AtomicIntStatistics> {
        self.handle.look(py)?;
        Ok(AtomicIntStatistics { value: self.core.load(), waiters: self.handle.waiters_with(&self.core) })
    }

    fn __int__(&self, py: Python<'_>) -> PyResult<i64> {
        self.load(py)
    }

    fn __repr__(&self) -> String {
        describe_with(&self.handle, &self.core, &format!("value {}", self.core.load()))
    }
}
