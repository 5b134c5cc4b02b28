//! `underpass.Once`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::prelude::*;
use underpass_core::kernel::Wanted;
use underpass_core::mutex::{Death, Mutex};
use underpass_core::once::{self as core, Turn};
use underpass_core::{Error, Result};
use underpass_shm::header::{Kind, PARAMETERS, WORDS};
use underpass_shm::layout::mutex::MutexWords;
use underpass_shm::layout::once::OnceWords;
use underpass_shm::place::Placed;
use underpass_shm::region::Extent;

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::notification::describe;
use crate::number::mode;
use crate::object::{self, Object, SharedObject};
use crate::peer::Peer;
use crate::site;
use crate::space::Space;
use crate::timeout::Timeout;
use crate::who;

/// What exactly one process runs: the others wait until it has, and if it dies in the middle, the next one runs it.
///
/// Rust's ``Once`` and POSIX's ``pthread_once``, between processes. It has run once it has come to its end: an exception
/// leaves it to the next, as Rust's ``OnceLock::get_or_try_init`` does, and so does a death; who takes over from the dead
/// is told. Nothing that the function returns is shared: it leaves its result in a shared object or in a file. What it has
/// written there is seen by everybody for whom it is done. There is no way back. Asking whether it is done makes no
/// system call.
///
/// Example:
///     >>> import underpass
///     >>> ready = underpass.Once()
///     >>> ready.call(lambda: print("only once"))
///     only once
///     True
///     >>> ready.call(lambda: print("never"))
///     False
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Once {
    pub handle: Arc<Handle>,
    pub core: core::Once,
}

/// A snapshot of a once.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct OnceStatistics {
    /// ``"new"``, ``"running"``, ``"runner died"`` until somebody takes over, or ``"done"``.
    state: &'static str,
    /// Threads that sleep until it is done or theirs to run, wherever they are.
    waiters: usize,
    /// The thread that runs it, or died in the middle; None if nobody does. Its ``held_for`` and ``line`` say since when, and
    /// where it began.
    runner: Option<Peer>,
}

#[pymethods]
impl OnceStatistics {
    fn __repr__(&self) -> String {
        format!("OnceStatistics(state='{}', waiters={})", self.state, self.waiters)
    }
}

/// The turn of whoever runs it.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct OnceTurn {
    /// The OwnerDiedError of who died in the middle, if somebody did; otherwise None.
    died: Option<Py<PyAny>>,
}

#[pymethods]
impl OnceTurn {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        match &self.died {
            None => Ok("OnceTurn(died=None)".to_owned()),
            Some(died) => Ok(format!("OnceTurn(died={})", died.bind(py).repr()?)),
        }
    }
}

/// Runs it in a block, if it has not run.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct OnceRunning {
    once: Py<Once>,
    timeout: Timeout,
    mine: AtomicBool,
}

#[pymethods]
impl OnceRunning {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Option<OnceTurn>> {
        let once = self.once.get();
        let turn = once.begin(py, "running", self.timeout)?;
        self.mine.store(turn != Turn::Done, Relaxed);
        Ok(match turn {
            Turn::Done => None,
            Turn::Mine(died) => Some(OnceTurn { died: died.map(|death| once.obituary(py, death)) }),
        })
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if !self.mine.swap(false, Relaxed) {
            return Ok(());
        }
        self.once.get().end(py, kind.is_none())
    }
}

fn create(
    py: Python<'_>,
    space: Option<&Bound<'_, Space>>,
    name: Option<&str>,
    mode: Option<u32>,
) -> PyResult<PyClassInitializer<Once>> {
    let wanted = Wanted {
        name,
        kind: Kind::Once,
        extent: Extent::whole(WORDS + size_of::<MutexWords>() + size_of::<OnceWords>()),
        parameters: [0; PARAMETERS],
        mode,
        // Zeroed words are those of one that has not run.
        format: &|_region| Ok(()),
    };
    Once::over(py, Arc::new(Handle::create(py, space.map(Bound::get), &wanted)?))
}

impl Object for Once {
    const KIND: Kind = Kind::Once;
    const PARAMETERS: &'static [&'static str] = &[];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let turn = Placed::at(&handle.region, WORDS);
        let words = Placed::at(&handle.region, WORDS + size_of::<MutexWords>());
        let (Some(turn), Some(words)) = (turn, words) else {
            let error = Error::Corrupted("its length is out of range".into());
            return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
        };
        let core = core::Once::new(words, Mutex::new(turn, false));
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }
}

impl Once {
    #[inline]
    fn begin(&self, py: Python<'_>, verb: &str, timeout: Timeout) -> PyResult<Turn> {
        self.handle.check(py)?;
        match timeout.within(verb, |deadline| self.core.begin(self.handle.kernel(), deadline)) {
            Ok(turn) => {
                // It happens once: so its line is known also where nobody waits yet.
                if turn != Turn::Done {
                    site::note(py, &self.handle);
                }
                Ok(turn)
            }
            Err(error) => Err(self.failed(py, "not run", timeout, error)),
        }
    }

    /// Works on a closed handle too: a turn that has begun ends.
    fn end(&self, py: Python<'_>, done: bool) -> PyResult<()> {
        self.handle.point(py)?;
        site::forget(&self.handle);
        let ended: Result<()> = self.core.end(self.handle.kernel(), done);
        ended.map_err(|error| self.failed(py, "not ended", Timeout::NoWait, error))
    }

    fn obituary(&self, py: Python<'_>, death: Death) -> Py<PyAny> {
        let detail = "it is run from the start".to_owned();
        let context = Context { object: &self.handle.title, failed: "taken over", time: String::new(), detail };
        raise(py, &context, Error::OwnerDied(death)).into_value(py).into_any()
    }

    #[cold]
    fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let detail = match (&error, self.core.runner(self.handle.kernel())) {
            (Error::NotOwner, _) => "this thread does not run it: a turn ends where it began".to_owned(),
            (_, Some(runner)) => who::describe(&self.handle, "run", &runner),
            (_, None) => "nobody runs it by now: try again".to_owned(),
        };
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }

    fn state(&self) -> &'static str {
        match self.core.runner(self.handle.kernel()) {
            _ if self.core.is_done() => "done",
            None => "new",
            Some(runner) if runner.dead => "runner died",
            Some(_) => "running",
        }
    }
}

#[pymethods]
impl Once {
    #[new]
    fn new(py: Python<'_>) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None)
    }

    /// Make a named once. Raises ExistsError if the name is taken.
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

    /// Open a named once, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the once of that name, or make it.
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

    /// Run ``function()`` unless it has run; True if this call did. When it returns, it is done.
    ///
    /// Who comes while another runs it sleeps until that one has come to its end, and returns False. If that one dies
    /// instead, by ``kill -9`` or by the end of its thread, or if its function raises, one who waits runs it, with its own
    /// ``function``, at once; which one is not promised. A function that has to know of a death belongs into ``running``.
    ///
    /// Raises:
    ///     TimedOut: Another did not come to its end within ``timeout`` seconds; the text names it. The time bounds the
    ///         wait, not the function.
    ///     MisuseError: This thread is running it: a function may not call its own once.
    ///     Exception: What ``function`` raises; then it has not run, and the next one runs it.
    #[pyo3(signature = (function, *, timeout=None))]
    fn call(&self, py: Python<'_>, function: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<bool> {
        let Turn::Mine(_) = self.begin(py, "call", Timeout::new(timeout)?)? else { return Ok(false) };
        let ran = function.call0();
        let ended = self.end(py, ran.is_ok());
        ran?;
        ended.map(|()| true)
    }

    /// Run it in a ``with`` block: the block gets its turn, or None if it has run and there is nothing to do.
    ///
    /// A block that ends normally has run it; one that ends by an exception, or by this thread's death, leaves it to the
    /// next. ``turn.died`` is the OwnerDiedError of who died in the middle, if somebody did: look what is half done. Waits,
    /// and raises, as ``call`` does.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> ready = underpass.Once()
    ///     >>> with ready.running(timeout=1) as turn:
    ///     ...     if turn is not None:
    ///     ...         print("prepare, after a death" if turn.died else "prepare")
    ///     prepare
    ///     >>> ready.done
    ///     True
    #[pyo3(signature = (*, timeout=None))]
    fn running(slf: Py<Self>, timeout: Option<f64>) -> PyResult<OnceRunning> {
        let timeout = Timeout::new(timeout)?;
        Ok(OnceRunning { once: slf, timeout, mine: AtomicBool::new(false) })
    }

    /// 1 if this thread runs it, 0 otherwise.
    #[getter]
    fn _depth(&self) -> u32 {
        u32::from(self.core.is_mine(self.handle.kernel()).unwrap_or(false))
    }

    /// True once it has run.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.look(py)?;
        Ok(self.core.is_done())
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<OnceStatistics> {
        self.handle.look(py)?;
        let runner = self.core.runner(self.handle.kernel());
        let runner =
            runner.map(|one| Peer::owner(&self.handle, one.thread, one.pid, &who::tenure_of(&self.handle, &one)));
        Ok(OnceStatistics { state: self.state(), waiters: self.handle.waiters(), runner })
    }

    fn __repr__(&self) -> String {
        let state = match self.core.runner(self.handle.kernel()) {
            Some(runner) => who::describe(&self.handle, "run", &runner),
            None => self.state().to_owned(),
        };
        describe(&self.handle, &state)
    }
}
