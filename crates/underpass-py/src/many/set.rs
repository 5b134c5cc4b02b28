//! `underpass.WaitSet`: many things that are waited for again and again.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyKeyError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use underpass_core::error::Phase;
use underpass_core::hearing::{Heard, Verb};
use underpass_core::kernel::{Kernel as _, Parked, Purpose, Watch};
use underpass_core::linux::{self, StillWaiting};
use underpass_core::many::Enough;
use underpass_core::{Deadline, Error};
use underpass_shm::operation::Operation;
use underpass_shm::poller::Polled;
use underpass_shm::{clock, forks};

use super::{NAMED, Party, waitable};
use crate::error::{Context, from_shm, plain, raise};
use crate::event_loop;
use crate::kernel_lab;
use crate::section;
use crate::timeout::Timeout;
use crate::waits;

mod identity;
mod members;

use identity::Identity;
use members::{Found, Refused, State};

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
    ///
    /// Raises:
    ///     ValueError: It is a member already, or its descriptor is. Or it has none: it was closed. Or ``epoll`` does not take it: a
    ///         plain file, a directory, or a device like ``/dev/null``, which a read never waits for.
    ///     OSError: No file is open under that number.
    ///     TypeError: Not something that can be waited for; a handler that cannot be called.
    ///     ClosedError: The set was closed.
    #[pyo3(signature = (what, handler=None))]
    fn add(&self, py: Python<'_>, what: &Bound<'_, PyAny>, handler: Option<Py<PyAny>>) -> PyResult<()> {
        if let Some(handler) = &handler
            && !handler.bind(py).is_callable()
        {
            let text = format!(
                "the handler {} cannot be called: pass a function of one argument, the member",
                handler.bind(py)
            );
            return Err(PyTypeError::new_err(text));
        }
        self.take_in(py, what, handler).map(drop)
    }

    /// Remove a member: what was added, also if it was closed since, or its descriptor's number, or what else has that descriptor.
    ///
    /// Raises:
    ///     KeyError: It is none.
    fn remove(&self, py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = self.key_of(py, what)?;
        let removed = key.map(|key| self.lock(py).map(|mut state| state.remove(key))).transpose()?.flatten();
        removed.map(drop).ok_or_else(|| PyKeyError::new_err(format!("{what} is not in the set")))
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
        let ready = self.wait_for(py, "WaitSet.wait", Timeout::new(timeout)?, Verb::Wait)?;
        PyList::new(py, ready.into_iter().map(|(_, what, _)| what))
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
        PyList::new(py, found.into_iter().map(|(_, what, _)| what))
    }

    /// Wait until a member with a handler is ready at least, and call the handlers of all that are; return how many.
    ///
    /// A handler is called once, with its member, which is none any more by then: add it again to be told again. What a
    /// handler raises ends the dispatch; those that were not called are members still. Members without one
    /// are not waited for.
    ///
    /// Args:
    ///     timeout: Seconds; None waits for ever, 0 looks once.
    ///
    /// Raises:
    ///     TimedOut: None became ready within ``timeout`` seconds.
    ///     ClosedError: The set was closed.
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
        let mut called = 0;
        for (key, what, handler) in self.wait_for(py, "WaitSet.dispatch", Timeout::new(timeout)?, Verb::Dispatch)? {
            // Another thread, or an earlier handler, may have removed it.
            let removed = self.lock(py)?.remove(key);
            if let (Some(_), Some(handler)) = (removed, handler) {
                handler.call1(py, (what,))?;
                called += 1;
            }
        }
        Ok(called)
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
        self.whatever_state(py).all(py, Verb::Wait).into_iter().map(|(_, what, _)| what).collect()
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
        let members = self.state.try_lock().map(|mut state| state.clear());
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

    /// It was made in the lab, and is a member of others there without a descriptor; not once it was closed.
    fn is_simulated(what: &Bound<'_, PyAny>) -> bool {
        what.cast::<Self>().is_ok_and(|set| set.get().in_lab && !set.get().whatever_state(what.py()).is_closed())
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
        let found = self.wait_for(py, verb, timeout, Verb::Wait)?;
        Ok(found.into_iter().map(|(key, ..)| key).collect())
    }

    /// Adds a member, and says its key. Who was closed and left its number to this one is a member no more.
    fn take_in(&self, py: Python<'_>, what: &Bound<'_, PyAny>, handler: Option<Py<PyAny>>) -> PyResult<u64> {
        let identity = Identity::of(py, what)?;
        if self.in_lab {
            if matches!(identity, Identity::Descriptor(_)) {
                return Err(no_descriptors(py));
            }
            self.check_nesting(what)?;
        }
        if let (Identity::Object(_), false) = (identity, self.in_lab) {
            // Its other descriptors are looked after, which may run the program's code, a port's admission: not under the lock.
            waitable(what)?.0.check_look(py)?;
        }
        let mut state = self.lock(py)?;
        let evicted = state.evict(what, identity);
        let added = state.add(py, what, identity, handler, self.in_lab);
        drop(state);
        drop(evicted);
        // The text of what was given may be the work of anybody's code, which does not run under the lock.
        added.map_err(|refused| match refused {
            Refused::Known => PyValueError::new_err(format!("{what} is in the set already")),
            Refused::PlainFile => PyValueError::new_err(format!(
                "{what} is a plain file, which is always ready, or a directory or device like /dev/null, of which epoll tells nothing: \
                 read it without waiting"
            )),
            Refused::ItsOwn => PyValueError::new_err(format!(
                "{what} cannot be a member: its number is the set's own by now; what had it was closed, open it anew"
            )),
            Refused::Because(error) => error,
        })
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

    fn wait_for(&self, py: Python<'_>, name: &str, timeout: Timeout, verb: Verb) -> PyResult<Found> {
        let found = match timeout.deadline(name) {
            Ok(deadline) if self.in_lab => self.wait_in_lab(py, name, deadline, verb)?,
            Ok(deadline) => self.wait_until(py, name, deadline, verb)?,
            Err(error) => Err(error),
        };
        timeout.judge(found).map_err(|error| {
            let object = self.describe(py, name);
            let context = Context { object: &object, failed: "not ready", time: timeout.text(), detail: String::new() };
            raise(py, &context, error)
        })
    }

    /// What is waited for by that name: its first members, for errors.
    fn describe(&self, py: Python<'_>, name: &str) -> String {
        let (count, first) = {
            let state = self.whatever_state(py);
            (state.len(), state.first(py, NAMED))
        };
        let named = first.iter().map(|what| what.bind(py).to_string()).collect::<Vec<_>>().join(", ");
        let members = match count {
            0 => "it has none".into(),
            _ if count > NAMED => format!("{named} and {} more", count - NAMED),
            _ => named,
        };
        if name == "wait_any" { format!("any of {members}") } else { format!("any member of the wait set ({members})") }
    }

    /// Says that this wait is a long one, if it is time for that, and until when it may be silent.
    fn warn(&self, py: Python<'_>, name: &str, purpose: &Purpose) -> PyResult<u64> {
        let now = clock::monotonic();
        if purpose.since.get() == 0 {
            event_loop::warn(py, name, || self.describe(py, name))?;
            purpose.since.set(now);
        }
        let mut logged = Ok(());
        let still_waiting = || {
            let (object, waited) = (self.describe(py, name).into(), now.saturating_sub(purpose.since.get()));
            logged = waits::log(py, &StillWaiting { object, verb: name, waited, holders: Vec::new() });
            logged.is_err()
        };
        let silent_until = linux::warn(purpose, now, still_waiting);
        logged.map(|()| silent_until.unwrap_or(u64::MAX))
    }

    /// One look, which empties the descriptors only if it may find nothing: they are readable again while something is ready, and who
    /// is woken by a ring need not read first.
    fn look(&self, py: Python<'_>, everything: bool) -> PyResult<Found> {
        loop {
            let mut state = self.lock(py)?;
            let glances = !everything && state.glances(py)?;
            let candidates = if glances { state.glance(py)? } else { state.hear_now(py, everything)? };
            drop(state);
            let looked = candidates.look(py);
            let found = self.whatever_state(py).learn(py, Verb::Wait, &candidates, looked)?;
            if !glances || !found.is_empty() {
                return Ok(found);
            }
        }
    }

    fn wait_until(&self, py: Python<'_>, name: &str, deadline: Deadline, verb: Verb) -> PyResult<Result<Found, Error>> {
        let purpose = Purpose::new(Operation::Any);
        let mut heard = Heard::nothing();
        let mut until = 0;
        let mut news = 0;
        let mut expired = deadline == Deadline::NoWait;
        loop {
            let mut state = self.lock(py)?;
            let known = if until == 0 { state.known(py)? } else { None };
            // What others have found, or added, since this one heard is not told again.
            let sleeps = until != 0 && news == state.news(verb);
            let poller = state.asleep(py, verb)?;
            drop(state);
            let woken = match known {
                Some(keys) => Ok(Polled::Keys(keys)),
                None if !sleeps => poller.wait(0),
                None => py.detach(|| poller.wait(until)),
            };
            let mut state = self.whatever_state(py);
            state.awake(verb);
            if state.is_closed() {
                return Err(closed(py));
            }
            let told = match woken.map_err(|error| from_shm(py, error))? {
                Polled::Keys(keys) => keys,
                Polled::Interrupted => {
                    drop(state);
                    py.check_signals()?;
                    continue;
                }
            };
            // Nobody has told anything for long: somebody may have died unseen.
            heard.all |= sleeps && told.is_empty();
            let candidates = state.hear(py, verb, &told, &mut heard)?;
            news = state.news(verb);
            drop(state);
            let looked = candidates.look(py);
            let found = self.whatever_state(py).learn(py, verb, &candidates, looked)?;
            if !found.is_empty() {
                return Ok(Ok(found));
            }
            if expired {
                return Ok(Err(if deadline == Deadline::NoWait {
                    Error::WouldBlock
                } else {
                    Error::TimedOut(Phase::Wait)
                }));
            }
            let silent_until = self.warn(py, name, &purpose)?;
            let recheck = clock::monotonic().saturating_add(linux::recheck()).min(silent_until);
            until = deadline.time().map_or(recheck, |time| time.min(recheck));
            expired = deadline.time().is_some_and(|time| clock::monotonic() >= time);
        }
    }

    fn wait_in_lab(
        &self,
        py: Python<'_>,
        name: &str,
        deadline: Deadline,
        verb: Verb,
    ) -> PyResult<Result<Found, Error>> {
        let all = self.lock(py)?.all(py, verb);
        let mut objects = Vec::with_capacity(all.len());
        let mut members = Vec::with_capacity(all.len());
        for (member, (_, what, _)) in all.iter().enumerate() {
            spread(what.bind(py), &mut objects);
            members.resize(objects.len(), member);
        }
        if objects.is_empty() {
            return sleep_in_lab(py, name, deadline).map(Err);
        }
        let party = Party::new(py, name, &objects)?;
        Ok(party.wait_until(Operation::Any, Enough::Any, deadline).map(|ready| {
            let mut found: Vec<usize> = ready.into_iter().map(|object| members[object]).collect();
            found.dedup();
            let one = |member: usize| {
                let (key, what, handler) = &all[member];
                (*key, what.clone_ref(py), handler.as_ref().map(|handler| handler.clone_ref(py)))
            };
            found.into_iter().map(one).collect()
        }))
    }

    /// A set of the lab is a member of another as long as that is not a member of it.
    fn check_nesting(&self, what: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(set) = what.cast::<Self>() else { return Ok(()) };
        if std::ptr::eq(set.get(), self) {
            let text = format!("{what} cannot be a member of itself, nor of one of its members");
            return Err(PyOSError::new_err(text));
        }
        let inside = set.get().whatever_state(what.py()).all(what.py(), Verb::Wait);
        inside.iter().try_for_each(|(_, what_is_in, _)| self.check_nesting(what_is_in.bind(what.py())))
    }
}

/// Adds what a member of a set of the lab waits for: itself, or all that a set inside does, as a descriptor of its would tell.
fn spread<'py>(what: &Bound<'py, PyAny>, objects: &mut Vec<Bound<'py, PyAny>>) {
    let Ok(set) = what.cast::<WaitSet>() else { return objects.push(what.clone()) };
    for (_, member, _) in set.get().whatever_state(what.py()).all(what.py(), Verb::Wait) {
        spread(member.bind(what.py()), objects);
    }
}

/// A wait of the lab for nothing but its time-out; what it ends with.
fn sleep_in_lab(py: Python<'_>, name: &str, deadline: Deadline) -> PyResult<Error> {
    if deadline == Deadline::NoWait {
        return Ok(Error::WouldBlock);
    }
    let lab = kernel_lab::current()
        .ok_or_else(|| plain(py, "MisuseError", &format!("{name}: no program of the lab runs")))?;
    let until = deadline.time();
    while until.is_none_or(|time| lab.now() < time) {
        match lab.park(&Watch::new(), &[], until) {
            Parked::Expired => break,
            Parked::Interrupted => return Ok(Error::Interrupted),
            Parked::Look | Parked::Baton => {}
        }
    }
    Ok(Error::TimedOut(Phase::Wait))
}

fn closed(py: Python<'_>) -> PyErr {
    plain(py, "ClosedError", "the wait set was closed")
}

fn no_descriptors(py: Python<'_>) -> PyErr {
    let text = "this wait set was made in the lab, which has no descriptors: wait for objects there; coroutines run in a process whose function is an async def, or by lab.run()";
    plain(py, "MisuseError", text)
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        if !self.is_inherited() {
            let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            drop(state.clear());
        }
    }
}
