//! `underpass.wait_any`, and what can be waited for beside others.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use underpass_core::kernel::{Kernel, Watch};
use underpass_core::many::{self as core, Enough, Member, Ready};
use underpass_core::queue::{ForJoining, ForPutting};
use underpass_core::wait::Sleepers;
use underpass_core::{Deadline, Error};
use underpass_shm::header;
use underpass_shm::layout::bell::WatchersWords;
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;

use crate::atomic::AtomicIntChange;
use crate::broadcast::{BroadcastRoom, Subscription};
use crate::error::{Context, raise};
use crate::event::Event;
use crate::gate_call::{GateCall, GateRoom};
use crate::handle::{Handle, Part};
use crate::kernel_lab::{self, NewNames};
use crate::latch::Latch;
use crate::mutex::Mutex;
use crate::news::News;
use crate::notification::{Notification, NotificationFlags};
use crate::object::Pickled;
use crate::objects::Objects;
use crate::once::Once;
use crate::pipe::{Pipe, PipeRoom};
use crate::pool::PoolRoom;
use crate::port::Port;
use crate::queue::Queue;
use crate::ring::{Ring, RingRoom};
use crate::rwlock::{RWLock, RWLockReading, RWLockUpgrade, RWLockWriting};
use crate::semaphore::Semaphore;
use crate::since::Since;
use crate::spin_lock::SpinLock;
use crate::stack::Stack;
use crate::stay::{ConditionStay, Stay};
use crate::timeout::Timeout;

mod choice;
mod set;

pub use choice::{SelectedBlock, select};
pub use set::WaitSet;

/// Objects whose ringers' deaths one sleep on words has room for, with a baton and what was announced beside it: five words at
/// most, of a change of a number. More are waited for at descriptors.
const MOST_BATONS: usize = 22;
/// Objects that an error names.
const NAMED: usize = 3;

/// A queue as those see it who put: ready when a put would not wait.
///
/// What ``Queue.room`` is: for `wait_any`, beside other objects.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct QueueRoom {
    queue: Py<Queue>,
    handle: Arc<Handle>,
    core: ForPutting,
}

impl QueueRoom {
    pub fn new(queue: Bound<'_, Queue>) -> Self {
        let (handle, core) = (queue.get().handle.clone(), ForPutting(queue.get().core.clone()));
        Self { queue: queue.unbind(), handle, core }
    }
}

#[pymethods]
impl QueueRoom {
    /// A descriptor that is readable while a put would not wait: see `SharedObject.fileno`.
    fn fileno(slf: &Bound<'_, Self>) -> PyResult<RawFd> {
        fileno(slf)
    }

    /// What tasks wait for that come now: a purge ends it.
    fn _since(&self) -> Since {
        Since::now(&self.handle, Arc::new(self.core.clone()), "not put")
    }

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py, (Py<Queue>, &'static str)>> {
        Ok((py.import("builtins")?.getattr("getattr")?, (self.queue.clone_ref(py), "room")))
    }

    fn __repr__(&self) -> String {
        format!("<room of {}>", self.handle.title)
    }
}

/// A queue as those see it who wait until all its messages are done: ready when nothing is queued or leased.
///
/// What ``Queue.drained`` is: for `wait_any`, beside other objects.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct QueueDrained {
    handle: Arc<Handle>,
    core: ForJoining,
}

impl QueueDrained {
    pub fn new(queue: &Queue) -> Self {
        Self { handle: queue.handle.clone(), core: ForJoining(queue.core.clone()) }
    }
}

#[pymethods]
impl QueueDrained {
    /// A descriptor that is readable while nothing is queued or leased: see `SharedObject.fileno`.
    fn fileno(slf: &Bound<'_, Self>) -> PyResult<RawFd> {
        fileno(slf)
    }

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __repr__(&self) -> String {
        format!("<end of the work of {}>", self.handle.title)
    }
}

/// An object that can be waited for beside others, by its handle and what says whether it is ready.
pub fn waitable<'a>(what: &'a Bound<'_, PyAny>) -> PyResult<(&'a Arc<Handle>, &'a dyn Ready)> {
    macro_rules! one_of {
        ($($class:ident $ready:expr),* $(,)?) => {
            $(if let Ok(object) = what.cast::<$class>() {
                let object = object.get();
                return Ok((&object.handle, $ready(object)));
            })*
        };
    }
    one_of!(
        Semaphore |it: &'a Semaphore| it.core.ready(),
        Mutex |it: &'a Mutex| it.core() as &dyn Ready,
        SpinLock |it: &'a SpinLock| it.lock.core() as &dyn Ready,
        RWLock |it: &'a RWLock| &it.writes as &dyn Ready,
        AtomicIntChange |it: &'a AtomicIntChange| &it.core as &dyn Ready,
        Notification |it: &'a Notification| &it.core as &dyn Ready,
        NotificationFlags |it: &'a NotificationFlags| &it.core as &dyn Ready,
        Event |it: &'a Event| &it.core as &dyn Ready,
        Latch |it: &'a Latch| &it.core as &dyn Ready,
        Once |it: &'a Once| &it.core as &dyn Ready,
        Queue |it: &'a Queue| &*it.core as &dyn Ready,
        Objects |it: &'a Objects| &*it.core as &dyn Ready,
        QueueRoom |it: &'a QueueRoom| &it.core as &dyn Ready,
        QueueDrained |it: &'a QueueDrained| &it.core as &dyn Ready,
        Subscription |it: &'a Subscription| &*it.core as &dyn Ready,
        BroadcastRoom |it: &'a BroadcastRoom| &it.core as &dyn Ready,
        Pipe |it: &'a Pipe| &*it.core as &dyn Ready,
        PipeRoom |it: &'a PipeRoom| &it.core as &dyn Ready,
        PoolRoom |it: &'a PoolRoom| &it.core as &dyn Ready,
        Stack |it: &'a Stack| &it.core as &dyn Ready,
        Ring |it: &'a Ring| &it.core as &dyn Ready,
        RingRoom |it: &'a RingRoom| &it.core as &dyn Ready,
        GateCall |it: &'a GateCall| it as &dyn Ready,
        GateRoom |it: &'a GateRoom| it as &dyn Ready,
        ConditionStay |it: &'a ConditionStay| it as &dyn Ready,
        Stay |it: &'a Stay| &*it.core as &dyn Ready,
        Since |it: &'a Since| &it.core as &dyn Ready,
    );
    if let Ok(block) = what.cast::<RWLockReading>() {
        let lock = block.get().lock.get();
        return Ok((&lock.handle, &lock.reads));
    }
    if let Ok(block) = what.cast::<RWLockWriting>() {
        let lock = block.get().lock.get();
        return Ok((&lock.handle, &lock.writes));
    }
    if let Ok(upgrade) = what.cast::<RWLockUpgrade>() {
        let lock = upgrade.get().lock.get();
        return Ok((&lock.handle, &lock.upgrades));
    }
    if let Ok(port) = what.cast::<Port>() {
        let port = port.get();
        port.check_here(what.py())?;
        return Ok((&port.handle, &*port.server));
    }
    Err(unwaitable(what))
}

fn unwaitable(what: &Bound<'_, PyAny>) -> PyErr {
    let name = match what.get_type().name() {
        Ok(name) => name.to_string(),
        Err(error) => return error,
    };
    let why = match &*name {
        "Broadcast" => "it is ready for everybody or nobody: wait for a subscription, broadcast.subscribe()",
        "Pool" => "it has blocks of some sizes: wait for pool.room_for(size)",
        "AtomicInt" => "it is a number: wait for counter.change_from(value)",
        "Condition" | "Barrier" => {
            "it chooses among those who wait for it, and is ready for nobody else: beside others wait for an Event, a Notification \
             or a Semaphore, or await it as a task"
        }
        _ => {
            "a Semaphore, Mutex, SpinLock, RWLock, its reading() and writing(), Notification, its flags, AtomicInt.change_from, Event, \
             Latch, Once, Queue, Queue.room, Queue.drained, ObjectQueue, Pipe, Pipe.room, Pool.room_for, Stack, SpscRing, \
              MpscRing, their room_for, Subscription or Port can"
        }
    };
    PyTypeError::new_err(format!("{name} cannot be waited for beside others: {why}"))
}

/// The descriptor that is readable while that may be ready: what ``fileno()`` returns.
pub fn fileno(what: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let (py, (handle, _)) = (what.py(), waitable(what)?);
    macro_rules! one_of {
        ($($class:ident $part:expr, $ready:expr);* $(;)?) => {
            $(if let Ok(object) = what.cast::<$class>() {
                let object = object.get();
                return handle.fileno(py, $part(object), || $ready(object));
            })*
        };
    }
    one_of!(
        Semaphore |_| Part::Whole, |it: &Semaphore| it.core.lasting();
        Mutex |_| Part::Whole, |it: &Mutex| Arc::new(it.core().clone());
        SpinLock |_| Part::Whole, |it: &SpinLock| Arc::new(it.lock.core().clone());
        RWLock |_| Part::Whole, |it: &RWLock| Arc::new(it.writes.clone());
        AtomicIntChange |it: &AtomicIntChange| it.part, |it: &AtomicIntChange| Arc::new(it.core.clone());
        Notification |_| Part::Whole, |it: &Notification| Arc::new(it.core.clone());
        NotificationFlags |it: &NotificationFlags| it.part, |it: &NotificationFlags| Arc::new(it.core.clone());
        Event |_| Part::Whole, |it: &Event| Arc::new(it.core.clone());
        Latch |_| Part::Whole, |it: &Latch| Arc::new(it.core.clone());
        Once |_| Part::Whole, |it: &Once| Arc::new(it.core.clone());
        Queue |_| Part::Whole, |it: &Queue| it.core.clone();
        Objects |_| Part::Whole, |it: &Objects| it.core.clone();
        QueueRoom |_| Part::Room, |it: &QueueRoom| Arc::new(it.core.clone());
        QueueDrained |_| Part::Drained, |it: &QueueDrained| Arc::new(it.core.clone());
        Subscription |_| Part::Whole, |it: &Subscription| it.core.clone();
        Pipe |_| Part::Whole, |it: &Pipe| it.core.clone();
        PipeRoom |_| Part::Room, |it: &PipeRoom| Arc::new(it.core.clone());
        PoolRoom |it: &PoolRoom| it.part, |it: &PoolRoom| Arc::new(it.core.clone());
        Stack |_| Part::Whole, |it: &Stack| Arc::new(it.core.clone());
        Ring |_| Part::Whole, |it: &Ring| Arc::new(it.core.clone());
        RingRoom |it: &RingRoom| it.part, |it: &RingRoom| Arc::new(it.core.clone());
        Port |_| Part::Whole, |it: &Port| it.server.clone();
    );
    Err(unwaitable(what))
}

/// Who is rung for an object.
pub fn watchers(py: Python<'_>, handle: &Handle) -> PyResult<Placed<WatchersWords>> {
    let corrupted = || Error::Corrupted(format!("{} bytes are too few", handle.region.len()));
    let words = header::watchers(&handle.region).ok_or_else(corrupted);
    words.map_err(|error| raise(py, &Context::of(&handle.title, "not waited for"), error))
}

/// One of those that a verb was given.
#[derive(Debug)]
struct Guest<'a> {
    title: &'a str,
    /// By which it is known here; what the lab alone has, has none.
    handle: Option<&'a Arc<Handle>>,
    object: &'a dyn Ready,
    kernel: &'a dyn Kernel,
    nonce: u64,
    watchers: Placed<WatchersWords>,
}

impl<'a> Guest<'a> {
    /// Of something that can be waited for; `even_closed`: also by a handle that was closed.
    fn new(py: Python<'_>, what: &'a Bound<'_, PyAny>, even_closed: bool) -> PyResult<Self> {
        if let Some(names) = News::in_lab(what) {
            let (title, nonce) = (NewNames::TITLE, NewNames::NONCE);
            let watchers = names.watchers().map_err(|error| raise(py, &Context::of(title, "not waited for"), error))?;
            return Ok(Self { title, handle: None, object: names, kernel: names.kernel(), nonce, watchers });
        }
        let (handle, object) = waitable(what)?;
        if even_closed && handle.is_closed() { handle.look(py) } else { handle.check_look(py) }?;
        let watchers = watchers(py, handle)?;
        if let Some(lab) = handle.lab() {
            lab.touch(&handle.region);
        }
        let (kernel, nonce) = (handle.kernel(), handle.header.nonce);
        Ok(Self { title: &handle.title, handle: Some(handle), object, kernel, nonce, watchers })
    }
}

/// A handle may be closed while somebody waits: it is ready then, for its verbs to say so.
impl Ready for Guest<'_> {
    fn sleepers(&self) -> &dyn Sleepers {
        self.object.sleepers()
    }

    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> underpass_core::Result<bool> {
        if let (Some(handle), Some(_)) = (self.handle, &watch) {
            handle.tell_its_end();
        }
        let is_closed = self.handle.is_some_and(|handle| handle.is_closed());
        if is_closed { Ok(true) } else { self.object.is_ready(kernel, watch) }
    }
}

/// What a verb was given, ready to be waited for.
struct Party<'a>(Vec<Guest<'a>>);

impl<'a> Party<'a> {
    /// Of what `verb` was given.
    fn new(py: Python<'_>, verb: &str, all: &'a [Bound<'_, PyAny>]) -> PyResult<Self> {
        if all.is_empty() {
            return Err(PyValueError::new_err(format!("{verb}() of nothing: pass what to wait for")));
        }
        all.iter().map(|what| Guest::new(py, what, false)).collect::<PyResult<_>>().map(Self)
    }

    /// Of the members of a set, of which some may have been closed since they were added: these are ready.
    fn of_members(py: Python<'_>, all: &'a [Bound<'_, PyAny>]) -> PyResult<Self> {
        all.iter().map(|what| Guest::new(py, what, true)).collect::<PyResult<_>>().map(Self)
    }

    fn wait(&self, py: Python<'_>, verb: &str, enough: Enough, timeout: Option<f64>) -> PyResult<Vec<usize>> {
        let timeout = Timeout::new(timeout)?;
        let operation = if enough == Enough::All { Operation::All } else { Operation::Any };
        let waited = timeout.within(verb, |deadline| self.wait_until(operation, enough, deadline));
        waited.map_err(|error| self.unready(py, enough, timeout, error))
    }

    fn wait_until(&self, operation: Operation, enough: Enough, deadline: Deadline) -> Result<Vec<usize>, Error> {
        let members: Vec<Member<'_>> = self
            .0
            .iter()
            .map(|guest| Member { object: guest, kernel: guest.kernel, watchers: &guest.watchers, nonce: guest.nonce })
            .collect();
        core::wait_in(operation, &members, enough, deadline)
    }

    fn unready(&self, py: Python<'_>, enough: Enough, timeout: Timeout, error: Error) -> PyErr {
        let titles: Vec<&str> = self.0.iter().take(NAMED).map(|guest| guest.title).collect();
        let more = self.0.len() - titles.len();
        let titles = titles.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
        let object = match (self.0.len(), enough) {
            (1, _) => titles,
            (_, Enough::Any) => format!("any of {titles}"),
            (_, Enough::All) => format!("all of {titles}"),
        };
        raise(py, &Context { object: &object, failed: "not ready", time: timeout.text(), detail: String::new() }, error)
    }
}

/// Wait until one of these is ready at least; return all that are, in the order given.
///
/// Level-triggered, and takes nothing: what is ready stays so until somebody takes it, and another may be faster. Take it
/// with the ``_nowait`` verb, and wait again if that raises WouldBlock. What is handed over by arrival or priority goes to
/// those who wait for that object alone. Follows Zephyr's ``k_poll`` and ``poll``.
///
/// What is ready is what a verb would not wait for:
///
/// ==========================  =================================================================
/// object                      is ready
/// ==========================  =================================================================
/// `Semaphore`                 with a unit
/// `Mutex`, `SpinLock`         that nobody holds, whose owner has died, or that is the caller's
/// ``RWLock.reading()``        of one in which the caller's turn to read is now: as ``prefer`` says
/// `RWLock`, ``writing()``     that nobody holds, and for which nobody waits who goes first
/// `Notification`              with any flag; what its ``flags(bits)`` returns: with one of those
/// ``AtomicInt.change_from``   of a number that has another value
/// `Event`                     that is set
/// `Latch`                     that is open
/// `Once`                      that has run, or that nobody runs who lives
/// `Queue`                     with a message, or from which none will come any more
/// ``Queue.room``              of a queue with a free slot, or that was shut down
/// ``Queue.drained``           of a queue in which nothing is queued or leased
/// `ObjectQueue`               as a `Queue`: it may be a message that is void, of which `get_nowait` finds nothing
/// `Subscription`              with a message, or to which none will come any more
/// `Pipe`                      with a byte, or from which none will come any more
/// ``Pipe.room``               of a pipe with room for a byte, or that was shut down
/// ``Pool.room_for``           of a pool with a free block of that size
/// ``data.Stack``              with a word
/// `SpscRing`, `MpscRing`      with a packet that is committed, or whose only writer has died
/// ``room_for`` of a ring      with room for a packet of that size, or whose reader has died
/// `Port`                      with a call or notified bits, or that was closed
/// a descriptor                that can be read, or whose other end is gone
/// `process`                   that has ended
/// ==========================  =================================================================
///
/// A lock is ready also where an attempt would say at once why not: its owner has died, or the caller holds it. So is what another
/// thread closes meanwhile: its verbs raise ClosedError. A `Condition` and a
/// `Barrier` choose among those who wait for them, and are ready for nobody else.
///
/// Args:
///     what: One object or more, or descriptors: files, sockets, `process`, anything with ``fileno()``, or its number, ready
///         when it can be read. Each is looked at; one that is given twice is returned twice, also as a socket and as its number. With descriptors, or more than
///         22 objects, a `WaitSet` is made for this wait: who waits so often keeps one.
///     timeout: Seconds; None waits for ever, 0 looks once.
///
/// Raises:
///     TimedOut: None became ready within ``timeout`` seconds.
///     TypeError: Not something that can be waited for.
///     ValueError: Nothing was given, or something whose descriptor was closed, or that ``epoll`` does not take: a plain file, a
///         directory, or a device like ``/dev/null``, also as ``sys.stdin``. A read of these never waits, so read them.
///     OSError: No file is open under a number that was given.
///     ClosedError: The handle of an object was closed.
///
/// Example:
///     >>> import underpass
///     >>> jobs, stop = underpass.Queue(), underpass.Event()
///     >>> stop.set()
///     >>> underpass.wait_any(jobs, stop, timeout=1) == [stop]
///     True
#[pyfunction]
#[pyo3(signature = (*what, timeout=None))]
pub fn wait_any<'py>(
    py: Python<'py>,
    what: &Bound<'py, PyTuple>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyList>> {
    let all: Vec<Bound<'_, PyAny>> = what.iter().collect();
    let fit = all.len() <= MOST_BATONS || kernel_lab::current().is_some();
    if all.is_empty() || fit && all.iter().all(|one| waitable(one).is_ok()) {
        let ready = Party::new(py, "wait_any", &all)?.wait(py, "wait_any", Enough::Any, timeout)?;
        return PyList::new(py, ready.into_iter().map(|index| &all[index]));
    }
    let (set, keys) = WaitSet::of(py, &all)?;
    let ready = set.wait_once(py, "wait_any", Timeout::new(timeout)?)?;
    let found: Vec<_> = all.into_iter().zip(keys).filter(|(_, key)| ready.contains(key)).map(|(one, _)| one).collect();
    PyList::new(py, found)
}

/// Wait until all of these are ready at one look.
///
/// Level-triggered, and takes nothing, as `wait_any`: what has become ready may be taken by others while the rest is waited
/// for, and is then waited for again.
///
/// Args:
///     what: One object or more: those that `wait_any` takes.
///     timeout: Seconds; None waits for ever, 0 looks once.
///
/// Raises:
///     TimedOut: They were not all ready at once within ``timeout`` seconds.
///     TypeError: Not something that can be waited for.
///     ValueError: Nothing was given.
///
/// Example:
///     >>> import underpass
///     >>> parts, done = underpass.Queue(), underpass.Event()
///     >>> parts.put(b"wheel")
///     >>> done.set()
///     >>> underpass.wait_all(parts, done, timeout=1)
#[pyfunction]
#[pyo3(signature = (*what, timeout=None))]
pub fn wait_all<'py>(py: Python<'py>, what: &Bound<'py, PyTuple>, timeout: Option<f64>) -> PyResult<()> {
    let all: Vec<Bound<'_, PyAny>> = what.iter().collect();
    Party::new(py, "wait_all", &all)?.wait(py, "wait_all", Enough::All, timeout).map(drop)
}
