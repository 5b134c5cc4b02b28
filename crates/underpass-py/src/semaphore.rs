//! `underpass.Semaphore`.

use std::fmt::Write as _;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::kernel::Kernel;
use underpass_core::kernel::Wanted;
use underpass_core::many::Ready;
use underpass_core::semaphore::fair::Fair;
use underpass_core::semaphore::{self as core, MOST};
use underpass_core::waiters::{self, Order, Waiters};
use underpass_core::{Deadline, Result as Done};
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::semaphore::{FairWords, SemaphoreWords};
use underpass_shm::place::Placed;

use crate::error::{Context, raise};
use crate::fairness;
use crate::handle::Handle;
use crate::number::{Whole, mode, whole};
use crate::object::{self, Object, SharedObject};
use crate::space::Space;
use crate::timeout::Timeout;

/// A counting semaphore between processes: Dijkstra's, with Zephyr's limit and reset.
///
/// It counts and has no owner: what a dead process had acquired stays acquired. An uncontended operation makes no system
/// call, whatever the fairness.
///
/// With ``fairness="barging"``, whoever comes first after a release gets the unit: the fastest, and nobody is promised a
/// turn. With "arrival" and "priority" a release hands its unit to the one who has waited for longest, or to the one who
/// waits with the highest `underpass.sync.priority`, and of equals for longest (Zephyr's order). Such a unit never becomes
/// free in between, so nobody overtakes who waits; if the one to whom it was handed dies before it has come, it is handed
/// on. Each turn costs the time in which a sleeper wakes.
///
/// Args:
///     value: Units free at the start.
///     limit: The most units it can have, 1 to 2**31 - 1; the default is that.
///     saturate: A release above the limit stays at it instead of raising.
///     fairness: Who gets a unit that is released while several wait: "barging", "arrival" or "priority". The first 64 that
///         wait have a place in that order; who comes while all places are taken gets one when one is left.
///
/// Raises:
///     ValueError: ``value`` is not between 0 and ``limit``, ``limit`` is out of range, or there is no such fairness.
///
/// Example:
///     >>> import underpass
///     >>> seats = underpass.Semaphore(2)
///     >>> with seats.holding(timeout=1):
///     ...     seats.value
///     1
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Semaphore {
    pub handle: Arc<Handle>,
    pub core: Core,
}

/// In which way it is fair.
#[derive(Debug)]
pub enum Core {
    Barging(core::Semaphore),
    Fair(Fair),
}

impl Core {
    #[inline]
    fn acquire(&self, kernel: &dyn Kernel, deadline: Deadline) -> Done<()> {
        match self {
            Self::Barging(core) => core.acquire(kernel, deadline),
            Self::Fair(core) => core.acquire(kernel, deadline),
        }
    }

    #[inline]
    fn release(&self, kernel: &dyn Kernel, count: u32) -> Done<()> {
        match self {
            Self::Barging(core) => core.release(kernel, count),
            Self::Fair(core) => core.release(kernel, count),
        }
    }

    fn reset(&self, kernel: &dyn Kernel) -> Done<()> {
        match self {
            Self::Barging(core) => {
                core.reset(kernel);
                Ok(())
            }
            Self::Fair(core) => core.reset(kernel),
        }
    }

    pub fn ready(&self) -> &dyn Ready {
        match self {
            Self::Barging(core) => core,
            Self::Fair(core) => core,
        }
    }

    fn value(&self) -> u32 {
        match self {
            Self::Barging(core) => core.value(),
            Self::Fair(core) => core.value(),
        }
    }
}

/// A snapshot of a semaphore.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct SemaphoreStatistics {
    /// Units free.
    value: u32,
    /// Most units.
    limit: u32,
    /// Who gets a unit that is released while several wait.
    fairness: &'static str,
    /// Threads that sleep until they get one, wherever they are.
    waiters: usize,
}

#[pymethods]
impl SemaphoreStatistics {
    fn __repr__(&self) -> String {
        let Self { value, limit, fairness, waiters } = self;
        format!("SemaphoreStatistics(value={value}, limit={limit}, fairness='{fairness}', waiters={waiters})")
    }
}

/// Holds a unit while the block runs.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Holding {
    semaphore: Py<Semaphore>,
    timeout: Timeout,
}

#[pymethods]
impl Holding {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        self.semaphore.get().acquire_for(py, self.timeout).map(drop)
    }

    fn __exit__(&self, py: Python<'_>, _kind: Py<PyAny>, _error: Py<PyAny>, _trace: Py<PyAny>) -> PyResult<()> {
        self.semaphore.get().release(py, 1)
    }
}

/// Bytes of one that hands its units over, after the header.
const FAIR: usize = size_of::<FairWords>() + waiters::SIZE;

struct Parameters {
    value: u32,
    limit: u32,
    saturate: bool,
    fairness: u64,
}

impl Parameters {
    fn new(value: Whole, limit: Option<Whole>, saturate: bool, fairness: &str) -> PyResult<Self> {
        let fairness = fairness::number(fairness)?;
        let wanted = limit.map_or(i64::from(MOST), |limit| limit.0);
        let value = value.0;
        let limit = u32::try_from(wanted).ok().filter(|limit| (1..=MOST).contains(limit));
        let Some(limit) = limit else {
            return Err(PyValueError::new_err(format!("limit={wanted} is not between 1 and {MOST}")));
        };
        match u32::try_from(value).ok().filter(|value| *value <= limit) {
            Some(value) => Ok(Self { value, limit, saturate, fairness }),
            None => Err(PyValueError::new_err(format!("value={value} is not between 0 and the limit of {limit}"))),
        }
    }

    fn words(&self) -> [u64; PARAMETERS] {
        [u64::from(self.limit), u64::from(self.saturate), self.fairness, 0, 0, 0, 0, 0]
    }

    fn create(
        &self,
        py: Python<'_>,
        space: Option<&Space>,
        name: Option<&str>,
        mode: Option<u32>,
    ) -> PyResult<PyClassInitializer<Semaphore>> {
        let wanted = Wanted {
            name,
            kind: Kind::Semaphore,
            size: WORDS + if self.fairness == 0 { size_of::<SemaphoreWords>() } else { FAIR },
            parameters: self.words(),
            mode,
            format: &|region| {
                let short = || underpass_core::Error::Corrupted("too short".into());
                if self.fairness == 0 {
                    core::Semaphore::format(&*Placed::at(region, WORDS).ok_or_else(short)?, self.value);
                } else {
                    Fair::format(&*Placed::at(region, WORDS).ok_or_else(short)?, self.value);
                }
                Ok(())
            },
        };
        Semaphore::over(py, Arc::new(Handle::create(py, space, &wanted)?))
    }
}

impl Object for Semaphore {
    const KIND: Kind = Kind::Semaphore;
    const PARAMETERS: &'static [&'static str] = &["limit", "saturate", "fairness"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let Some(core) = Self::words(&handle) else {
            let error = underpass_core::Error::Corrupted("its limit, fairness or length is out of range".into());
            return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
        };
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }
}

impl Semaphore {
    /// The words that the header tells of, if they are there.
    fn words(handle: &Handle) -> Option<Core> {
        let [limit, saturate, fairness, ..] = handle.header.parameters;
        let limit = u32::try_from(limit).ok().filter(|limit| (1..=MOST).contains(limit))?;
        let saturate = saturate != 0;
        let order = match fairness {
            0 => return Some(Core::Barging(core::Semaphore::new(Placed::at(&handle.region, WORDS)?, limit, saturate))),
            1 => Order::Arrival,
            2 => Order::Priority,
            _ => return None,
        };
        let waiters = Waiters::at(&handle.region, WORDS + size_of::<FairWords>())?;
        Some(Core::Fair(Fair::new(Placed::at(&handle.region, WORDS)?, waiters, limit, saturate, order)))
    }

    fn fairness(&self) -> &'static str {
        fairness::name(self.handle.header.parameters[2])
    }

    #[inline]
    fn acquire_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        self.handle.check(py)?;
        match timeout.within("acquire", |deadline| self.core.acquire(self.handle.kernel(), deadline)) {
            Ok(()) => Ok(true),
            Err(error) => Err(self.failed(py, "not acquired", timeout, error)),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: underpass_core::Error) -> PyErr {
        let detail = format!("its value is {}", self.core.value());
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (value, *, limit=None, saturate=false, fairness="barging"))]
    fn new(
        py: Python<'_>,
        value: Whole,
        limit: Option<Whole>,
        saturate: bool,
        fairness: &str,
    ) -> PyResult<PyClassInitializer<Self>> {
        Parameters::new(value, limit, saturate, fairness)?.create(py, None, None, None)
    }

    /// Make a named semaphore. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, value, *, limit=None, saturate=false, fairness="barging", space=None, mode=None))]
    #[expect(clippy::too_many_arguments, reason = "the constructor's, with a name and a place")]
    fn create(
        py: Python<'_>,
        name: &str,
        value: Whole,
        limit: Option<Whole>,
        saturate: bool,
        fairness: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let parameters = Parameters::new(value, limit, saturate, fairness)?;
        Py::new(py, parameters.create(py, space.map(Bound::get), Some(name), mode)?)
    }

    /// Open a named semaphore, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the semaphore of that name, or make it. Raises MismatchError if it exists with another limit, saturate or fairness.
    #[staticmethod]
    #[pyo3(signature = (name, value, *, limit=None, saturate=false, fairness="barging", space=None, mode=None))]
    #[expect(clippy::too_many_arguments, reason = "the constructor's, with a name and a place")]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        value: Whole,
        limit: Option<Whole>,
        saturate: bool,
        fairness: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let parameters = Parameters::new(value, limit, saturate, fairness)?;
        let create = || parameters.create(py, space.map(Bound::get), Some(name), mode);
        object::open_or_create(py, name, space, parameters.words(), create)
    }

    /// Take a unit, waiting for one; always True.
    ///
    /// A release wakes one waiter. With ``fairness="barging"`` which one is not promised, and a newcomer may be faster;
    /// with "arrival" and "priority" it hands its unit to the first. Who is handed a unit as its time runs out has it.
    /// Nothing happens when a holder dies: a semaphore has no owner. The death of a waiter costs no unit.
    ///
    /// Raises:
    ///     TimedOut: No unit within ``timeout`` seconds.
    ///     ResetError: It was reset meanwhile.
    #[pyo3(signature = (*, timeout=None))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.acquire_for(py, Timeout::new(timeout)?)
    }

    /// Take a unit or raise WouldBlock at once.
    fn acquire_nowait(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire_for(py, Timeout::NoWait)
    }

    /// Hold a unit for the length of a ``with`` block.
    #[pyo3(signature = (*, timeout=None))]
    fn holding(slf: Py<Self>, timeout: Option<f64>) -> PyResult<Holding> {
        Ok(Holding { semaphore: slf, timeout: Timeout::new(timeout)? })
    }

    /// Give ``count`` units and wake as many waiters. Never waits for a waiter.
    ///
    /// If the process dies inside, either nothing was given, or all of it.
    ///
    /// Raises:
    ///     MisuseError: That would be more than its limit, and it does not saturate. Nothing was given.
    ///     ValueError: ``count`` is below 1.
    #[pyo3(signature = (count=1))]
    fn release(&self, py: Python<'_>, #[pyo3(from_py_with = whole)] count: i64) -> PyResult<()> {
        self.handle.check(py)?;
        if count < 1 {
            return Err(PyValueError::new_err(format!("count={count} is below 1")));
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        match self.core.release(self.handle.kernel(), count) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(py, "not released", Timeout::NoWait, error)),
        }
    }

    /// Set the value to 0; whoever waits leaves with ResetError.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        let reset = self.core.reset(self.handle.kernel());
        reset.map_err(|error| self.failed(py, "not reset", Timeout::NoWait, error))
    }

    /// Units that are free now.
    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<u32> {
        self.handle.look(py)?;
        Ok(self.core.value())
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<SemaphoreStatistics> {
        self.handle.look(py)?;
        Ok(SemaphoreStatistics {
            value: self.core.value(),
            limit: self.handle.header.parameters[0] as u32,
            fairness: self.fairness(),
            waiters: self.handle.waiters(),
        })
    }

    fn __repr__(&self) -> String {
        let mut text = format!("<Semaphore {}, value {}", self.handle.label(), self.core.value());
        text.push_str(&fairness::told(self.handle.header.parameters[2]));
        text.push_str(&self.handle.waiters_text());
        if self.handle.is_closed() {
            text.push_str(", closed");
        }
        let _ = write!(text, ">");
        text
    }
}
