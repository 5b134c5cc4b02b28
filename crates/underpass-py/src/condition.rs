//! `underpass.Condition`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::condition as core;
use underpass_core::kernel::Wanted;
use underpass_core::waiters::{self, Waiters};
use underpass_core::{Deadline, Error, Result};
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::condition::{ConditionWords, MutexPlace, NAME_WORDS};
use underpass_shm::layout::mutex::MutexWords;
use underpass_shm::place::Placed;
use underpass_shm::region::Region;

use crate::error::{Context, raise};
use crate::handle::{Handle, Travel};
use crate::mutex::{Mutex, MutexHolding, MutexRecovering};
use crate::notification::describe;
use crate::number::{Whole, count, mode};
use crate::object::{self, Object, SharedObject};
use crate::peer::Peer;
use crate::space::Space;
use crate::stay::ConditionStay;
use crate::timeout::Timeout;
use crate::under::Holding;

const PLACE: usize = WORDS + size_of::<MutexWords>();
const OWN: usize = PLACE + size_of::<MutexPlace>();
const WAITERS: usize = OWN + size_of::<ConditionWords>();
/// What the handle of a condition's own mutex is a part of it as.
const MUTEX: &str = "mutex";

/// Where processes that share something under a mutex wait until it has changed: the standard library's ``Condition``.
///
/// ``wait`` gives the mutex back and sleeps in one step: whoever takes the mutex afterwards and notifies wakes it. It holds
/// the mutex again when it returns, also by an exception. ``with condition:`` holds the mutex; ``acquire``, ``release``,
/// ``holding`` and ``recovering`` are the mutex's.
///
/// Waiters are woken in the order of their priorities, and of their arrival among equals. Those who are notified together
/// do not fight for the mutex: each is woken once the one before it has it (wait morphing). A notification is for those
/// who wait when it comes, and one whom death or a signal takes away after it was notified leaves that to the next.
///
/// A process that dies while it holds the mutex may have died before it notified. Waiters notice within a second, and get
/// OwnerDiedError like everybody who comes: repair what it left in ``recovering``, and ``notify_all``. Change what is
/// waited for, and notify, while you hold the mutex: then a death in between is told.
///
/// Args:
///     mutex: What is held around a wait; several conditions can share one. They live in its space, and open it wherever
///         they are opened, by its file and nonce. Those who are woken stand in line for a fair one, each behind whoever
///         waits there. None: a mutex of its own, not recursive, for which waiters barge.
///
/// Example:
///     >>> import threading
///     >>> import underpass
///     >>> changed, jobs = underpass.Condition(), []
///     >>> def produce():
///     ...     with changed:
///     ...         jobs.append("work")
///     ...         changed.notify()
///     >>> with changed:
///     ...     threading.Thread(target=produce).start()
///     ...     changed.wait_for(lambda: jobs, timeout=10)
///     True
///     >>> jobs
///     ['work']
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Condition {
    handle: Arc<Handle>,
    mutex: Py<Mutex>,
    pub core: core::Condition,
}

/// A snapshot of a condition.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct ConditionStatistics {
    /// How many wait and were not notified, of the 4,095 that have a slot.
    n_waiting: usize,
    /// True while somebody holds the mutex, or has died holding it.
    held: bool,
    /// Threads that sleep here, those included that were notified; who sleeps for a given mutex sleeps there.
    waiters: usize,
}

#[pymethods]
impl ConditionStatistics {
    fn __repr__(&self) -> String {
        let Self { n_waiting, held, waiters } = self;
        let held = if *held { "True" } else { "False" };
        format!("ConditionStatistics(n_waiting={n_waiting}, held={held}, waiters={waiters})")
    }
}

fn parameters(mutex: Option<&Bound<'_, Mutex>>) -> [u64; PARAMETERS] {
    [mutex.map_or(0, |mutex| mutex.get().handle().header.nonce), 0, 0, 0, 0, 0, 0, 0]
}

/// Writes where a given mutex is.
fn note(region: &Arc<Region>, mutex: &Handle) -> Result<()> {
    let place: Placed<MutexPlace> =
        Placed::at(region, PLACE).ok_or_else(|| Error::Corrupted("its length is out of range".into()))?;
    let header = &mutex.header;
    place.creator.store(u64::from(header.creator) << 32 | u64::from(header.creator_pid), Relaxed);
    for (word, bytes) in place.file.iter().zip(mutex.file().as_bytes().chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Relaxed);
    }
    Ok(())
}

/// The file's name that [`note`] wrote, if it is one.
fn noted(place: &MutexPlace) -> Option<String> {
    let mut bytes = Vec::with_capacity(NAME_WORDS * 8);
    for word in &place.file {
        bytes.extend(word.load(Relaxed).to_ne_bytes());
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    let name = String::from_utf8(bytes).ok()?;
    (!name.is_empty() && !name.contains('/') && name != "." && name != "..").then_some(name)
}

fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
    mutex: Option<&Bound<'_, Mutex>>,
) -> PyResult<PyClassInitializer<Condition>> {
    let given = mutex.map(Bound::get);
    let mut home = space.cloned();
    if let Some(given) = given {
        given.handle().check_look(py)?;
        if let Some(space) = space
            && !given.handle().is_beside(space)
        {
            return Err(PyValueError::new_err(format!(
                "space: {} is in another one, and its conditions live beside it: leave space= out",
                given.handle().title
            )));
        }
        home = given.handle().space();
        if name.is_some() {
            // Whoever opens the name needs it, as whoever is handed a handle does.
            given.handle().reduce(py)?;
        }
    }
    let wanted = Wanted {
        name,
        kind: Kind::Condition,
        extent: waiters::extent(WAITERS),
        parameters: parameters(mutex),
        mode,
        // Zeroed words are those of a free mutex for which nobody waits.
        format: &|region| given.map_or(Ok(()), |given| note(region, given.handle())),
    };
    let handle = Arc::new(Handle::create(py, home.as_ref(), &wanted)?);
    Condition::with(py, handle, mutex.map(|mutex| mutex.clone().unbind()))
}

impl Object for Condition {
    const KIND: Kind = Kind::Condition;
    const PARAMETERS: &'static [&'static str] = &["mutex"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        Self::with(py, handle, None)
    }
}

impl Condition {
    /// With the mutex that its words name, unless that is at hand.
    fn with(py: Python<'_>, handle: Arc<Handle>, mutex: Option<Py<Mutex>>) -> PyResult<PyClassInitializer<Self>> {
        let corrupted = |why: &str| raise(py, &Context::of(&handle.title, "not opened"), Error::Corrupted(why.into()));
        let words = Placed::at(&handle.region, OWN);
        let waiters = Waiters::at(&handle.region, WAITERS);
        let place: Option<Placed<MutexPlace>> = Placed::at(&handle.region, PLACE);
        let (Some(words), Some(waiters), Some(place)) = (words, waiters, place) else {
            return Err(corrupted("its length is out of range"));
        };
        let mutex = match (mutex, handle.header.parameters[0]) {
            (Some(mutex), _) => mutex,
            (None, 0) => object::opened::<Mutex>(py, handle.again(MUTEX))?,
            (None, nonce) => {
                let file = noted(&place).ok_or_else(|| corrupted("it names no mutex"))?;
                let creator = place.creator.load(Relaxed);
                let creator = ((creator >> 32) as u32, creator as u32);
                object::opened::<Mutex>(py, handle.beside(py, &file, Kind::Mutex, nonce, creator)?)?
            }
        };
        let core = core::Condition::new(words, waiters);
        Ok(object::base(&handle).add_subclass(Self { handle, mutex, core }))
    }

    fn mutex(&self, py: Python<'_>) -> PyResult<&Mutex> {
        self.handle.refuse_closed(py)?;
        Ok(self.mutex.get())
    }

    /// One wait until `deadline`; `timeout` is what the caller said, who was notified so often before in the same call.
    fn wait_until(
        &self,
        py: Python<'_>,
        timeout: Timeout,
        deadline: Result<Deadline>,
        notified: usize,
    ) -> PyResult<()> {
        self.handle.check(py)?;
        let holding = Holding::new(py, &self.handle, self.mutex.get());
        let waited = deadline.and_then(|until| self.core.wait(self.handle.kernel(), &holding, until));
        holding.ended(timeout.judge(waited), |error| self.failed(py, timeout, error, notified))
    }

    /// How a wait failed, after so many in the same call that did not.
    #[cold]
    pub fn failed(&self, py: Python<'_>, timeout: Timeout, error: Error, notified: usize) -> PyErr {
        let detail = match &error {
            Error::TimedOut(_) if notified > 0 => {
                format!("the predicate is false, after {} too", count(notified, "notification"))
            }
            Error::TimedOut(_) => "nobody notified it".to_owned(),
            _ => String::new(),
        };
        match error {
            Error::NotOwner | Error::OwnerDied(_) => self.mutex.get().failed(py, "not waited under", timeout, error),
            error => {
                let context =
                    Context { object: &self.handle.title, failed: "not waited for", time: timeout.text(), detail };
                raise(py, &context, error)
            }
        }
    }

    /// The mutex, as the caller of one step of a wait holds it.
    pub fn holding_of<'a, 'py>(&'a self, py: Python<'py>) -> Holding<'a, 'py> {
        Holding::new(py, &self.handle, self.mutex.get())
    }

    /// The owner of the mutex has died, and nobody has repaired what it protects.
    pub fn is_orphaned(&self) -> bool {
        let mutex = self.mutex.get();
        mutex.core().holder(mutex.handle().kernel()).is_some_and(|holder| holder.dead)
    }

    fn told(&self, py: Python<'_>, count: u32) -> PyResult<u32> {
        self.handle.check(py)?;
        let told = self.core.notify(self.handle.kernel(), count);
        told.map_err(|error| raise(py, &Context::of(&self.handle.title, "not notified"), error))
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (mutex=None))]
    fn new(py: Python<'_>, mutex: Option<&Bound<'_, Mutex>>) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, mutex)
    }

    /// Make a named condition. Raises ExistsError if the name is taken.
    ///
    /// It lives in the space of a given ``mutex``; ``space`` may say so, too. An anonymous mutex then stays until the process
    /// that made it ends.
    #[staticmethod]
    #[pyo3(signature = (name, mutex=None, *, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        mutex: Option<&Bound<'_, Mutex>>,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), mode, mutex)?)
    }

    /// Open a named condition, and its mutex with it, waiting up to ``timeout`` seconds for the name.
    ///
    /// Raises:
    ///     NotFoundError: The name does not exist; or the mutex that was given to it is gone.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the condition of that name, or make it. Raises MismatchError if it exists with another ``mutex``.
    #[staticmethod]
    #[pyo3(signature = (name, mutex=None, *, space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        mutex: Option<&Bound<'_, Mutex>>,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let make = || create(py, space.map(Bound::get), Some(name), mode, mutex);
        object::open_or_create(py, name, space, parameters(mutex), make)
    }

    /// Give the mutex back, wait for a notification, and take the mutex again; always True.
    ///
    /// What is waited for may have changed again by the time the mutex is held: look, and wait once more, or use
    /// ``wait_for``. The mutex is taken again without a time-out, however the wait ends, also when a signal handler raises:
    /// what it raised comes out once the mutex is held, and a notification that had come by then is handed on. If a time-out
    /// and a notification come together, it was notified. With ``timeout=0`` the mutex is not given back.
    ///
    /// When the owner of the mutex dies meanwhile, waiters notice within a second. If somebody has repaired what it left by
    /// then, they return as if they were notified.
    ///
    /// Raises:
    ///     TimedOut: Nobody notified it within ``timeout`` seconds. The mutex is held.
    ///     OwnerDiedError: An owner of the mutex died, and nobody has repaired what it protects. The mutex is *not* held, as
    ///         after ``acquire``: enter it with ``recovering``.
    ///     MisuseError: This thread does not hold the mutex (the text names who does), holds it more than once, or holds it
    ///         to repair what a dead owner left; or tasks of its event loop are in line for the mutex. Nothing was changed.
    #[pyo3(signature = (*, timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = Timeout::new(timeout)?;
        self.wait_until(py, timeout, timeout.deadline("wait"), 0).map(|()| true)
    }

    /// Wait until ``predicate()`` is true, which is asked with the mutex held; always True.
    ///
    /// It is asked first, after each notification, and when the time is over. Otherwise as ``wait``.
    ///
    /// Raises:
    ///     TimedOut: It was not true within ``timeout`` seconds. The mutex is held.
    ///     OwnerDiedError: As of ``wait``; the mutex is not held.
    ///     MisuseError: As of ``wait``.
    ///     Exception: What ``predicate`` raises; the mutex is held.
    #[pyo3(signature = (predicate, *, timeout=None))]
    fn wait_for(&self, py: Python<'_>, predicate: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = Timeout::new(timeout)?;
        let deadline = timeout.deadline("wait_for");
        let mut notified = 0;
        loop {
            // In an atomic section it is refused, whatever the predicate says.
            if deadline.is_ok() && predicate.call0()?.is_truthy()? {
                return Ok(true);
            }
            match self.wait_until(py, timeout, deadline.clone(), notified) {
                Ok(()) => notified += 1,
                Err(error) if crate::error::is(py, &error, "TimedOut") && predicate.call0()?.is_truthy()? => {
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Wake up to ``count`` who wait, the most urgent first, of those the longest; how many were woken.
    ///
    /// With or without the mutex held (POSIX allows both; the standard library demands it). Hold it while you change what
    /// is waited for, and notify before you release it: then nobody misses a change that you die over. It never waits for a
    /// waiter. Of more threads than the 4,095 that have a slot all others are woken, too, once ``count`` exceeds the slots;
    /// they are not counted. A waiter that dies before it runs leaves its wake-up to the next.
    ///
    /// Raises:
    ///     ValueError: ``count`` is negative.
    ///
    /// Example:
    ///     >>> import threading, underpass
    ///     >>> changed, stock = underpass.Condition(), underpass.AtomicInt(0)
    ///     >>> def deliver():
    ///     ...     with changed:
    ///     ...         stock.add(3)
    ///     ...         changed.notify()
    ///     >>> supplier = threading.Thread(target=deliver)
    ///     >>> with changed:
    ///     ...     supplier.start()
    ///     ...     changed.wait_for(lambda: stock.load() > 0, timeout=10)
    ///     True
    ///     >>> supplier.join()
    #[pyo3(signature = (count=Whole(1)), text_signature = "($self, count=1)")]
    fn notify(&self, py: Python<'_>, count: Whole) -> PyResult<u32> {
        self.told(py, count.word("count", 0, u32::MAX)?)
    }

    /// Wake all who wait; how many were woken. Each runs once the one before it has the mutex; otherwise as ``notify``.
    fn notify_all(&self, py: Python<'_>) -> PyResult<u32> {
        self.told(py, u32::MAX)
    }

    /// Take the mutex: as ``Mutex.acquire``.
    #[pyo3(signature = (*, timeout=None))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.mutex(py)?.acquire_for(py, Timeout::new(timeout)?)
    }

    /// Take the mutex or raise WouldBlock at once.
    fn acquire_nowait(&self, py: Python<'_>) -> PyResult<bool> {
        self.mutex(py)?.acquire_for(py, Timeout::NoWait)
    }

    /// Give the mutex back: as ``Mutex.release``.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.mutex.get().release(py)
    }

    /// Hold the mutex for the length of a ``with`` block: as ``Mutex.holding``.
    #[pyo3(signature = (*, timeout=None))]
    fn holding(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<MutexHolding> {
        self.handle.refuse_closed(py)?;
        Mutex::holding(self.mutex.clone_ref(py), timeout)
    }

    /// Hold the mutex for the length of a ``with`` block, also after its owner died: as ``Mutex.recovering``.
    ///
    /// Who died may have died before it notified: ``notify_all`` once it is repaired.
    #[pyo3(signature = (*, timeout=None))]
    fn recovering(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<MutexRecovering> {
        self.handle.refuse_closed(py)?;
        Mutex::recovering(self.mutex.clone_ref(py), timeout)
    }

    /// A task's wait.
    fn _stay(slf: Bound<'_, Self>) -> ConditionStay {
        let handle = slf.get().handle.clone();
        ConditionStay::new(slf, handle)
    }

    /// What is held around a wait; of a closed handle too, to be given back.
    #[getter]
    fn _mutex(&self, py: Python<'_>) -> Py<Mutex> {
        self.mutex.clone_ref(py)
    }

    /// The thread that holds the mutex, or None: as ``Mutex.owner``.
    #[getter]
    fn owner(&self, py: Python<'_>) -> PyResult<Option<Peer>> {
        self.mutex.get().owner(py)
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<ConditionStatistics> {
        self.handle.look(py)?;
        let (n_waiting, waiters) = (self.core.waiting(), self.handle.waiters());
        Ok(ConditionStatistics { n_waiting, held: self.mutex.get().is_held(), waiters })
    }

    fn __repr__(&self) -> String {
        describe(&self.handle, &format!("{} waiting", self.core.waiting()))
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        slf.get().acquire(py, None)?;
        Ok(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.mutex.get().leave(py, kind)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Travel)> {
        if self.handle.header.parameters[0] != 0 {
            // Whoever opens it there needs its mutex.
            self.mutex.get().handle().reduce(py)?;
        }
        self.handle.reduce(py)
    }
}
