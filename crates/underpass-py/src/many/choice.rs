//! `underpass.select`: one of several operations, whichever need not wait.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use underpass_core::many::Enough;
use underpass_shm::operation::Operation;

use super::{Party, waitable};
use crate::atomic::AtomicInt;
use crate::error;
use crate::kernel_lab;
use crate::notification::Notification;
use crate::pipe::Pipe;
use crate::timeout::Timeout;

/// Do the first of these operations that need not wait, and no other; return its place and what it returned.
///
/// Each is a blocking verb of an object, as in ``select(jobs.get, stop.wait)``, or with arguments ``functools.partial`` of a
/// verb that puts, or that waits for something of its own: ``select(stop.wait, partial(out.put, b"a"))``, ``partial(news.wait,
/// 0b11, all=True)``, ``partial(hits.wait, 5)``. Exactly one of them takes effect, whichever raises or is interrupted: the others
/// take nothing and lose nothing. Of several that need not wait each gets its turn to be tried first. It stands in no order: what
/// is handed over by arrival or priority goes to those who wait for it alone, and of the rest whoever is first gets it. Follows
/// Go's ``select`` and CML's ``choose``.
///
/// Of a verb that makes a block, as ``mutex.recovering`` or ``table.reading``, what is returned is a block that is held already: it
/// begins without waiting, with what ``as`` of the verb's own has. Enter it at once: until it ends the lock is held.
///
/// Args:
///     operations: Bound verbs with a twin in ``_nowait``, or those of blocks, of objects that `wait_any` takes.
///     timeout: Seconds for all of them; None waits for ever, 0 tries each once.
///
/// Raises:
///     TimedOut: Each would have had to wait for longer than ``timeout`` seconds.
///     TypeError: Not a blocking verb of something that can be waited for.
///     ValueError: Nothing was given.
///     Exception: What the operation raised that was tried: ClosedError, OwnerDiedError and the like.
///
/// Example:
///     >>> import underpass
///     >>> jobs, stop = underpass.Queue(), underpass.Event()
///     >>> jobs.put(b"wheel")
///     >>> underpass.select(jobs.get, stop.wait, timeout=1)
///     (0, b'wheel')
///     >>> table = underpass.RWLock()
///     >>> place, held = underpass.select(table.writing, stop.wait, timeout=1)
///     >>> with held as died:
///     ...     died is None
///     True
#[pyfunction]
#[pyo3(signature = (*operations, timeout=None))]
pub fn select<'py>(
    py: Python<'py>,
    operations: &Bound<'py, PyTuple>,
    timeout: Option<f64>,
) -> PyResult<(usize, Bound<'py, PyAny>)> {
    let timeout = Timeout::new(timeout)?;
    let offers = operations.iter().map(|operation| Offer::new(&operation)).collect::<PyResult<Vec<_>>>()?;
    let waited_for: Vec<Bound<'_, PyAny>> = offers.iter().map(|offer| offer.waitable.clone()).collect();
    let party = Party::new(py, "select", &waited_for)?;
    let deadline = timeout.deadline("select").map_err(|error| party.unready(py, Enough::Any, timeout, error))?;
    let mut candidates: Vec<usize> = (0..offers.len()).collect();
    loop {
        let first = turn(candidates.len());
        for place in 0..candidates.len() {
            let index = candidates[(first + place) % candidates.len()];
            if let Some(done) = offers[index].attempt()? {
                return Ok((index, done));
            }
        }
        // What was ready may be taken by others before it is tried.
        let ready = timeout.judge(party.wait_until(Operation::Select, Enough::Any, deadline));
        candidates = ready.map_err(|error| party.unready(py, Enough::Any, timeout, error))?;
    }
}

/// One of the operations of a select.
struct Offer<'py> {
    waitable: Bound<'py, PyAny>,
    way: Way,
    /// What does it without waiting.
    attempt: Bound<'py, PyAny>,
    arguments: Bound<'py, PyTuple>,
    keywords: Bound<'py, PyDict>,
}

/// How an operation says that it would have to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The verb's twin raises WouldBlock.
    Twin,
    /// The start of its block raises TimedOut, with a time-out of 0.
    Block,
}

impl<'py> Offer<'py> {
    fn new(operation: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = operation.py();
        let refuse = |why: &str| PyTypeError::new_err(format!("select() cannot do {operation}: {why}"));
        let is_partial = operation.is_instance(&py.import("functools")?.getattr("partial")?)?;
        let (verb, arguments, keywords) = if is_partial {
            let keywords: Bound<'_, PyDict> = operation.getattr("keywords")?.cast_into()?;
            (operation.getattr("func")?, operation.getattr("args")?.cast_into()?, keywords.copy()?)
        } else {
            (operation.clone(), PyTuple::empty(py), PyDict::new(py))
        };
        let (Some(object), Some(name)) = (verb.getattr_opt("__self__")?, verb.getattr_opt("__name__")?) else {
            return Err(refuse(
                "pass blocking verbs of objects, as jobs.get or stop.wait, or functools.partial of one with its arguments",
            ));
        };
        if keywords.contains("timeout")? {
            return Err(refuse("it has a timeout of its own: pass select(..., timeout=), which is for all of them"));
        }
        let name: String = name.extract()?;
        let has_arguments = !arguments.is_empty() || !keywords.is_empty();
        let party = match &*name {
            "put" => object.getattr("room")?,
            // Any byte is enough for it.
            "read_some" if object.is_instance_of::<Pipe>() => object.clone(),
            "wait" if object.is_instance_of::<AtomicInt>() => {
                if !has_arguments {
                    return Err(refuse(
                        "it waits for a change from a value: pass functools.partial(counter.wait, value)",
                    ));
                }
                object.call_method("change_from", &arguments, Some(&keywords))?
            }
            "wait" if object.is_instance_of::<Notification>() && has_arguments => {
                let wish = keywords.copy()?;
                if wish.contains("consume")? {
                    wish.del_item("consume")?;
                }
                if arguments.is_empty() && !wish.contains("bits")? {
                    wish.set_item("bits", u64::MAX)?;
                }
                object.call_method("flags", &arguments, Some(&wish))?
            }
            "reading" | "writing" if waitable(&object).is_ok() => verb.call0()?,
            "upgrade" if waitable(&object).is_ok() => object.getattr("_upgrade")?,
            _ if has_arguments => {
                // It might wait for more than what makes the object ready.
                return Err(refuse(
                    "functools.partial is for put, Pipe.read_some, Notification.wait and AtomicInt.wait",
                ));
            }
            _ => object.clone(),
        };
        waitable(&party)?;
        let (way, attempt) = match (&*name, object.getattr_opt(&*format!("{name}_nowait"))?) {
            ("holding" | "recovering" | "reading" | "writing", _) => (Way::Block, verb),
            (_, Some(twin)) => (Way::Twin, twin),
            _ => {
                return Err(refuse(
                    "it has no twin in _nowait, which would do all of it at once or nothing: pass verbs like jobs.get or stop.wait",
                ));
            }
        };
        if way == Way::Block {
            keywords.set_item("timeout", 0)?;
        }
        Ok(Self { waitable: party, way, attempt, arguments, keywords })
    }

    /// Does it, unless it would have to wait.
    fn attempt(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.attempt.py();
        let (done, in_vain) = match self.way {
            Way::Twin => (self.attempt.call(&self.arguments, Some(&self.keywords)), "WouldBlock"),
            Way::Block => (self.hold(), "TimedOut"),
        };
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if error::is(py, &error, in_vain) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins its block.
    fn hold(&self) -> PyResult<Bound<'py, PyAny>> {
        let block = self.attempt.call(&self.arguments, Some(&self.keywords))?;
        let target = block.call_method0("__enter__")?.unbind();
        Ok(Bound::new(self.attempt.py(), SelectedBlock { block: block.unbind(), target })?.into_any())
    }
}

/// A block that `select` has begun: it is held already, until it ends.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct SelectedBlock {
    block: Py<PyAny>,
    /// What its start returned.
    target: Py<PyAny>,
}

#[pymethods]
impl SelectedBlock {
    fn __enter__(&self, py: Python<'_>) -> Py<PyAny> {
        self.target.clone_ref(py)
    }

    fn __exit__<'py>(
        &self,
        kind: &Bound<'py, PyAny>,
        error: &Bound<'py, PyAny>,
        trace: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.block.bind(kind.py()).call_method1("__exit__", (kind, error, trace))
    }
}

/// Whose turn it is to be first, of so many: everybody's in turn; in the lab a choice.
fn turn(count: usize) -> usize {
    static TURNS: AtomicUsize = AtomicUsize::new(0);
    match kernel_lab::current() {
        Some(lab) if count > 1 => lab.pick(count),
        Some(_) => 0,
        None => TURNS.fetch_add(1, Relaxed) % count.max(1),
    }
}
