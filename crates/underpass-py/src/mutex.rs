//! `underpass.Mutex`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::kernel::Wanted;
use underpass_core::lock::TWICE;
use underpass_core::mutex::{self as core, Death, Holder, InLine};
use underpass_core::{Error, Result};
use underpass_shm::header::{Kind, PARAMETERS};

use crate::error::{Context, raise};
use crate::fairness;
use crate::handle::{Handle, waiters_text};
use crate::notification::described;
use crate::number::mode;
use crate::object::{self, Object, SharedObject};
use crate::peer::Peer;
use crate::space::Space;
use crate::stay::Stay;
use crate::timeout::Timeout;

mod blocks;
mod stepped;
mod told;

pub use blocks::{MutexHolding, MutexRecovering};
pub use told::MutexStatistics;

/// A lock between processes that survives its owner: one thread holds it, and is known.
///
/// It is robust, always (POSIX's `PTHREAD_MUTEX_ROBUST`). After its owner died, by `kill -9` or by the end of its
/// thread, what it protects may be half changed: ``acquire`` and ``holding`` raise OwnerDiedError and do not hold it,
/// for everybody, until a block of ``recovering`` has ended normally. Whoever waits when the owner dies is told at once.
///
/// With ``fairness="barging"``, whoever comes first after a release gets it: the fastest, and nobody is promised a turn.
/// With "arrival" and "priority" a release hands it to the one who has waited for longest, or to the one who waits with the
/// highest `underpass.sync.priority`, and of equals for longest (Zephyr's order). It never becomes free in between, so nobody
/// overtakes who waits; if the one to whom it was handed dies before it has come, it has held nothing, and the mutex is
/// handed on. Each turn costs the time in which a sleeper wakes.
///
/// With ``inherit_priority=True`` who waits lends its scheduling priority to the owner, and to whomever that one waits for, so
/// that nobody of a priority in between keeps it from going on (`FUTEX_LOCK_PI`). A release hands it to the waiter of the
/// highest real-time priority; of equals to who came first, as long as none has waited for a second, or in the main thread for
/// 50 ms: as often it looks for signals, and comes anew. Only the scheduler's priorities count, of ``SCHED_FIFO``, ``SCHED_RR``
/// and ``SCHED_DEADLINE``, and only those of blocking acquires: who waits in ``wait_any`` or in a coroutine lends none.
/// All who use it live in one pid namespace.
///
/// A forked child holds nothing of its parent's. A stopped owner lives, and is waited for. An uncontended operation makes
/// no system call, whatever the fairness. ``with mutex:`` is ``holding()``.
///
/// Args:
///     recursive: Its owner may acquire it again, and releases it as often (Zephyr's ``k_mutex``).
///     inherit_priority: Its owner has the priority of the most urgent of those who wait, while they wait.
///     fairness: Who gets it when it is released while several wait: "barging", "arrival" or "priority". The first 4,095
///         that wait have a place in that order; who comes while all places are taken gets one when one is left.
///
/// Raises:
///     ValueError: There is no such fairness, or it is given beside ``inherit_priority``, which has an order of its own.
///
/// Example:
///     >>> import underpass
///     >>> ledger = underpass.Mutex()
///     >>> with ledger.recovering(timeout=1) as died:
///     ...     if died:
///     ...         print("repair what pid", died.pid, "left")
///     ...     ledger.owner is not None
///     True
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Mutex {
    pub handle: Arc<Handle>,
    pub core: core::Mutex,
}

fn parameters(recursive: bool, inherit_priority: bool, fairness: &str) -> PyResult<[u64; PARAMETERS]> {
    let fairness = fairness::number(fairness)?;
    if inherit_priority && fairness != 0 {
        let why = "inherit_priority=True has an order of its own, the scheduler's, in which the kernel hands it over: \
                   leave fairness= out, or inherit_priority=";
        return Err(PyValueError::new_err(why));
    }
    Ok([u64::from(recursive), fairness, u64::from(inherit_priority), 0, 0, 0, 0, 0])
}

fn create(
    py: Python<'_>,
    space: Option<&Bound<'_, Space>>,
    name: Option<&str>,
    mode: Option<u32>,
    parameters: [u64; PARAMETERS],
) -> PyResult<PyClassInitializer<Mutex>> {
    let wanted = Wanted {
        name,
        kind: Kind::Mutex,
        extent: core::extent(parameters[1] != 0),
        parameters,
        mode,
        // Zeroed words are those of a free mutex for which nobody waits.
        format: &|_region| Ok(()),
    };
    Mutex::over(py, Arc::new(Handle::create(py, space.map(Bound::get), &wanted)?))
}

impl Object for Mutex {
    const KIND: Kind = Kind::Mutex;
    const PARAMETERS: &'static [&'static str] = &["recursive", "fairness", "inherit_priority"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let mutex = Self::of(py, &handle)?;
        Ok(object::base(&handle).add_subclass(mutex))
    }
}

impl Mutex {
    /// What the words of that object are, also where it is called otherwise.
    pub fn of(py: Python<'_>, handle: &Arc<Handle>) -> PyResult<Self> {
        let Some(core) = core::Mutex::at(&handle.region, &handle.header) else {
            let error = Error::Corrupted("its fairness or length is out of range".into());
            return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
        };
        Ok(Self { handle: handle.clone(), core })
    }

    /// The words, for what is used with it.
    pub fn core(&self) -> &core::Mutex {
        &self.core
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Somebody holds it, or has died holding it.
    pub fn is_held(&self) -> bool {
        self.holder().is_some()
    }

    /// Ends a block that holds it.
    pub fn leave(&self, py: Python<'_>, kind: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.is_lost(kind) { Ok(()) } else { self.release(py) }
    }

    /// A wait inside a block that ended by its owner's death does not hold it any more: what it raised goes on.
    fn is_lost(&self, kind: &Bound<'_, PyAny>) -> bool {
        !kind.is_none() && self.holder().is_none_or(|holder| !self.is_mine(&holder))
    }

    #[inline]
    pub fn acquire_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        if self.handle.is_plain() { self.acquire_here(py, timeout) } else { self.acquire_slow(py, timeout) }
    }

    #[inline]
    fn acquire_here(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        match timeout.within("acquire", |deadline| self.core.acquire(self.handle.kernel(), deadline)) {
            Ok(()) => {
                self.note(py);
                Ok(true)
            }
            Err(error) => Err(self.failed(py, "not acquired", timeout, error)),
        }
    }

    #[cold]
    fn acquire_slow(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        let waits = self.approach(py, "acquire", timeout)?;
        let acquired = self.acquire_here(py, timeout);
        self.taken(acquired.is_ok() && !waits);
        acquired
    }

    /// Takes it, also from the dead: then the error that tells of it.
    pub fn recover_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<Option<Py<PyAny>>> {
        let waits = self.approach(py, "recovering", timeout)?;
        let taken = timeout.within("recovering", |deadline| self.core.recover(self.handle.kernel(), deadline));
        self.taken(taken.is_ok() && !waits);
        if taken.is_ok() {
            self.note(py);
        }
        match taken {
            Ok(died) => Ok(died.map(|death| self.taken_over(py, &death))),
            Err(error) => Err(self.failed(py, "not acquired", timeout, error)),
        }
    }

    /// What a block gets that has it from the dead.
    fn taken_over(&self, py: Python<'_>, death: &Death) -> Py<PyAny> {
        let detail = "repair it before this block ends".to_owned();
        let context = Context { object: &self.handle.title, failed: "taken over", time: String::new(), detail };
        self.owner_died(py, &context, death).into_value(py).into_any()
    }

    /// Ends what [`Self::recover_for`] began; by no exception: what it protects is whole.
    pub fn end_recovery(&self, py: Python<'_>, kind: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.is_lost(kind) {
            return Ok(());
        }
        self.handle.point_to_give(py, || self.is_given())?;
        self.forget();
        self.released(py, self.core.end_recovery(self.handle.kernel(), kind.is_none()))
    }

    /// Refuses a thread that has it already.
    #[inline]
    pub fn is_not_mine(&self, py: Python<'_>, timeout: Timeout) -> PyResult<()> {
        match self.core.depth(self.handle.kernel()) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.failed(py, "not acquired", timeout, Error::Misuse(TWICE.into()))),
            Err(error) => Err(self.failed(py, "not acquired", timeout, error)),
        }
    }

    /// Has the next wait spin for as long as any may.
    #[inline]
    pub fn spin_anew(&self) {
        self.core.spin_anew();
    }

    fn is_recursive(&self) -> bool {
        self.handle.header.parameters[0] != 0
    }

    fn inherits_priority(&self) -> bool {
        self.handle.header.parameters[2] != 0
    }

    fn is_mine(&self, holder: &Holder) -> bool {
        self.handle.kernel().me().is_ok_and(|me| me.thread == holder.thread)
    }

    #[inline]
    fn released(&self, py: Python<'_>, result: Result<()>) -> PyResult<()> {
        result.map_err(|error| self.failed(py, "not released", Timeout::NoWait, error))
    }

    /// How many sleep for it, and tasks wait in line.
    fn waiters(&self) -> usize {
        self.core.in_line().map_or_else(|| self.handle.waiters(), |line| self.handle.waiters_with(&line))
    }

    fn holder(&self) -> Option<Holder> {
        self.core.holder(self.handle.kernel())
    }
}

#[pymethods]
impl Mutex {
    #[new]
    #[pyo3(signature = (*, recursive=false, inherit_priority=false, fairness="barging"))]
    fn new(
        py: Python<'_>,
        recursive: bool,
        inherit_priority: bool,
        fairness: &str,
    ) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, parameters(recursive, inherit_priority, fairness)?)
    }

    /// Make a named mutex. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, *, recursive=false, inherit_priority=false, fairness="barging", space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        recursive: bool,
        inherit_priority: bool,
        fairness: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space, Some(name), mode, parameters(recursive, inherit_priority, fairness)?)?)
    }

    /// Open a named mutex, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the mutex of that name, or make it. Raises MismatchError if it exists and differs in ``recursive``,
    /// ``inherit_priority`` or ``fairness``.
    #[staticmethod]
    #[pyo3(signature = (name, *, recursive=false, inherit_priority=false, fairness="barging", space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        recursive: bool,
        inherit_priority: bool,
        fairness: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let parameters = parameters(recursive, inherit_priority, fairness)?;
        let make = || create(py, space, Some(name), mode, parameters);
        object::open_or_create(py, name, space, parameters, make)
    }

    /// Take it, waiting for its owner; always True.
    ///
    /// A release wakes one waiter. With ``fairness="barging"`` which one is not promised, and a newcomer may be faster; with
    /// "arrival" and "priority" it hands the mutex to the first, and who is handed it as its time runs out has it. When the
    /// owner dies, every waiter is woken and told, one after the other, by the kernel's word; one in line behind a
    /// ``recovering`` waits for that.
    ///
    /// Raises:
    ///     TimedOut: Not within ``timeout`` seconds; the text names the owner.
    ///     OwnerDiedError: Its owner died, before or during the call, and nobody has repaired what it protects. It is
    ///         not held: enter it with ``recovering``.
    ///     MisuseError: This thread holds it already, and it is not recursive. With ``inherit_priority``: its owner waits,
    ///         itself or through others, for a mutex that this thread holds; or it is used in another pid namespace. With
    ///         "arrival" and "priority": a task of this thread's event loop is before it in line.
    #[pyo3(signature = (*, timeout=None))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.acquire_for(py, Timeout::new(timeout)?)
    }

    /// Take it or raise WouldBlock at once; otherwise as ``acquire``.
    fn acquire_nowait(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire_for(py, Timeout::NoWait)
    }

    /// Hold it for the length of a ``with`` block; the block's start raises what ``acquire`` raises.
    #[pyo3(signature = (*, timeout=None))]
    pub fn holding(slf: Py<Self>, timeout: Option<f64>) -> PyResult<MutexHolding> {
        Ok(MutexHolding { mutex: slf, timeout: Timeout::new(timeout)? })
    }

    /// Hold it for the length of a ``with`` block, also after its owner died: the block gets the OwnerDiedError, or None.
    ///
    /// A block that got the error and ends normally says that what the mutex protects is whole again. One that ends by
    /// an exception, or by this thread's death, leaves it as it was found: others get OwnerDiedError. Waiters meanwhile
    /// wait.
    ///
    /// Raises:
    ///     TimedOut: Not within ``timeout`` seconds.
    ///     MisuseError: This thread holds it already, and it is not recursive.
    #[pyo3(signature = (*, timeout=None))]
    pub fn recovering(slf: Py<Self>, timeout: Option<f64>) -> PyResult<MutexRecovering> {
        Ok(MutexRecovering { mutex: slf, timeout: Timeout::new(timeout)? })
    }

    /// Give it back, or one level of a recursive one, and wake a waiter. Never waits; works on a closed handle too.
    ///
    /// Raises:
    ///     MisuseError: This thread does not hold it; the text names who does. Or it holds it inside a block of
    ///         ``recovering``, which has to end instead. Nothing was changed.
    pub fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.point_to_give(py, || self.is_given())?;
        self.forget();
        self.released(py, self.core.release(self.handle.kernel()))
    }

    /// The thread that holds it, or None. After its death it stays, no longer alive, until a recovery.
    #[getter]
    pub fn owner(&self, py: Python<'_>) -> PyResult<Option<Peer>> {
        self.handle.look(py)?;
        Ok(self.owned())
    }

    /// Levels at which this thread holds it.
    #[getter]
    fn _depth(&self) -> u32 {
        self.core.depth(self.handle.kernel()).unwrap_or(0)
    }

    /// Its owner may take it again.
    #[getter]
    fn _recursive(&self) -> bool {
        self.is_recursive()
    }

    /// A task's wait for it, in its turn; one that recovers gets the error of the dead. None: it is not handed over.
    #[pyo3(signature = (*, recovers))]
    fn _stay(slf: &Bound<'_, Self>, recovers: bool) -> Option<Stay> {
        let line = Arc::new(slf.get().core.in_line()?);
        let (wish, mutex) = (InLine::wish(recovers), slf.clone().unbind());
        Some(Stay::new(&slf.get().handle, line.clone(), wish, move |py, given| {
            let mutex = mutex.get();
            let died = given.and_then(|given| line.judge(given));
            let died = died.map_err(|error| mutex.failed(py, "not acquired", Timeout::NoWait, error))?;
            mutex.note(py);
            Ok(died.map(|death| mutex.taken_over(py, &death)))
        }))
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<MutexStatistics> {
        self.handle.look(py)?;
        Ok(self.snapshot())
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        slf.get().acquire_for(py, Timeout::Seconds(None))?;
        Ok(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.leave(py, kind)
    }

    fn __repr__(&self) -> String {
        let order = if self.inherits_priority() {
            ", inheriting priority".to_owned()
        } else {
            fairness::told(self.handle.header.parameters[1])
        };
        described(&self.handle, &format!("{}{order}", self.told()), &waiters_text(self.waiters()))
    }
}
