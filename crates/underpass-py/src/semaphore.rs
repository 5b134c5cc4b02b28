//! `underpass.Semaphore`.

use std::fmt::Write as _;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::kernel::Kernel;
use underpass_core::kernel::Wanted;
use underpass_core::many::Ready;
use underpass_core::semaphore::fair::Fair;
use underpass_core::semaphore::leased::{self, Leased};
use underpass_core::semaphore::{self as core, MOST};
use underpass_core::since::Resets;
use underpass_core::site::Tenure;
use underpass_core::waiters::{self, Order, Waiters};
use underpass_core::{Deadline, Error, Result as Done};
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::semaphore::{FairWords, LeasedWords, SemaphoreWords};
use underpass_shm::life::Life;
use underpass_shm::place::Placed;
use underpass_shm::region::Extent;

use crate::error::{Context, raise};
use crate::fairness;
use crate::handle::{Handle, waiters_text};
use crate::number::{Whole, mode, whole};
use crate::object::{self, Object, SharedObject};
use crate::peer::Peer;
use crate::since::Since;
use crate::site;
use crate::space::Space;
use crate::stay::Stay;
use crate::timeout::Timeout;
use crate::who;

/// A counting semaphore between processes: Dijkstra's, with Zephyr's limit and reset.
///
/// It counts and has no owner: what a dead process had acquired stays acquired. An uncontended operation makes no system
/// call, whatever the fairness.
///
/// With ``leased=True`` it knows which process holds how many units, and takes them back when that process ends, by
/// whatever way: whoever waits for one gets it at once. Its units are then a process's: any thread of it may release them,
/// the end of a thread frees nothing, a forked child holds none of its parent's, and a process that releases more than it
/// holds gets MisuseError. 1024 processes are told apart at a time. Acquire and release then take a lock inside, without a
/// system call unless they meet.
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
///     leased: What a process has acquired is given back when it dies. Such a one cannot saturate: nobody adds units to it.
///     fairness: Who gets a unit that is released while several wait: "barging", "arrival" or "priority". The first 4,095
///         that wait have a place in that order; who comes while all places are taken gets one when one is left.
///
/// Raises:
///     ValueError: ``value`` is not between 0 and ``limit``, ``limit`` is out of range, there is no such fairness, or it is
///         to be leased and to saturate.
///
/// Example:
///     >>> import underpass
///     >>> seats = underpass.Semaphore(2)
///     >>> with seats.holding(timeout=1):
///     ...     seats.value
///     1
///     >>> workers = underpass.Semaphore(2, leased=True)
///     >>> workers.acquire()
///     True
///     >>> [units for peer, units in workers.statistics().holders]
///     [1]
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Semaphore {
    pub handle: Arc<Handle>,
    pub core: Core,
}

/// In which way it is fair.
#[derive(Debug, Clone)]
pub enum Core {
    Barging(core::Semaphore),
    Fair(Fair),
    Leased(Leased),
}

impl Core {
    #[inline]
    fn acquire(&self, kernel: &dyn Kernel, deadline: Deadline) -> Done<()> {
        match self {
            Self::Barging(core) => core.acquire(kernel, deadline),
            Self::Fair(core) => core.acquire(kernel, deadline),
            Self::Leased(core) => core.acquire(kernel, deadline),
        }
    }

    #[inline]
    fn release(&self, kernel: &dyn Kernel, count: u32) -> Done<()> {
        match self {
            Self::Barging(core) => core.release(kernel, count),
            Self::Fair(core) => core.release(kernel, count),
            Self::Leased(core) => core.release(kernel, count),
        }
    }

    fn reset(&self, kernel: &dyn Kernel) -> Done<()> {
        match self {
            Self::Barging(core) => {
                core.reset(kernel);
                Ok(())
            }
            Self::Fair(core) => core.reset(kernel),
            Self::Leased(core) => core.reset(kernel),
        }
    }

    pub fn ready(&self) -> &dyn Ready {
        match self {
            Self::Barging(core) => core,
            Self::Fair(core) => core,
            Self::Leased(core) => core,
        }
    }

    /// The same, for longer than the object of Python.
    pub fn lasting(&self) -> Arc<dyn Ready + Send + Sync> {
        match self.clone() {
            Self::Barging(core) => Arc::new(core),
            Self::Fair(core) => Arc::new(core),
            Self::Leased(core) => Arc::new(core),
        }
    }

    /// The same where whoever comes first after a release gets the unit.
    fn until_reset(&self) -> Option<Arc<dyn Resets + Send + Sync>> {
        match self.clone() {
            Self::Barging(core) => Some(Arc::new(core)),
            Self::Leased(core) if !core.hands_over() => Some(Arc::new(core)),
            Self::Fair(_) | Self::Leased(_) => None,
        }
    }

    fn value(&self, kernel: &dyn Kernel) -> u32 {
        match self {
            Self::Barging(core) => core.value(),
            Self::Fair(core) => core.value(),
            Self::Leased(core) => core.value(kernel),
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
    /// What a process holds is given back when it dies.
    leased: bool,
    /// The living processes that hold units of a leased one, and how many each: longest first. ``held_for`` and ``line`` of each
    /// say since when it holds any, and where it acquired the first.
    holders: Vec<(Peer, u32)>,
    /// Threads that sleep until they get one, and tasks that wait for one in turn, wherever they are.
    waiters: usize,
}

#[pymethods]
impl SemaphoreStatistics {
    fn __repr__(&self) -> String {
        let Self { value, limit, fairness, leased, holders, waiters } = self;
        let mut text = format!("SemaphoreStatistics(value={value}, limit={limit}, fairness='{fairness}', ");
        if *leased {
            let _ = write!(text, "leased=True, holders={}, ", holders.len());
        }
        let _ = write!(text, "waiters={waiters})");
        text
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

struct Parameters {
    value: u32,
    limit: u32,
    saturate: bool,
    fairness: u64,
    leased: bool,
}

impl Parameters {
    fn new(value: Whole, limit: Option<Whole>, saturate: bool, leased: bool, fairness: &str) -> PyResult<Self> {
        let fairness = fairness::number(fairness)?;
        if leased && saturate {
            return Err(PyValueError::new_err(
                "leased=True, saturate=True: nobody can release more units of a leased semaphore than were acquired, so it \
                 never has more than at the start: pass one of the two",
            ));
        }
        let wanted = limit.map_or(i64::from(MOST), |limit| limit.0);
        let value = value.0;
        let limit = u32::try_from(wanted).ok().filter(|limit| (1..=MOST).contains(limit));
        let Some(limit) = limit else {
            return Err(PyValueError::new_err(format!("limit={wanted} is not between 1 and {MOST}")));
        };
        match u32::try_from(value).ok().filter(|value| *value <= limit) {
            Some(value) => Ok(Self { value, limit, saturate, fairness, leased }),
            None => Err(PyValueError::new_err(format!("value={value} is not between 0 and the limit of {limit}"))),
        }
    }

    fn words(&self) -> [u64; PARAMETERS] {
        [u64::from(self.limit), u64::from(self.saturate), self.fairness, u64::from(self.leased), 0, 0, 0, 0]
    }

    fn extent(&self) -> Extent {
        match self {
            Self { leased: true, .. } => leased::extent(WORDS),
            Self { fairness: 0, .. } => Extent::whole(WORDS + size_of::<SemaphoreWords>()),
            _ => waiters::extent(WORDS + size_of::<FairWords>()),
        }
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
            extent: self.extent(),
            parameters: self.words(),
            mode,
            format: &|region| {
                let short = || Error::Corrupted("too short".into());
                if self.leased {
                    let words: Placed<LeasedWords> = Placed::at(region, WORDS).ok_or_else(short)?;
                    Leased::format(&words, self.value);
                } else if self.fairness == 0 {
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
    const PARAMETERS: &'static [&'static str] = &["limit", "saturate", "fairness", "leased"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let Some(core) = Self::words(&handle) else {
            let error = Error::Corrupted("its limit, fairness or length is out of range".into());
            return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
        };
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }
}

impl Semaphore {
    /// The words that the header tells of, if they are there.
    fn words(handle: &Handle) -> Option<Core> {
        let [limit, saturate, fairness, leased, ..] = handle.header.parameters;
        let limit = u32::try_from(limit).ok().filter(|limit| (1..=MOST).contains(limit))?;
        let saturate = saturate != 0;
        let order = match fairness {
            0 => None,
            1 => Some(Order::Arrival),
            2 => Some(Order::Priority),
            _ => return None,
        };
        if leased != 0 {
            return Some(Core::Leased(Leased::at(&handle.region, WORDS, order)?));
        }
        let Some(order) = order else {
            return Some(Core::Barging(core::Semaphore::new(Placed::at(&handle.region, WORDS)?, limit, saturate)));
        };
        let waiters = Waiters::at(&handle.region, WORDS + size_of::<FairWords>())?;
        Some(Core::Fair(Fair::new(Placed::at(&handle.region, WORDS)?, waiters, limit, saturate, order)))
    }

    /// Who holds its units, if it knows: longest first.
    fn holders(&self) -> Vec<(Life, u32, Tenure)> {
        match &self.core {
            Core::Leased(core) => core.tenures(self.handle.kernel()),
            _ => Vec::new(),
        }
    }

    /// For an error or a repr: `pid 12 (2) (worker.py:31) for 1.2 s, this process`.
    fn held(&self) -> Option<String> {
        let holders = self.holders();
        let named = holders.iter().map(|(process, count, tenure)| {
            let (who, tenure) = (who::process(&self.handle, *process), who::tenure(&self.handle, tenure));
            if *count == 1 { format!("{who}{tenure}") } else { format!("{who} ({count}){tenure}") }
        });
        (!holders.is_empty()).then(|| who::several(named, holders.len()))
    }

    /// Writes down where the first unit of this process was taken, if somebody waits who may ask.
    #[inline]
    pub fn note(&self, py: Python<'_>) {
        if let Core::Leased(core) = &self.core
            && (core.is_awaited() || site::wanted())
        {
            site::note_with(py, &self.handle, |site, me| core.note(me, &site));
        }
    }

    fn waiters(&self) -> usize {
        match &self.core {
            Core::Barging(_) => self.handle.waiters(),
            Core::Fair(core) => self.handle.waiters_with(core),
            Core::Leased(core) => self.handle.waiters_with(core),
        }
    }

    fn fairness(&self) -> &'static str {
        fairness::name(self.handle.header.parameters[2])
    }

    #[inline]
    fn acquire_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        self.handle.check(py)?;
        match timeout.within("acquire", |deadline| self.core.acquire(self.handle.kernel(), deadline)) {
            Ok(()) => {
                self.note(py);
                Ok(true)
            }
            Err(error) => Err(self.failed(py, "not acquired", timeout, error)),
        }
    }

    #[cold]
    pub fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let held = self.held().map_or(String::new(), |held| format!(", held by {held}"));
        let detail = format!("its value is {}{held}", self.core.value(self.handle.kernel()));
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (value, *, limit=None, saturate=false, leased=false, fairness="barging"))]
    fn new(
        py: Python<'_>,
        value: Whole,
        limit: Option<Whole>,
        saturate: bool,
        leased: bool,
        fairness: &str,
    ) -> PyResult<PyClassInitializer<Self>> {
        Parameters::new(value, limit, saturate, leased, fairness)?.create(py, None, None, None)
    }

    /// Make a named semaphore. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, value, *, limit=None, saturate=false, leased=false, fairness="barging", space=None, mode=None))]
    #[expect(clippy::too_many_arguments, reason = "the constructor's, with a name and a place")]
    fn create(
        py: Python<'_>,
        name: &str,
        value: Whole,
        limit: Option<Whole>,
        saturate: bool,
        leased: bool,
        fairness: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let parameters = Parameters::new(value, limit, saturate, leased, fairness)?;
        Py::new(py, parameters.create(py, space.map(Bound::get), Some(name), mode)?)
    }

    /// Open a named semaphore, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the semaphore of that name, or make it. Raises MismatchError if it exists with other arguments but
    /// ``value``.
    #[staticmethod]
    #[pyo3(signature = (name, value, *, limit=None, saturate=false, leased=false, fairness="barging", space=None, mode=None))]
    #[expect(clippy::too_many_arguments, reason = "the constructor's, with a name and a place")]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        value: Whole,
        limit: Option<Whole>,
        saturate: bool,
        leased: bool,
        fairness: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let parameters = Parameters::new(value, limit, saturate, leased, fairness)?;
        let create = || parameters.create(py, space.map(Bound::get), Some(name), mode);
        object::open_or_create(py, name, space, parameters.words(), create)
    }

    /// Take a unit, waiting for one; always True.
    ///
    /// A release wakes one waiter. With ``fairness="barging"`` which one is not promised, and a newcomer may be faster;
    /// with "arrival" and "priority" it hands its unit to the first. Who is handed a unit as its time runs out has it.
    /// Nothing happens when a holder dies, for a semaphore has no owner; of a leased one the units come back, and go to those
    /// who wait. The death of a waiter costs no unit.
    ///
    /// Raises:
    ///     TimedOut: No unit within ``timeout`` seconds; of a leased one the text names who holds them.
    ///     ResetError: It was reset meanwhile.
    ///     MisuseError: 1024 other processes hold units of a leased one. Or a task of this thread's event loop is before it in
    ///         line, which cannot run meanwhile: await the verb of its ``.aio``.
    #[pyo3(signature = (*, timeout=None))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.acquire_for(py, Timeout::new(timeout)?)
    }

    /// Take a unit or raise WouldBlock at once.
    fn acquire_nowait(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire_for(py, Timeout::NoWait)
    }

    /// What tasks wait for that come now: a reset ends it. None: they wait in turn, each by a ``_stay``.
    fn _since(&self) -> Option<Since> {
        Some(Since::now(&self.handle, self.core.until_reset()?, "not acquired"))
    }

    /// A task's wait for a unit, in its turn.
    fn _stay(slf: &Bound<'_, Self>) -> PyResult<Stay> {
        let (py, this, semaphore) = (slf.py(), slf.get(), slf.clone().unbind());
        let failed = |py: Python<'_>, this: &Self, error| this.failed(py, "not acquired", Timeout::NoWait, error);
        let judge = move |py: Python<'_>, given: Done<u64>| match given.and_then(core::judge) {
            Ok(()) => {
                semaphore.get().note(py);
                Ok(true)
            }
            Err(error) => Err(failed(py, semaphore.get(), error)),
        };
        match this.core.clone() {
            Core::Fair(core) => {
                let wish = core.wish();
                Ok(Stay::new(&this.handle, Arc::new(core), wish, judge))
            }
            Core::Leased(core) if core.hands_over() => {
                let me = this.handle.kernel().me().map_err(|error| failed(py, this, error))?;
                let wish = core.wish(me);
                Ok(Stay::new(&this.handle, Arc::new(core), wish, judge))
            }
            Core::Barging(_) | Core::Leased(_) => {
                Err(failed(py, this, Error::Misuse("nobody waits for it in turn".into())))
            }
        }
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
    ///     MisuseError: That would be more than its limit, and it does not saturate; or more than this process holds of a
    ///         leased one. Nothing was given.
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

    /// Set the value to 0; whoever waits leaves with ResetError. What is held of a leased one stays so, and comes back.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        let reset = self.core.reset(self.handle.kernel());
        reset.map_err(|error| self.failed(py, "not reset", Timeout::NoWait, error))
    }

    /// Units that are free now.
    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<u32> {
        self.handle.look(py)?;
        Ok(self.core.value(self.handle.kernel()))
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<SemaphoreStatistics> {
        self.handle.look(py)?;
        let kernel = self.handle.kernel();
        let peer = |(life, count, tenure)| (Peer::owner(&self.handle, life, kernel.pid(life), &tenure), count);
        Ok(SemaphoreStatistics {
            value: self.core.value(kernel),
            limit: self.handle.header.parameters[0] as u32,
            fairness: self.fairness(),
            leased: matches!(self.core, Core::Leased(_)),
            holders: self.holders().into_iter().map(peer).collect(),
            waiters: self.waiters(),
        })
    }

    fn __repr__(&self) -> String {
        let mut text = format!("<Semaphore {}, value {}", self.handle.label(), self.core.value(self.handle.kernel()));
        text.push_str(&fairness::told(self.handle.header.parameters[2]));
        if let Some(held) = self.held() {
            let _ = write!(text, ", held by {held}");
        }
        text.push_str(&waiters_text(self.waiters()));
        if self.handle.is_closed() {
            text.push_str(", closed");
        }
        let _ = write!(text, ">");
        text
    }
}
