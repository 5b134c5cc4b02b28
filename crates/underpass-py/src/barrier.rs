//! `underpass.Barrier`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::barrier::{self as core, Break, Cause, Roll};
use underpass_core::kernel::Wanted;
use underpass_core::site::Tenure;
use underpass_core::waiters::{self, Waiters};
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::barrier::{BarrierWords, MOST_PARTIES};
use underpass_shm::life::Life;
use underpass_shm::place::Placed;

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::notification::describe_with;
use crate::number::{Whole, mode};
use crate::object::{self, Object, SharedObject};
use crate::peer::Peer;
use crate::space::Space;
use crate::stay::Stay;
use crate::timeout::Timeout;
use crate::who;

const WAITERS: usize = WORDS + size_of::<BarrierWords>();

/// Where processes wait until all have come: the standard library's ``Barrier``, which knows when one dies.
///
/// ``wait`` returns in all parties once the last one has come, and the next generation begins; nobody of it slips into the
/// one before, and one that is slow to wake still learns how its own ended. What is broken lets nobody pass until
/// ``reset``: by ``abort``, by a waiter whose time ran out (as the standard library and Java's ``CyclicBarrier`` have
/// it), and by a death.
///
/// A process is known from its first ``wait``, or from ``join``. When it ends, in whatever way and whether it waits or
/// computes, all who wait leave with BrokenBarrierError at once; so does whoever comes, until ``reset`` has forgotten the
/// dead. A party that dies before it was known is waited for: let each process ``join`` when it starts. The end of a thread
/// in a process that goes on breaks nothing.
///
/// Args:
///     parties: How many have to come, 1 to 4,095.
///
/// Raises:
///     ValueError: ``parties`` is out of range.
///
/// Example:
///     >>> import threading
///     >>> import underpass
///     >>> start = underpass.Barrier(2)
///     >>> other = threading.Thread(target=start.wait)
///     >>> other.start()
///     >>> start.wait(timeout=10) in (0, 1)
///     True
///     >>> other.join()
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Barrier {
    handle: Arc<Handle>,
    core: core::Barrier,
}

/// A snapshot of a barrier.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct BarrierStatistics {
    /// How many have to come.
    parties: u32,
    /// How many have come.
    n_waiting: usize,
    /// True if nobody passes until a reset.
    broken: bool,
    /// How many threads sleep here, and tasks wait, wherever they are.
    waiters: usize,
    /// The processes that have come, each as often as threads or tasks of it wait.
    come: Vec<Peer>,
    /// The processes that it knows, since they joined or have waited before, that live and have not come.
    missing: Vec<Peer>,
}

#[pymethods]
impl BarrierStatistics {
    fn __repr__(&self) -> String {
        let Self { parties, n_waiting, broken, waiters, .. } = self;
        let broken = if *broken { "True" } else { "False" };
        format!("BarrierStatistics(parties={parties}, n_waiting={n_waiting}, broken={broken}, waiters={waiters})")
    }
}

fn checked(parties: Whole) -> PyResult<u32> {
    u32::try_from(parties.0)
        .ok()
        .filter(|parties| (1..=MOST_PARTIES).contains(parties))
        .ok_or_else(|| PyValueError::new_err(format!("parties={} is not between 1 and {MOST_PARTIES}", parties.0)))
}

const fn parameters(parties: u32) -> [u64; PARAMETERS] {
    [parties as u64, 0, 0, 0, 0, 0, 0, 0]
}

fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
    parties: u32,
) -> PyResult<PyClassInitializer<Barrier>> {
    let wanted = Wanted {
        name,
        kind: Kind::Barrier,
        extent: waiters::extent(WAITERS),
        parameters: parameters(parties),
        mode,
        // Zeroed words are those of one that is whole and empty.
        format: &|_region| Ok(()),
    };
    <Barrier as Object>::over(py, Arc::new(Handle::create(py, space, &wanted)?))
}

/// The core of such an object.
fn over(py: Python<'_>, handle: &Handle) -> PyResult<core::Barrier> {
    let parties = u32::try_from(handle.header.parameters[0]).ok();
    let parties = parties.filter(|parties| (1..=MOST_PARTIES).contains(parties));
    let words = Placed::at(&handle.region, WORDS);
    let waiters = Waiters::at(&handle.region, WAITERS);
    let (Some(parties), Some(words), Some(waiters)) = (parties, words, waiters) else {
        let error = underpass_core::Error::Corrupted("its parties or its length are out of range".into());
        return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
    };
    Ok(core::Barrier::new(words, waiters, parties))
}

impl Object for Barrier {
    const KIND: Kind = Kind::Barrier;
    const PARAMETERS: &'static [&'static str] = &["parties"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let core = over(py, &handle)?;
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }
}

impl Barrier {
    fn is_broken(&self) -> bool {
        self.core.broken().is_some()
    }

    fn count(&self) -> u32 {
        self.handle.header.parameters[0] as u32
    }

    fn peer(&self, process: Life) -> Peer {
        Peer::owner(&self.handle, process, self.handle.kernel().pid(process), &Tenure::default())
    }

    #[cold]
    pub fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: underpass_core::Error) -> PyErr {
        self.failed_with(py, failed, timeout, error, &Roll::default())
    }

    /// As [`Self::failed`], of one whose time ran out, with those who had come.
    #[cold]
    fn failed_with(
        &self,
        py: Python<'_>,
        failed: &str,
        timeout: Timeout,
        error: underpass_core::Error,
        roll: &Roll,
    ) -> PyErr {
        let come = match self.named(&roll.come) {
            Some(named) => format!("only {} of its {} parties came ({named})", roll.come.len(), self.count()),
            None => format!("not all of its {} parties came", self.count()),
        };
        let missing =
            self.named(&roll.missing).map_or(String::new(), |named| format!(", and {named} not, of those it knows"));
        let detail = format!("{come}{missing}; it is broken now, until reset()");
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }

    /// Processes, as an error or a repr calls them: `pid 12 (2), this process`; none of nobody.
    fn named(&self, processes: &[Life]) -> Option<String> {
        let mut counts: Vec<(Life, usize)> = Vec::new();
        for process in processes {
            match counts.iter_mut().find(|(life, _)| life == process) {
                Some((_, count)) => *count += 1,
                None => counts.push((*process, 1)),
            }
        }
        let named = counts.iter().map(|(life, count)| {
            let who = who::process(&self.handle, *life);
            if *count == 1 { who } else { format!("{who} ({count})") }
        });
        (!counts.is_empty()).then(|| who::several(named, counts.len()))
    }

    fn told(&self, py: Python<'_>, failed: &str, done: underpass_core::Result<()>) -> PyResult<()> {
        done.map_err(|error| raise(py, &Context::of(&self.handle.title, failed), error))
    }
}

#[pymethods]
impl Barrier {
    #[new]
    fn new(py: Python<'_>, parties: Whole) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, checked(parties)?)
    }

    /// Make a named barrier. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, parties, *, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        parties: Whole,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), mode, checked(parties)?)?)
    }

    /// Open a named barrier, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the barrier of that name, or make it. Raises MismatchError if it exists and has other ``parties``.
    #[staticmethod]
    #[pyo3(signature = (name, parties, *, space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        parties: Whole,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let parties = checked(parties)?;
        let make = || create(py, space.map(Bound::get), Some(name), mode, parties);
        object::open_or_create(py, name, space, parameters(parties), make)
    }

    /// Make this process known, so that its death breaks the barrier also before it has ever waited. Idempotent.
    ///
    /// It never waits for others, and works on a broken barrier too. It is not an arrival.
    ///
    /// Raises:
    ///     MisuseError: 64 processes are known already.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> phase = underpass.Barrier(2)
    ///     >>> phase.join()  # from now on the end of this process breaks it
    ///     >>> phase.n_waiting
    ///     0
    fn join(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        self.told(py, "not joined", self.core.join(self.handle.kernel()))
    }

    /// Wait until all parties have come; how many came before this one in its generation, from 0 to ``parties`` - 1.
    ///
    /// The last one to come lets all others go, together. Whoever is killed after that, also the last one before it has
    /// woken anybody, takes nothing back: all others return. One whom an exception of a signal handler takes away has not
    /// come, and breaks nothing while its process goes on.
    ///
    /// Raises:
    ///     TimedOut: Not all came within ``timeout`` seconds. That breaks it, for all, also with a timeout of 0. If the
    ///         last one came in the same moment, it has passed.
    ///     BrokenBarrierError: It was broken, before or meanwhile; the text says by whom, as ``cause`` and ``pid`` do. The
    ///         standard library raises it in the one whose time ran out, too.
    ///     ResetError: It was reset meanwhile.
    ///     MisuseError: 64 other processes are known already.
    #[pyo3(signature = (*, timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<u32> {
        let timeout = Timeout::new(timeout)?;
        self.handle.check(py)?;
        let mut roll = Roll::default();
        let mut tell = |late| roll = late;
        let passed =
            timeout.within("wait", |deadline| self.core.wait_or_tell(self.handle.kernel(), deadline, &mut tell));
        passed.map_err(|error| self.failed_with(py, "not passed", timeout, error, &roll))
    }

    /// A task's wait until all parties have come.
    fn _stay(slf: &Bound<'_, Self>) -> PyResult<Stay> {
        let (py, this) = (slf.py(), slf.get());
        let me = this.handle.kernel().me().map_err(|error| this.failed(py, "not passed", Timeout::NoWait, error))?;
        let barrier = slf.clone().unbind();
        Ok(Stay::new(&this.handle, Arc::new(over(py, &this.handle)?), core::Barrier::wish(me), move |py, given| {
            let index = given.and_then(core::Barrier::judge);
            index.map_err(|error| barrier.get().failed(py, "not passed", Timeout::NoWait, error))
        }))
    }

    /// Break it: all who wait leave with BrokenBarrierError, and nobody passes until ``reset``.
    ///
    /// What is broken already stays as it was broken. It never waits for a waiter. If the process dies inside, either
    /// nothing has happened, or everybody is told.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> phase = underpass.Barrier(2)
    ///     >>> phase.abort()
    ///     >>> phase.wait()
    ///     Traceback (most recent call last):
    ///     underpass.errors.BrokenBarrierError: barrier ... aborted it; nobody passes until reset()
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        self.told(py, "not aborted", self.core.abort(self.handle.kernel()))
    }

    /// Make it whole and empty again: all who wait leave with ResetError, and processes that have ended are forgotten.
    ///
    /// Processes that live stay known. It never waits for a waiter; if the process dies inside, either nothing has happened,
    /// or everybody is told. The standard library raises BrokenBarrierError in those who wait.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> phase = underpass.Barrier(1)
    ///     >>> phase.abort()
    ///     >>> phase.reset()
    ///     >>> phase.wait()
    ///     0
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        self.told(py, "not reset", self.core.reset(self.handle.kernel()))
    }

    /// How many have to come.
    #[getter]
    fn parties(&self) -> u32 {
        self.count()
    }

    /// How many have come and wait for the others.
    #[getter]
    fn n_waiting(&self, py: Python<'_>) -> PyResult<usize> {
        self.handle.look(py)?;
        Ok(self.core.waiting())
    }

    /// True if nobody passes until ``reset``. A death counts once somebody waits: parties that are done may end.
    #[getter]
    fn broken(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.look(py)?;
        Ok(self.is_broken())
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<BarrierStatistics> {
        self.handle.look(py)?;
        let (n_waiting, waiters) = (self.core.waiting(), self.handle.waiters_with(&self.core));
        let Roll { come, missing } = self.core.roll(self.handle.kernel());
        let [come, missing] = [come, missing].map(|them| them.into_iter().map(|one| self.peer(one)).collect());
        Ok(BarrierStatistics { parties: self.count(), n_waiting, broken: self.is_broken(), waiters, come, missing })
    }

    fn __repr__(&self) -> String {
        let Roll { come, .. } = self.core.roll(self.handle.kernel());
        let named = self.named(&come).map_or(String::new(), |named| format!(" ({named})"));
        let broken = match self.core.broken() {
            None => String::new(),
            Some(Break { cause: Cause::Aborted, pid }) => format!(", broken: pid {pid} aborted it"),
            Some(Break { cause: Cause::TimedOut, pid }) => format!(", broken: the time of pid {pid} ran out"),
            Some(Break { cause: Cause::Died, pid }) => format!(", broken: pid {pid} died"),
        };
        let state = format!("{} of {} parties{named}{broken}", come.len(), self.count());
        describe_with(&self.handle, &self.core, &state)
    }
}
