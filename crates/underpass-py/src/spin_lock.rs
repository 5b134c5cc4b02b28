//! `underpass.sync.SpinLock`: the mutex's words and algorithm, with a spin that never tires, and an atomic section inside.

use std::sync::Arc;

use pyo3::prelude::*;
use underpass_core::kernel::Wanted;
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::mutex::MutexWords;
use underpass_shm::region::Extent;

use crate::handle::Handle;
use crate::mutex::Mutex;
use crate::notification::describe;
use crate::number::mode;
use crate::object::{self, Object, SharedObject};
use crate::peer::Peer;
use crate::section;
use crate::space::Space;
use crate::timeout::Timeout;

/// A lock between processes for a few microseconds: who waits for it spins, and who holds it waits for nothing.
///
/// Linux's and Zephyr's spin lock, as far as a process can have one: nobody can keep the scheduler from stopping its
/// owner, so the spin is bounded, and who has spun in vain sleeps. A stopped or dead owner costs nobody a processor. With
/// one processor, and in a process with other threads for more than 5 µs, nobody spins. One thread holds it, and is known.
///
/// Inside it nothing may wait, as in an `atomic_section`: what may raises MisuseError, a second spin lock's ``acquire``
/// too. Take that with ``acquire_nowait``, or have a `Mutex` for what takes longer. It cannot be acquired again by its
/// owner. A forked child holds nothing of its parent's.
///
/// It is robust, as `Mutex` is: after its owner died, by ``kill -9`` or by the end of its thread, what it protects may be
/// half changed: ``acquire`` and ``holding`` raise OwnerDiedError for everybody, until a block of ``recovering`` has ended
/// normally. Uncontended it makes no system call. ``with lock:`` is ``holding()``.
///
/// Example:
///     >>> import underpass
///     >>> from underpass.sync import SpinLock
///     >>> lock = SpinLock()
///     >>> with lock:
///     ...     underpass.Semaphore(1).acquire()
///     Traceback (most recent call last):
///     underpass.errors.MisuseError: semaphore ... not acquired: acquire may wait, and this thread holds spinlock ...
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct SpinLock {
    pub handle: Arc<Handle>,
    pub lock: Mutex,
    title: Arc<str>,
}

/// A snapshot of a spin lock.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct SpinLockStatistics {
    /// ``"free"``, ``"held"``, or ``"owner died"`` until somebody has repaired what it protects.
    state: &'static str,
    /// Threads that have spun in vain and sleep until they get it, wherever they are.
    waiters: usize,
    /// The thread that holds it, also one that has died; None while it is free.
    owner: Option<Peer>,
    /// Seconds for which that one has held it, or at least has; None if that is not known.
    held_for: Option<f64>,
    /// The line on which it was acquired, as ``"worker.py:31"``; known as a `Mutex`'s is.
    line: Option<String>,
}

#[pymethods]
impl SpinLockStatistics {
    fn __repr__(&self) -> String {
        format!("SpinLockStatistics(state='{}', waiters={})", self.state, self.waiters)
    }
}

/// Holds a spin lock while the block runs.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct SpinLockHolding {
    lock: Py<SpinLock>,
    timeout: Timeout,
}

#[pymethods]
impl SpinLockHolding {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        self.lock.get().acquire_for(py, self.timeout).map(drop)
    }

    fn __exit__(&self, py: Python<'_>, _kind: Py<PyAny>, _error: Py<PyAny>, _trace: Py<PyAny>) -> PyResult<()> {
        self.lock.get().release(py)
    }
}

/// Holds a spin lock while the block runs, also after its owner died.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct SpinLockRecovering {
    lock: Py<SpinLock>,
    timeout: Timeout,
}

#[pymethods]
impl SpinLockRecovering {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let lock = self.lock.get();
        lock.taken(py, self.timeout, || lock.lock.recover_for(py, self.timeout))
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let lock = self.lock.get();
        lock.given(|| lock.lock.end_recovery(py, kind))
    }
}

fn create(
    py: Python<'_>,
    space: Option<&Bound<'_, Space>>,
    name: Option<&str>,
    mode: Option<u32>,
) -> PyResult<PyClassInitializer<SpinLock>> {
    let wanted = Wanted {
        name,
        kind: Kind::SpinLock,
        extent: Extent::whole(WORDS + size_of::<MutexWords>()),
        parameters: [0; PARAMETERS],
        mode,
        // Zeroed words are those of a free lock.
        format: &|_region| Ok(()),
    };
    SpinLock::over(py, Arc::new(Handle::create(py, space.map(Bound::get), &wanted)?))
}

impl Object for SpinLock {
    const KIND: Kind = Kind::SpinLock;
    const PARAMETERS: &'static [&'static str] = &[];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let lock = Mutex::of(py, &handle)?;
        let title = handle.title.as_str().into();
        Ok(object::base(&handle).add_subclass(Self { handle, lock, title }))
    }
}

impl SpinLock {
    #[inline]
    fn acquire_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        self.taken(py, timeout, || self.lock.acquire_for(py, timeout))
    }

    /// Takes it, and begins the section inside.
    #[inline]
    fn taken<T>(&self, py: Python<'_>, timeout: Timeout, take: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        // Before the section of its own refuses to wait: what is wrong is that nobody else will release it.
        self.lock.is_not_mine(py, timeout)?;
        let place = section::place(py)?;
        self.lock.spin_anew();
        let taken = take()?;
        section::hold(self.handle.header.nonce, &self.title, place);
        Ok(taken)
    }

    /// Gives it back, which ends the section.
    #[inline]
    fn given(&self, give: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
        give()?;
        section::let_go(self.handle.header.nonce);
        Ok(())
    }
}

#[pymethods]
impl SpinLock {
    #[new]
    fn new(py: Python<'_>) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None)
    }

    /// Make a named spin lock. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space, Some(name), mode)?)
    }

    /// Open a named spin lock, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the spin lock of that name, or make it.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        object::open_or_create(py, name, space, [0; PARAMETERS], || create(py, space, Some(name), mode))
    }

    /// Take it, spinning for its owner and then sleeping; always True. From then on this thread is in an atomic section.
    ///
    /// A release wakes one that sleeps; which one is not promised, and whoever spins is faster. When the owner dies, all
    /// who wait are told, one after the other.
    ///
    /// Raises:
    ///     TimedOut: Not within ``timeout`` seconds; the text names the owner.
    ///     OwnerDiedError: Its owner died, before or during the call, and nobody has repaired what it protects. It is
    ///         not held: enter it with ``recovering``.
    ///     MisuseError: This thread holds it already; or it holds another spin lock, or is in an `atomic_section`, and
    ///         ``timeout`` is not 0.
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
    fn holding(slf: Py<Self>, timeout: Option<f64>) -> PyResult<SpinLockHolding> {
        Ok(SpinLockHolding { lock: slf, timeout: Timeout::new(timeout)? })
    }

    /// Hold it for the length of a ``with`` block, also after its owner died: the block gets the OwnerDiedError, or None.
    ///
    /// As `Mutex.recovering`: a block that got the error and ends normally says that what the lock protects is whole
    /// again; one that ends by an exception, or by this thread's death, leaves it as it was found.
    ///
    /// Raises:
    ///     TimedOut: Not within ``timeout`` seconds.
    ///     MisuseError: As in ``acquire``.
    #[pyo3(signature = (*, timeout=None))]
    fn recovering(slf: Py<Self>, timeout: Option<f64>) -> PyResult<SpinLockRecovering> {
        Ok(SpinLockRecovering { lock: slf, timeout: Timeout::new(timeout)? })
    }

    /// Give it back, wake one that sleeps, and leave its atomic section. Never waits; works on a closed handle too.
    ///
    /// Raises:
    ///     MisuseError: This thread does not hold it; the text names who does. Or it holds it inside a block of
    ///         ``recovering``, which has to end instead. Nothing was changed.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.given(|| self.lock.release(py))
    }

    /// The thread that holds it, or None. After its death it stays, no longer alive, until a recovery.
    #[getter]
    fn owner(&self, py: Python<'_>) -> PyResult<Option<Peer>> {
        self.lock.owner(py)
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<SpinLockStatistics> {
        self.handle.look(py)?;
        let owner = self.lock.owned();
        Ok(SpinLockStatistics {
            state: self.lock.state(),
            waiters: self.handle.waiters(),
            held_for: owner.as_ref().and_then(|owner| owner.held_for),
            line: owner.as_ref().and_then(|owner| owner.line.clone()),
            owner,
        })
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        slf.get().acquire_for(py, Timeout::Seconds(None))?;
        Ok(slf)
    }

    fn __exit__(&self, py: Python<'_>, _kind: Py<PyAny>, _error: Py<PyAny>, _trace: Py<PyAny>) -> PyResult<()> {
        self.release(py)
    }

    fn __repr__(&self) -> String {
        describe(&self.handle, &self.lock.told())
    }
}
