//! `underpass.WaitSet`: many things that are waited for again and again.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use underpass_core::Deadline;
use underpass_core::hearing::Verb;
use underpass_shm::forks;

use crate::error::plain;
use crate::kernel_lab;
use crate::section;
use crate::timeout::Timeout;

mod awaited;
mod candidates;
mod dispatching;
mod handler;
mod identity;
mod lab;
mod member;
mod members;
mod waiting;

use handler::Handler;
use identity::Identity;
use lab::no_descriptors;
use members::State;
use waiting::within;

/// Many things that are waited for again and again: objects, and whatever has a descriptor.
///
/// What `wait_any` is for one wait, this is for many: adding is done once, and a wait costs what has become ready, not how
/// many members there are. Level-triggered, and takes nothing: `wait` returns all that are ready, again and again until
/// somebody takes it. Members are the objects that `wait_any` takes, and descriptors: files, sockets, `process`, anything with ``fileno()``,
/// or its number; a descriptor is ready when it can be read, or its other end is gone.
///
/// Remove a member before you close it. A handle that is closed in the set is told at once and stays ready, for its verbs to say so. A
/// descriptor that is closed is ready no more, whoever else has it open: ``remove`` finds it still, and what is given its number takes its place
/// when it is added.
///
/// Any thread may add and remove while others wait, and several may wait: each is told all. `fileno` is for other loops.
/// When a process of the space dies, everything is looked at again, so nothing that it owed is lost. A set belongs to the
/// process that made it. Follows Barrelfish's waitsets in `dispatch`, and ``epoll``.
///
/// Raises:
///     OutOfSpaceError: No descriptor is left, or no bell: a space has 1,024 for sets and for threads in `wait_any`.
///
/// Example:
///     >>> import underpass
///     >>> jobs, stop = underpass.Queue(), underpass.Event()
///     >>> with underpass.WaitSet() as members:
///     ...     members.add(jobs)
///     ...     members.add(stop)
///     ...     stop.set()
///     ...     members.wait(timeout=1) == [stop]
///     True
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct WaitSet {
    state: Mutex<State>,
    /// Made in the lab, where there are no descriptors.
    in_lab: bool,
    epoch: u32,
}

#[pymethods]
impl WaitSet {
    #[new]
    fn new() -> Self {
        Self { state: Mutex::default(), in_lab: kernel_lab::current().is_some(), epoch: forks::epoch() }
    }

    /// Refuse a task's wait, if this thread is in an ``atomic_section``: what is awaited is called ``name(*arguments)``.
    #[staticmethod]
    #[pyo3(signature = (name, *arguments))]
    fn _may_await(name: &Bound<'_, PyAny>, arguments: &Bound<'_, PyTuple>) -> PyResult<()> {
        section::may_await(name, arguments)
    }

    /// Add a member; one that is ready already is told at the next wait.
    ///
    /// Args:
    ///     what: An object that `wait_any` takes, something with ``fileno()``, or a descriptor's number.
    ///     handler: What `dispatch` calls with it, once; then it is no member any more, as in Barrelfish.
    ///     persistent: Its handler is called whenever it is ready, and it stays a member.
    ///
    /// Raises:
    ///     ValueError: ``persistent`` without a handler. Or it is a member already, or its descriptor is. Or it has none: it was closed. Or ``epoll`` does not take it: a
    ///         plain file, a directory, or a device like ``/dev/null``, which a read never waits for.
    ///     OSError: No file is open under that number.
    ///     TypeError: Not something that can be waited for; a handler that cannot be called.
    ///     ClosedError: The set was closed.
    #[pyo3(signature = (what, handler=None, *, persistent=false))]
    fn add(
        &self,
        py: Python<'_>,
        what: &Bound<'_, PyAny>,
        handler: Option<Py<PyAny>>,
        persistent: bool,
    ) -> PyResult<()> {
        if persistent && handler.is_none() {
            let text = format!(
                "persistent=True says how {what} is handled, and there is no handler: pass one, or leave it out"
            );
            return Err(PyValueError::new_err(text));
        }
        if let Some(handler) = &handler
            && !handler.bind(py).is_callable()
        {
            let text = format!(
                "the handler {} cannot be called: pass a function of one argument, the member",
                handler.bind(py)
            );
            return Err(PyTypeError::new_err(text));
        }
        self.take_in(py, what, handler.map(|function| Handler::new(function, persistent))).map(drop)
    }

    /// Remove a member: what was added, also if it was closed since, or its descriptor's number, or what else has that descriptor.
    ///
    /// Raises:
    ///     KeyError: It is none.
    fn remove(&self, py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = self.key_of(py, what)?;
        let removed = key.map(|key| self.lock(py).map(|mut state| state.remove(key))).transpose()?.flatten();
        removed.map(drop).ok_or_else(|| no_member(what))
    }

    /// Move a member, with its handler, into another set: at once, so that no thread finds it in neither or calls its handler from both.
    ///
    /// It is the last one there; one that is ready already is told there at the next wait. A call of its handler that has begun goes on, and
    /// that set does not call it before that has ended. Whoever waits for it here with `wait_for` is told that it is gone. Into the set
    /// that it is in: nothing happens. Follows Barrelfish's ``waitset_chan_migrate``.
    ///
    /// Raises:
    ///     KeyError: It is no member: perhaps its handler, called once, was called by then.
    ///     ValueError: It, or its descriptor, is a member there already. Or its descriptor was closed. It stays where it is.
    ///     ClosedError: One of the sets was closed, or the object: it stays where it is.
    ///     OutOfSpaceError: No room there: it stays where it is.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> jobs, here, there = underpass.Queue(), underpass.WaitSet(), underpass.WaitSet()
    ///     >>> here.add(jobs, lambda jobs: print(jobs.get()))
    ///     >>> here.migrate(jobs, there)
    ///     >>> jobs.put(b"wheel")
    ///     >>> there.dispatch(timeout=1)
    ///     b'wheel'
    ///     1
    fn migrate(&self, py: Python<'_>, what: &Bound<'_, PyAny>, to: &Bound<'_, Self>) -> PyResult<()> {
        self.move_to(py, what, to)
    }

    /// Wait until a member is ready at least; return all that are, in the order in which they were added.
    ///
    /// Args:
    ///     timeout: Seconds; None waits for ever, 0 looks once.
    ///
    /// Raises:
    ///     TimedOut: None became ready within ``timeout`` seconds.
    ///     ClosedError: The set was closed.
    #[pyo3(signature = (*, timeout=None))]
    fn wait<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyList>> {
        let ready = self.found(py, "WaitSet.wait", Timeout::new(timeout)?)?;
        PyList::new(py, ready.into_iter().map(|one| one.what))
    }

    /// Return the members that are ready now, in the order in which they were added: perhaps none. Never waits.
    ///
    /// For who is told by `fileno`, which may be readable for nothing.
    ///
    /// Args:
    ///     everything: Look at each member, and not only at those that something was heard of.
    ///
    /// Raises:
    ///     ClosedError: The set was closed.
    #[pyo3(signature = (*, everything=false))]
    fn ready<'py>(&self, py: Python<'py>, everything: bool) -> PyResult<Bound<'py, PyList>> {
        let found = if self.in_lab {
            self.wait_in_lab(py, "WaitSet.ready", Deadline::NoWait, Verb::Wait)?.unwrap_or_default()
        } else {
            self.look(py, everything)?
        };
        PyList::new(py, found.into_iter().map(|one| one.what))
    }

    /// Wait until a member with a handler is ready at least, and call the handlers of all that are; return how many: one at least.
    ///
    /// A handler is called with its member, without a lock, in the order in which members were added. By then the member is none
    /// any more: add it again to be told again. One that was added with ``persistent=True`` stays, and its handler is called as long as it
    /// is ready, so take what is there. Of such a handler one call runs at a time: meanwhile other dispatchers, and a `dispatch` or
    /// `wait_for` in a handler, go without its member. So every finding is handled once, by whichever thread comes first; but where several
    /// dispatch, a persistent handler of a descriptor may be called in vain: read without waiting.
    ///
    /// What a handler raises ends the dispatch; those that were not called are members still, and so is a persistent one that raised.
    /// Members without a handler are not waited for.
    ///
    /// Args:
    ///     timeout: Seconds; None waits for ever, 0 looks once.
    ///
    /// Raises:
    ///     TimedOut: No handler was called within ``timeout`` seconds.
    ///     ClosedError: The set was closed; also by a handler, if others were to be called after it.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> done = underpass.Event()
    ///     >>> done.set()
    ///     >>> members = underpass.WaitSet()
    ///     >>> members.add(done, lambda event: print("done"))
    ///     >>> members.dispatch(timeout=1)
    ///     done
    ///     1
    #[pyo3(signature = (*, timeout=None))]
    fn dispatch(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<usize> {
        let (name, timeout) = ("WaitSet.dispatch", Timeout::new(timeout)?);
        let subject = || (self.describe(py, name), "not ready");
        within(py, name, timeout, subject, |deadline| self.dispatch_until(py, name, deadline, None))
    }

    /// Dispatch until the handler of one member was called, and has returned; return how many this thread has called.
    ///
    /// What is ready meanwhile is handled as by `dispatch`, so whoever waits for a reply goes on serving; what is ready
    /// after that member is left to the next dispatch. It may be called in a handler. If another thread calls the
    /// member's handler, this ends with that call too, whatever it came to. Follows Barrelfish's ``wait_for_channel``.
    ///
    /// Args:
    ///     what: A member with a handler.
    ///     timeout: Seconds; None waits for ever, 0 looks once. A handler that runs is not interrupted.
    ///
    /// Raises:
    ///     TimedOut: It was not handled within ``timeout`` seconds.
    ///     KeyError: It is no member; or it was removed, or moved to another set, before it was handled.
    ///     MisuseError: It has no handler; or this thread is inside it, and would wait for itself; or inside another, for which that one waits.
    ///     ClosedError: The set was closed.
    ///     Exception: What a handler that this thread has called raised.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> jobs, reply = underpass.Queue(), underpass.Event()
    ///     >>> members = underpass.WaitSet()
    ///     >>> def work(jobs):
    ///     ...     print(jobs.get())
    ///     ...     reply.set()
    ///     >>> members.add(jobs, work, persistent=True)
    ///     >>> members.add(reply, lambda reply: print("replied"))
    ///     >>> jobs.put(b"wheel")
    ///     >>> members.wait_for(reply, timeout=1)
    ///     b'wheel'
    ///     replied
    ///     2
    #[pyo3(signature = (what, *, timeout=None))]
    fn wait_for(&self, py: Python<'_>, what: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<usize> {
        let (name, timeout) = ("WaitSet.wait_for", Timeout::new(timeout)?);
        let waits = self.awaits(py, what)?;
        let subject = || (format!("{what} in the wait set"), "not handled");
        within(py, name, timeout, subject, |deadline| self.dispatch_until(py, name, deadline, Some(&waits.awaited)))
    }

    /// Return a descriptor that is readable while a member may be ready: for other loops.
    ///
    /// Whoever is told so calls ``ready()``, which says what is: perhaps nothing any more. It stays readable until a ``ready()`` has found
    /// nothing, and becomes so once a second: then all members are looked at, the backstop for deaths that nobody tells of. The
    /// descriptor is the set's, and closed with it.
    ///
    /// Raises:
    ///     ClosedError: The set was closed.
    ///     MisuseError: It was made in the lab, which has no descriptors.
    fn fileno(&self, py: Python<'_>) -> PyResult<RawFd> {
        let mut state = self.lock(py)?;
        if self.in_lab {
            return Err(no_descriptors(py));
        }
        state.expose(py)
    }

    /// Return two descriptors of which one is readable while a member may be ready: for loops that would rather poll two than wait longer.
    ///
    /// What this process itself does is told by the first, without a second ``epoll`` behind the loop's own; all else by the other. A
    /// loop that has these calls ``ready()`` by itself after each ``add``, of which they do not tell.
    ///
    /// Raises:
    ///     ClosedError: The set was closed.
    ///     MisuseError: It was made in the lab, which has no descriptors.
    fn filenos(&self, py: Python<'_>) -> PyResult<(RawFd, RawFd)> {
        let mut state = self.lock(py)?;
        if self.in_lab {
            return Err(no_descriptors(py));
        }
        state.part(py).map(|[own, others]| (own, others))
    }

    /// All members, in the order in which they were added; none of one that was closed.
    #[getter]
    fn _members(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.whatever_state(py).all(py, Verb::Wait).into_iter().map(|one| one.what).collect()
    }

    /// End it: its members go on without it. Whoever waits in it is told.
    fn close(&self, py: Python<'_>) {
        if self.is_inherited() {
            return;
        }
        let mut state = self.whatever_state(py);
        if state.is_closed() {
            return;
        }
        let members = state.close();
        drop(state);
        drop(members);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        state.visit(&visit)
    }

    fn __clear__(&self) {
        let ours = !self.is_inherited();
        let members = self.state.try_lock().map(|mut state| if ours { state.clear() } else { state.forget() });
        drop(members);
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.lock(py)?.len())
    }

    fn __contains__(&self, py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.key_of(py, what)?.is_some())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        if self.is_inherited() {
            return "<WaitSet, of another process>".into();
        }
        let state = self.whatever_state(py);
        match (state.is_closed(), state.len()) {
            (true, _) => "<WaitSet, closed>".into(),
            (false, 1) => "<WaitSet, 1 member>".into(),
            (false, count) => format!("<WaitSet, {count} members>"),
        }
    }
}

impl WaitSet {
    /// Its first member, and how many it has; none if there is nothing in it.
    pub fn first_and_count<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyAny>, u32)> {
        let state = self.whatever_state(py);
        let first = state.first(py, 1).pop()?;
        Some((first.into_bound(py), u32::try_from(state.len()).unwrap_or(u32::MAX)))
    }

    /// One for a single wait, and the key of each; what is given twice, or has the descriptor of another, is a member once.
    pub fn of(py: Python<'_>, all: &[Bound<'_, PyAny>]) -> PyResult<(Self, Vec<u64>)> {
        let set = Self::new();
        let key_of = |what| {
            let identity = Identity::of(py, what)?;
            let known = set.lock(py)?.key_of(what, Some(identity));
            known.map_or_else(|| set.take_in(py, what, None), Ok)
        };
        let keys = all.iter().map(key_of).collect::<PyResult<_>>()?;
        Ok((set, keys))
    }

    /// The keys of those that are ready.
    pub fn wait_once(&self, py: Python<'_>, verb: &str, timeout: Timeout) -> PyResult<HashSet<u64>> {
        let found = self.found(py, verb, timeout)?;
        Ok(found.into_iter().map(|one| one.key).collect())
    }

    /// Adds a member, and says its key. Who was closed and left its number to this one is a member no more.
    fn take_in(&self, py: Python<'_>, what: &Bound<'_, PyAny>, handler: Option<Handler>) -> PyResult<u64> {
        let identity = Identity::of(py, what)?;
        self.check_member(what, identity)?;
        let mut state = self.lock(py)?;
        let evicted = state.evict(what, identity);
        let added = state.add(py, what, identity, handler, self.in_lab);
        drop(state);
        drop(evicted);
        // The text of what was given may be the work of anybody's code, which does not run under the lock.
        added.map_err(|refused| refused.raise(what))
    }

    /// The key of a member: what was added, or what has its descriptor; none of what is none. What is no member itself may be asked for
    /// its descriptor, which is anybody's code, and runs without the lock.
    fn key_of(&self, py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
        let itself = self.lock(py)?.key_of_itself(what);
        if itself.is_some() {
            return Ok(itself);
        }
        let identity = Identity::if_any(py, what)?;
        Ok(self.lock(py)?.key_of(what, identity))
    }

    /// Another process made it, of which this one is a forked child: a thread of that one may have had the lock.
    fn is_inherited(&self) -> bool {
        self.epoch != forks::epoch()
    }

    /// The state, of one that is open and this process's.
    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, State>> {
        if self.is_inherited() {
            let text =
                "a wait set belongs to the process that made it: make one here, and add what this process waits for";
            return Err(plain(py, "MisuseError", text));
        }
        let state = self.whatever_state(py);
        if state.is_closed() {
            return Err(closed(py));
        }
        Ok(state)
    }

    /// The state, also of one that is closed. It is this process's.
    fn whatever_state(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_member(what: &Bound<'_, PyAny>) -> PyErr {
    PyKeyError::new_err(format!("{what} is not in the set"))
}

fn closed(py: Python<'_>) -> PyErr {
    plain(py, "ClosedError", "the wait set was closed")
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        if !self.is_inherited() {
            let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            drop(state.clear());
        }
    }
}
