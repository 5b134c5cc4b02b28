//! `underpass.wait_any`, and what can be waited for beside others.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use underpass_core::Error;
use underpass_core::many::{self as core, Member, Ready};
use underpass_core::queue::ForPutting;
use underpass_shm::header;

use crate::error::{Context, raise};
use crate::event::Event;
use crate::handle::Handle;
use crate::mutex::Mutex;
use crate::notification::Notification;
use crate::queue::Queue;
use crate::semaphore::Semaphore;
use crate::timeout::Timeout;

/// A queue as those see it who put: ready when a put would not wait.
///
/// What ``Queue.room`` is: for `wait_any`, beside other objects.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct QueueRoom {
    handle: Arc<Handle>,
    core: ForPutting,
}

impl QueueRoom {
    pub fn new(queue: &Queue) -> Self {
        Self { handle: queue.handle.clone(), core: ForPutting(queue.core.clone()) }
    }
}

#[pymethods]
impl QueueRoom {
    fn __repr__(&self) -> String {
        format!("<room of {}>", self.handle.title)
    }
}

/// An object that can be waited for beside others, by its handle and what says whether it is ready.
fn waitable<'a>(what: &'a Bound<'_, PyAny>) -> PyResult<(&'a Arc<Handle>, &'a dyn Ready)> {
    macro_rules! one_of {
        ($($class:ty),*) => {
            $(if let Ok(object) = what.cast::<$class>() {
                let object = object.get();
                return Ok((&object.handle, &object.core as &dyn Ready));
            })*
        };
    }
    one_of!(Semaphore, Mutex, Notification, Event, QueueRoom);
    if let Ok(queue) = what.cast::<Queue>() {
        let queue = queue.get();
        return Ok((&queue.handle, &*queue.core));
    }
    Err(PyTypeError::new_err(format!(
        "{} cannot be waited for beside others: a Semaphore, Mutex, Notification, Event, Queue, or Queue.room can",
        what.get_type().name()?
    )))
}

/// Wait until one of these is ready at least; return all that are, in the order given.
///
/// Level-triggered, and takes nothing: what is ready stays so until somebody takes it, and another may be faster. Take it
/// with the ``_nowait`` verb, and wait again if that raises WouldBlock. Whoever waits for one object alone comes first.
/// Follows Zephyr's ``k_poll`` and ``poll``.
///
/// Ready are: a `Semaphore` with a unit, a `Mutex` that nobody holds or whose owner has died, a `Notification` with any
/// flag, an `Event` that is set, a `Queue` with a message or from which none will come any more, and ``Queue.room`` of one
/// with a free slot.
///
/// Args:
///     what: One object or more. Each is looked at; one that is given twice is returned twice.
///     timeout: Seconds; None waits for ever, 0 looks once.
///
/// Raises:
///     TimedOut: None became ready within ``timeout`` seconds.
///     TypeError: Not something that can be waited for.
///     ValueError: Nothing was given.
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
    let timeout = Timeout::new(timeout)?;
    let all: Vec<Bound<'_, PyAny>> = what.iter().collect();
    let found = all.iter().map(waitable).collect::<PyResult<Vec<_>>>()?;
    let Some((first, _)) = found.first() else {
        return Err(PyValueError::new_err("wait_any() of nothing would wait for ever: pass what to wait for"));
    };
    let mut watchers = Vec::with_capacity(found.len());
    for (handle, _) in &found {
        handle.check_look(py)?;
        let corrupted = || Error::Corrupted(format!("{} bytes are too few", handle.region.len()));
        let words = header::watchers(&handle.region).ok_or_else(corrupted);
        watchers.push(words.map_err(|error| raise(py, &Context::of(&handle.title, "not waited for"), error))?);
        if let Some(lab) = handle.lab() {
            lab.touch(&handle.region);
        }
    }
    let members: Vec<Member<'_>> = found
        .iter()
        .zip(&watchers)
        .map(|((handle, object), watchers)| Member { object: *object, kernel: handle.kernel(), watchers })
        .collect();
    let ready = timeout.judge(core::wait_any(&members, timeout.deadline())).map_err(|error| {
        let detail = format!("the first of {}", found.len());
        let context = Context { object: &first.title, failed: "not ready", time: timeout.text(), detail };
        raise(py, &context, error)
    })?;
    PyList::new(py, ready.into_iter().map(|index| &all[index]))
}
