//! `underpass.RWLock`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::kernel::Wanted;
use underpass_core::mutex::{Death, Holder};
use underpass_core::rwlock::{self as core, Entry, How, Prefer, THREAD};
use underpass_core::{Error, Result};
use underpass_shm::header::{Kind, PARAMETERS, WORDS};

use crate::error::{self, Context, raise};
use crate::handle::Handle;
use crate::notification::describe_with;
use crate::number::mode;
use crate::object::{self, Object, SharedObject};
use crate::peer::Peer;
use crate::site;
use crate::space::Space;
use crate::stay::Stay;
use crate::timeout::Timeout;
use crate::who;

const ADVICE: &str = "enter it with writing(), repair, and go on";

/// What `prefer=` may be; the header has its place here.
const PREFERENCES: [(&str, Prefer); 3] =
    [("writers", Prefer::Writers), ("readers", Prefer::Readers), ("arrival", Prefer::Arrival)];

/// A lock that many threads hold to read or one to write, in whichever processes, and that survives each of them.
///
/// A reader that dies, by `kill -9` or by the end of its thread, reads no more: a waiting writer goes on at once. After a
/// writer died, what the lock protects may be half changed. The next who writes gets the OwnerDiedError from ``writing``
/// and repairs; until a block that got it has ended normally, ``reading`` raises OwnerDiedError, for everybody. A forked
/// child holds nothing of its parent's.
///
/// ``prefer`` says who goes first while somebody waits. ``"writers"``: a reader that comes waits for the writers that wait,
/// who go in the order in which they came; no writer starves. ``"readers"``: a writer waits until nobody reads; no reader
/// starves. ``"arrival"``: whoever came first, and with a reader those right behind it; nobody starves. Who is next is
/// handed the lock and then woken: nobody comes in between.
///
/// A thread that reads may read again, whoever waits. Readers do not slow each other down: each writes to a cache line of its
/// own (BRAVO, the big-reader locks of Linux), and a writer looks at all of them. 63 threads read at a time; the next one waits.
/// An uncontended operation makes no system call.
///
/// Args:
///     prefer: "writers", "readers" or "arrival".
///
/// Raises:
///     ValueError: ``prefer`` is none of these.
///
/// Example:
///     >>> import underpass
///     >>> table = underpass.RWLock()
///     >>> with table.reading():
///     ...     table.statistics().readers
///     1
///     >>> with table.writing(timeout=1) as died:
///     ...     if died:
///     ...         print("repair what pid", died.pid, "left")
///     ...     table.statistics().state
///     'written'
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct RWLock {
    pub handle: Arc<Handle>,
    core: Arc<core::RWLock>,
    pub reads: Entry,
    pub writes: Entry,
    pub upgrades: Entry,
}

/// A snapshot of a lock of readers and writers.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct RWLockStatistics {
    /// ``"free"``, ``"read"``, ``"written"``, or ``"writer died"`` until somebody has repaired what it protects.
    state: &'static str,
    /// Who goes first while somebody waits.
    prefer: &'static str,
    /// Threads and tasks that read.
    readers: usize,
    /// Those that hold it, wherever they are, and since when: the readers, longest first, or the writer, also one that died and
    /// was not repaired after.
    holders: Vec<Peer>,
    /// Threads that sleep until they get it, wherever they are.
    waiters: usize,
}

#[pymethods]
impl RWLockStatistics {
    fn __repr__(&self) -> String {
        let Self { state, prefer, readers, waiters, .. } = self;
        format!("RWLockStatistics(state='{state}', prefer='{prefer}', readers={readers}, waiters={waiters})")
    }
}

/// Reads while the block runs.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct RWLockReading {
    pub lock: Py<RWLock>,
    timeout: Timeout,
}

#[pymethods]
impl RWLockReading {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        let lock = self.lock.get();
        lock.handle.check(py)?;
        let done = self.timeout.deadline("reading").and_then(|until| lock.core.read(lock.handle.kernel(), until));
        lock.judge(py, "not held for reading", self.timeout, done)?;
        lock.note_reading(py, THREAD);
        Ok(())
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.lock.get().leave(py, THREAD, kind.is_none())
    }
}

/// Writes while the block runs.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct RWLockWriting {
    pub lock: Py<RWLock>,
    timeout: Timeout,
}

#[pymethods]
impl RWLockWriting {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let lock = self.lock.get();
        lock.handle.check(py)?;
        let done = self.timeout.deadline("writing").and_then(|until| lock.core.write(lock.handle.kernel(), until));
        let died = lock.judge(py, "not held for writing", self.timeout, done)?;
        lock.note(py);
        Ok(died.map(|death| lock.told(py, &death)))
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.lock.get().leave(py, THREAD, kind.is_none())
    }
}

/// An upgrade, as those see it who wait for it and for other things besides: ready once this thread is the only reader.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct RWLockUpgrade {
    pub lock: Py<RWLock>,
}

#[pymethods]
impl RWLockUpgrade {
    fn __repr__(&self) -> String {
        format!("<upgrade of {}>", self.lock.get().handle.title)
    }
}

/// The preference that a header names.
pub fn preference(number: u64) -> &'static str {
    PREFERENCES.get(number as usize).map_or("unknown", |(name, _)| name)
}

fn parameters(prefer: &str) -> PyResult<[u64; PARAMETERS]> {
    let number = PREFERENCES.iter().position(|(name, _)| *name == prefer).ok_or_else(|| {
        PyValueError::new_err(format!("prefer='{prefer}' is none of \"writers\", \"readers\" and \"arrival\""))
    })?;
    Ok([number as u64, 0, 0, 0, 0, 0, 0, 0])
}

fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
    parameters: [u64; PARAMETERS],
) -> PyResult<PyClassInitializer<RWLock>> {
    let wanted = Wanted {
        name,
        kind: Kind::RWLock,
        extent: core::extent(WORDS),
        parameters,
        mode,
        // Zeroed words are those of a free one.
        format: &|_region| Ok(()),
    };
    RWLock::over(py, Arc::new(Handle::create(py, space, &wanted)?))
}

impl Object for RWLock {
    const KIND: Kind = Kind::RWLock;
    const PARAMETERS: &'static [&'static str] = &["prefer"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let prefer = PREFERENCES.get(handle.header.parameters[0] as usize);
        let core = prefer.and_then(|(_, prefer)| core::RWLock::at(&handle.region, WORDS, *prefer));
        let Some(core) = core else {
            let error = Error::Corrupted("its preference or its length is out of range".into());
            return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
        };
        let core = Arc::new(core);
        let [reads, writes, upgrades] =
            [How::Read, How::Write, How::Upgrade].map(|how| Entry { lock: core.clone(), how });
        Ok(object::base(&handle).add_subclass(Self { handle, core, reads, writes, upgrades }))
    }
}

impl RWLock {
    fn preference(&self) -> &'static str {
        preference(self.handle.header.parameters[0])
    }

    /// Works on a closed handle too: a block that has begun ends.
    fn leave(&self, py: Python<'_>, task: u32, well: bool) -> PyResult<()> {
        self.handle.point(py)?;
        self.forget();
        let done = self.core.leave_of(self.handle.kernel(), task, well);
        self.judge(py, "not given back", Timeout::NoWait, done)
    }

    fn downgrade_of(&self, py: Python<'_>, task: u32) -> PyResult<()> {
        self.handle.check(py)?;
        self.forget();
        let done = self.core.downgrade_of(self.handle.kernel(), task);
        self.judge(py, "not downgraded", Timeout::NoWait, done)?;
        self.note_reading(py, task);
        Ok(())
    }

    /// Which error the block of one gets that writes after one that died.
    fn told(&self, py: Python<'_>, death: &Death) -> Py<PyAny> {
        let detail = "repair it before this block ends".to_owned();
        let context = Context { object: &self.handle.title, failed: "taken over", time: String::new(), detail };
        self.writer_died(py, &context, death).into_value(py).into_any()
    }

    fn upgrade_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        self.handle.check(py)?;
        let done = timeout.deadline("upgrade").and_then(|until| self.core.upgrade(self.handle.kernel(), until));
        self.judge(py, "not upgraded", timeout, done)?;
        self.note(py);
        Ok(true)
    }

    /// Writes down where a writer took it, if somebody waits who may ask.
    #[inline]
    fn note(&self, py: Python<'_>) {
        if self.core.is_asked_for() || site::wanted() {
            site::note(py, &self.handle);
        }
    }

    /// Writes down where a reader came in, under the same condition.
    #[inline]
    fn note_reading(&self, py: Python<'_>, task: u32) {
        if self.core.is_closed() || site::wanted() {
            site::note_with(py, &self.handle, |site, me| self.core.note_reading(me, task, &site));
        }
    }

    /// Forgets it: the next time may be one that nobody writes down.
    #[inline]
    fn forget(&self) {
        if self.core.is_asked_for() || site::wanted() {
            site::forget(&self.handle);
        }
    }

    #[inline]
    fn judge<T>(&self, py: Python<'_>, failed: &str, timeout: Timeout, done: Result<T>) -> PyResult<T> {
        timeout.judge(done).map_err(|error| self.failed(py, failed, timeout, error))
    }

    #[cold]
    fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let detail = match &error {
            Error::OwnerDied(_) => ADVICE.to_owned(),
            Error::NotOwner => {
                let state = self.state_text();
                let block = match failed {
                    "not upgraded" => ": call it inside reading()",
                    "not downgraded" => ": call it inside writing()",
                    _ => "",
                };
                format!("the caller does not hold it so, it is {state}{block}")
            }
            _ => self.obstacle(),
        };
        let context = Context { object: &self.handle.title, failed, time: timeout.text(), detail };
        match error {
            Error::OwnerDied(death) => self.writer_died(py, &context, &death),
            error => raise(py, &context, error),
        }
    }

    fn writer_died(&self, py: Python<'_>, context: &Context<'_>, death: &Death) -> PyErr {
        let (who, fate) = who::late(&self.handle, death.thread, death.pid);
        error::owner_died(py, context, death, &format!("{who}, {fate}"))
    }

    fn writer(&self) -> Option<Holder> {
        self.core.writing(self.handle.kernel())
    }

    /// Who holds it, for people.
    fn state_text(&self) -> String {
        if let Some(writer) = self.writer() {
            return who::describe(&self.handle, "written", &writer);
        }
        let kernel = self.handle.kernel();
        let readers = self.core.reading(kernel);
        if readers.is_empty() {
            return "free".to_owned();
        }
        let named = readers
            .iter()
            .map(|(reader, tenure)| format!("{}{}", self.name(*reader), who::tenure(&self.handle, tenure)));
        format!("read by {}", who::several(named, readers.len()))
    }

    /// What is in the way of one who did not get it.
    fn obstacle(&self) -> String {
        let state = match self.state_text() {
            state if state == "free" => "it is free again by now".to_owned(),
            state => state,
        };
        match self.core.first_writer() {
            Some(waiter) => format!("{state}, and {} waits to write", self.name(waiter)),
            None => state,
        }
    }

    fn name(&self, owner: core::Owner) -> String {
        who::living(&self.handle, owner.thread, self.handle.kernel().pid(owner.thread))
    }
}

#[pymethods]
impl RWLock {
    #[new]
    #[pyo3(signature = (*, prefer="writers"))]
    fn new(py: Python<'_>, prefer: &str) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, parameters(prefer)?)
    }

    /// Make a named lock. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, *, prefer="writers", space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        prefer: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), mode, parameters(prefer)?)?)
    }

    /// Open a named lock, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the lock of that name, or make it. Raises MismatchError if it exists and prefers others.
    #[staticmethod]
    #[pyo3(signature = (name, *, prefer="writers", space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        prefer: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let parameters = parameters(prefer)?;
        let make = || create(py, space.map(Bound::get), Some(name), mode, parameters);
        object::open_or_create(py, name, space, parameters, make)
    }

    /// Read in a ``with`` block, together with other readers; within a block that reads, again.
    ///
    /// Whoever lets the last writer go, or leaves last before a reader's turn, wakes it: all readers whose turn it is at once.
    /// If the one in the way dies, the kernel tells. With ``timeout=0`` the block's start tries once. A block that reads again
    /// within another waits for nobody.
    ///
    /// Raises:
    ///     TimedOut: Not within ``timeout`` seconds; the text names who holds it.
    ///     OwnerDiedError: A writer died, before or meanwhile, and nobody has repaired what the lock protects. It is not held:
    ///         enter it with ``writing``.
    ///     MisuseError: This thread writes: ``downgrade`` makes a reader of it.
    #[pyo3(signature = (*, timeout=None))]
    fn reading(slf: Py<Self>, timeout: Option<f64>) -> PyResult<RWLockReading> {
        Ok(RWLockReading { lock: slf, timeout: Timeout::new(timeout)? })
    }

    /// Write in a ``with`` block, alone: the block gets the OwnerDiedError of a writer that died, or None.
    ///
    /// A block that got the error and ends normally says that what the lock protects is whole again. One that ends by an
    /// exception, or by this thread's death, leaves it as it found it: to the next who writes. Whoever leaves last before a
    /// writer's turn hands it over and wakes it; readers that die meanwhile are left out. With ``timeout=0`` the block's start
    /// tries once.
    ///
    /// Raises:
    ///     TimedOut: Not within ``timeout`` seconds; the text names who holds it.
    ///     MisuseError: This thread holds it already: ``upgrade`` makes a writer of a reader.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> table = underpass.RWLock()
    ///     >>> with table.writing():
    ///     ...     table.downgrade()
    ///     ...     table.statistics().state
    ///     'read'
    #[pyo3(signature = (*, timeout=None))]
    fn writing(slf: Py<Self>, timeout: Option<f64>) -> PyResult<RWLockWriting> {
        Ok(RWLockWriting { lock: slf, timeout: Timeout::new(timeout)? })
    }

    /// Write from now on in a block of ``reading``, as soon as nobody else reads; always True.
    ///
    /// Nobody writes in between, so what the block has read is still so. Who upgrades goes before all who wait, but
    /// with ``prefer="readers"`` for readers. The block ends what it holds by then; ``downgrade`` ends the writing
    /// before. If it is not upgraded, this thread reads as before.
    ///
    /// Raises:
    ///     TimedOut: Others still read after ``timeout`` seconds; the text names them.
    ///     MisuseError: Another reader upgrades already: both would wait for each other to leave. Or this thread does not
    ///         read, or writes already.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> table, rows = underpass.RWLock(), {}
    ///     >>> with table.reading():
    ///     ...     if "wheel" not in rows and table.upgrade(timeout=1):
    ///     ...         rows["wheel"] = 4
    ///     >>> rows
    ///     {'wheel': 4}
    #[pyo3(signature = (*, timeout=None))]
    fn upgrade(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.upgrade_for(py, Timeout::new(timeout)?)
    }

    /// Upgrade or raise WouldBlock at once; otherwise as ``upgrade``.
    fn upgrade_nowait(&self, py: Python<'_>) -> PyResult<bool> {
        self.upgrade_for(py, Timeout::NoWait)
    }

    /// Only read from now on in a block that writes: nobody writes in between. It never waits; readers that wait are let in.
    ///
    /// Raises:
    ///     MisuseError: This thread does not write, or repairs what a dead writer left: leave that block first.
    fn downgrade(&self, py: Python<'_>) -> PyResult<()> {
        self.downgrade_of(py, THREAD)
    }

    /// What `select` of ``upgrade`` waits for.
    #[getter]
    fn _upgrade(slf: Py<Self>) -> RWLockUpgrade {
        RWLockUpgrade { lock: slf }
    }

    /// A task's way in: ``how`` is "read", "write" or "upgrade".
    fn _stay(slf: &Bound<'_, Self>, how: &str, task: u32) -> PyResult<Stay> {
        let (py, lock) = (slf.py(), slf.get());
        let (how, failed) = match how {
            "read" => (How::Read, "not held for reading"),
            "write" => (How::Write, "not held for writing"),
            _ => (How::Upgrade, "not upgraded"),
        };
        let me = lock.judge(py, "not held", Timeout::NoWait, lock.handle.kernel().me())?;
        let (wish, lock) = (core::RWLock::wish(me, task, how), slf.clone().unbind());
        Ok(Stay::new(&slf.get().handle, slf.get().core.clone(), wish, move |py, given| {
            let lock = lock.get();
            let died = given.and_then(|given| lock.core.judge(wish, given));
            let died = lock.judge(py, failed, Timeout::NoWait, died)?;
            match how {
                How::Read => lock.note_reading(py, task),
                _ => lock.note(py),
            }
            Ok(died.map(|death| lock.told(py, &death)))
        }))
    }

    /// `upgrade_nowait` of a task.
    fn _upgrade_nowait(&self, py: Python<'_>, task: u32) -> PyResult<bool> {
        self.handle.check(py)?;
        let done = self.core.try_upgrade_of(self.handle.kernel(), task);
        self.judge(py, "not upgraded", Timeout::NoWait, done)?;
        self.note(py);
        Ok(true)
    }

    /// `downgrade` of a task.
    fn _downgrade(&self, py: Python<'_>, task: u32) -> PyResult<()> {
        self.downgrade_of(py, task)
    }

    /// The end of a task's block, which went ``well`` or raised.
    fn _leave(&self, py: Python<'_>, task: u32, well: bool) -> PyResult<()> {
        self.leave(py, task, well)
    }

    /// The numbers by which tasks of this thread are known here.
    fn _tasks(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        let me = self.judge(py, "not looked at", Timeout::NoWait, self.handle.kernel().me())?;
        Ok(self.core.tasks_of(me.thread))
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<RWLockStatistics> {
        self.handle.look(py)?;
        let kernel = self.handle.kernel();
        let (writer, readers) = (self.writer(), self.core.reading(kernel));
        let state = match &writer {
            Some(writer) if writer.dead => "writer died",
            Some(_) => "written",
            None if readers.is_empty() => "free",
            None => "read",
        };
        let peer = |life, pid, tenure| Peer::owner(&self.handle, life, pid, &tenure);
        let writing = writer.map(|writer| peer(writer.thread, writer.pid, who::tenure_of(&self.handle, &writer)));
        let reading = readers.iter().map(|(reader, tenure)| peer(reader.thread, kernel.pid(reader.thread), *tenure));
        let holders = writing.into_iter().chain(reading).collect();
        let (prefer, readers, waiters) = (self.preference(), readers.len(), self.handle.waiters_with(&*self.core));
        Ok(RWLockStatistics { state, prefer, readers, holders, waiters })
    }

    fn __repr__(&self) -> String {
        describe_with(&self.handle, &*self.core, &self.state_text())
    }
}
