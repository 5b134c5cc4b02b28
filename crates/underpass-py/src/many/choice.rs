//! `underpass.select`: one of several operations, whichever need not wait.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use underpass_core::many::Enough;

use super::Party;
use crate::error;
use crate::kernel_lab;
use crate::timeout::Timeout;

/// Do the first of these operations that need not wait, and no other; return its place and what it returned.
///
/// Each is a blocking verb of an object, as in ``select(jobs.get, stop.wait)``, or with arguments ``functools.partial`` of a
/// verb that puts: ``select(stop.wait, partial(out.put, b"a"))``. Exactly one of them takes effect, whichever raises or is
/// interrupted: the others take nothing and lose nothing. Of several that need not wait each gets its turn to be tried
/// first. It stands in no order: what is handed over by arrival or priority goes to those who wait for it alone, and of the
/// rest whoever is first gets it. Follows Go's ``select`` and CML's ``choose``.
///
/// Args:
///     operations: Bound verbs with a twin in ``_nowait``, of objects that `wait_any` takes.
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
            match offers[index].attempt() {
                Ok(done) => return Ok((index, done)),
                Err(error) if error::is(py, &error, "WouldBlock") => {}
                Err(error) => return Err(error),
            }
        }
        // What was ready may be taken by others before it is tried.
        let ready = timeout.judge(party.wait_until(Enough::Any, deadline));
        candidates = ready.map_err(|error| party.unready(py, Enough::Any, timeout, error))?;
    }
}

/// One of the operations of a select.
struct Offer<'py> {
    waitable: Bound<'py, PyAny>,
    /// What does it or raises WouldBlock.
    attempt: Bound<'py, PyAny>,
    arguments: Bound<'py, PyTuple>,
    keywords: Option<Bound<'py, PyDict>>,
}

impl<'py> Offer<'py> {
    fn new(operation: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = operation.py();
        let refuse = || {
            let text = format!(
                "select() takes blocking verbs of objects, as jobs.get or stop.wait, and functools.partial of a put, not {operation}"
            );
            PyTypeError::new_err(text)
        };
        let is_partial = operation.is_instance(&py.import("functools")?.getattr("partial")?)?;
        let (verb, arguments, keywords) = if is_partial {
            let keywords: Bound<'_, PyDict> = operation.getattr("keywords")?.cast_into()?;
            (operation.getattr("func")?, operation.getattr("args")?.cast_into()?, Some(keywords))
        } else {
            (operation.clone(), PyTuple::empty(py), None)
        };
        let (Some(object), Some(name)) = (verb.getattr_opt("__self__")?, verb.getattr_opt("__name__")?) else {
            return Err(refuse());
        };
        let name: String = name.extract()?;
        let Some(attempt) = object.getattr_opt(format!("{name}_nowait"))? else { return Err(refuse()) };
        let puts = name == "put";
        if is_partial && !puts {
            // It might wait for more than what makes the object ready.
            return Err(refuse());
        }
        let waitable = if puts { object.getattr("room")? } else { object };
        Ok(Self { waitable, attempt, arguments, keywords })
    }

    fn attempt(&self) -> PyResult<Bound<'py, PyAny>> {
        self.attempt.call(&self.arguments, self.keywords.as_ref())
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
