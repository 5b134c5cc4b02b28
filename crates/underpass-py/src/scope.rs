//! `underpass.fail_after`: a time that bounds every wait inside a block.
//!
//! The scopes of one context form a list from the innermost outwards, whose head is in a context variable: each thread has
//! its own, and so has each task of an event loop. A scope that was left bounds nothing, wherever it stands in that list,
//! so the order in which scopes are left does not matter.
//!
//! Invariant: `OPEN` counts the scopes of this process that were entered and not left. While it is 0, an operation looks
//! at nothing else.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use underpass_core::Deadline;

use crate::error::plain;
use crate::kernel_lab;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A block with a time of its own: what `underpass.fail_after` returns.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct FailAfter {
    seconds: f64,
    entered: OnceLock<Entered>,
    left: AtomicBool,
}

#[derive(Debug)]
struct Entered {
    deadline: Deadline,
    around: Option<Py<FailAfter>>,
}

/// Bound every blocking operation of this library inside a block: what is not done by then raises TimedOut.
///
/// The time runs from entering the block. An operation inside waits until its own ``timeout`` or until then, whichever is earlier;
/// of nested blocks the earliest counts. The error says that it was ``fail_after``, and which. What need not wait
/// succeeds, also after the time has passed: nothing is cut off but waiting for objects, names, calls, and the calls that `serve`
/// waits for. Python code that computes, sleeps or waits for something else is not interrupted.
///
/// A block bounds the thread that entered it, or the asyncio task, and what is started with a copy of its context
/// (`asyncio.to_thread`, new tasks); other threads are not bound. Blocks may be left in any order. One that a generator holds
/// open while it is suspended bounds its consumer as well, as contexts of `decimal` do.
///
/// Args:
///     seconds: How long; 0 lets nothing wait.
///
/// Raises:
///     ValueError: ``seconds`` is negative or no number.
///
/// Example:
///     >>> import underpass
///     >>> with underpass.fail_after(0.01):
///     ...     underpass.Queue().get()
///     Traceback (most recent call last):
///     underpass.errors.TimedOut: queue ... within the 0.01 s of fail_after(0.01)...
#[pyfunction]
#[pyo3(signature = (seconds))]
pub fn fail_after(seconds: f64) -> PyResult<FailAfter> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("fail_after({seconds}): pass seconds >= 0")));
    }
    Ok(FailAfter { seconds, entered: OnceLock::new(), left: AtomicBool::new(false) })
}

#[pymethods]
impl FailAfter {
    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, scope) = (slf.py(), slf.get());
        let deadline = Deadline::after(kernel_lab::now(), scope.seconds);
        let around = innermost(py)?.map(Bound::unbind);
        if scope.entered.set(Entered { deadline, around }).is_err() {
            return Err(plain(
                py,
                "MisuseError",
                "this fail_after was entered before: its time runs from then, so call fail_after anew for each block",
            ));
        }
        OPEN.fetch_add(1, Relaxed);
        remember(py, Some(slf))
    }

    #[pyo3(signature = (_kind, _error, _traceback, /), text_signature = "($self, exc_type, exc, tb, /)")]
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.leave();
        remember(py, innermost(py)?.as_ref())
    }

    fn __repr__(&self) -> String {
        let state = match self.entered.get() {
            None => "not entered",
            Some(_) if self.left.load(Relaxed) => "left",
            Some(entered) if is_over(entered.deadline) => "over",
            Some(_) => "running",
        };
        format!("<fail_after({}), {state}>", self.seconds)
    }
}

impl FailAfter {
    fn leave(&self) {
        if self.entered.get().is_some() && !self.left.swap(true, Relaxed) {
            OPEN.fetch_sub(1, Relaxed);
        }
    }

    fn around<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Self>> {
        self.entered.get()?.around.as_ref().map(|around| around.bind(py).clone())
    }
}

impl Drop for FailAfter {
    // The block's frame may have been thrown away without leaving it.
    fn drop(&mut self) {
        self.leave();
    }
}

/// The earlier of an operation's own deadline and those of the blocks around it.
#[inline]
pub fn bound(own: Deadline) -> Deadline {
    if OPEN.load(Relaxed) == 0 { own } else { bound_slow(own) }
}

#[cold]
fn bound_slow(own: Deadline) -> Deadline {
    match (own, Python::attach(|py| earliest(py).map(|(deadline, _)| deadline))) {
        (Deadline::At(own), Some(Deadline::At(scope))) => Deadline::At(own.min(scope)),
        (Deadline::Never, Some(scope)) => scope,
        _ => own,
    }
}

/// The seconds of the block around whose time has passed, if there is one.
#[cold]
pub fn expired() -> Option<f64> {
    if OPEN.load(Relaxed) == 0 {
        return None;
    }
    Python::attach(|py| {
        // What a signal handler has raised, or a warning, is why the wait has ended, and looking would lose it.
        let looked = if PyErr::occurred(py) { None } else { earliest(py) };
        looked.filter(|(deadline, _)| is_over(*deadline)).map(|(_, seconds)| seconds)
    })
}

fn is_over(deadline: Deadline) -> bool {
    deadline.time().is_some_and(|time| kernel_lab::now() >= time)
}

/// The block of this context that ends first: when, and how many seconds it was given.
fn earliest(py: Python<'_>) -> Option<(Deadline, f64)> {
    // Only a context variable that somebody broke fails here, and it bounds nothing.
    let mut next = innermost(py).ok()?;
    let mut found: Option<(Deadline, f64)> = None;
    while let Some(scope) = next {
        let this = scope.get();
        if let Some(Entered { deadline, .. }) = this.entered.get()
            && !this.left.load(Relaxed)
            && let Some(time) = deadline.time()
            && found.is_none_or(|(earlier, _)| earlier.time().is_none_or(|earlier| time < earlier))
        {
            found = Some((*deadline, this.seconds));
        }
        next = this.around(py);
    }
    found
}

/// The innermost block of this context that has not been left.
fn innermost(py: Python<'_>) -> PyResult<Option<Bound<'_, FailAfter>>> {
    let head = variable(py)?.call_method1(intern!(py, "get"), (py.None(),))?;
    let mut next = head.cast_into::<FailAfter>().ok();
    while let Some(scope) = &next
        && scope.get().left.load(Relaxed)
    {
        next = scope.get().around(py);
    }
    Ok(next)
}

fn remember(py: Python<'_>, head: Option<&Bound<'_, FailAfter>>) -> PyResult<()> {
    variable(py)?.call_method1(intern!(py, "set"), (head,)).map(drop)
}

fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || Ok(py.import("contextvars")?.getattr("ContextVar")?.call1(("underpass.fail_after",))?.unbind());
    VARIABLE.get_or_try_init(py, make).map(|variable| variable.bind(py))
}
