//! `underpass.sync.priority`: how urgently a thread, or a task of an event loop, waits inside a block.
//!
//! It stands in a context variable, and is read where a waiter takes its slot. Until a first block of this process was entered,
//! nobody looks.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::{MutexExt as _, PyOnceLock};

use crate::error::plain;
use crate::number::Whole;

static EVER: AtomicBool = AtomicBool::new(false);

/// A block in which its thread, or task, waits with a priority: what `underpass.sync.priority` returns.
#[pyclass(frozen, module = "underpass.sync")]
#[derive(Debug)]
pub struct Priority {
    priority: i32,
    entered: Mutex<Entered>,
}

/// Where a block is in its life.
#[derive(Debug)]
enum Entered {
    Not,
    /// With what was chosen before.
    Inside(Option<i32>),
    Left,
}

/// Wait with priority ``n`` inside a block: an object that serves by priority serves whoever has the highest first.
///
/// It is of the thread that entered the block, or of the task of an event loop, and of what is started with a copy of its context
/// (`asyncio.to_thread`, new tasks of asyncio and trio): for every wait of this library that begins inside, by a blocking verb or
/// an awaited one. The innermost of nested blocks counts. Without one, a thread and its tasks wait with the thread's real-time
/// priority (1 to 99, if its scheduling policy is ``SCHED_FIFO`` or ``SCHED_RR``) or 0, as it is when they begin to wait. It
/// lends nothing to whoever holds what is waited for, and asks nothing of the scheduler: who is woken first runs when the
/// scheduler lets it.
///
/// Args:
///     n: Higher is more urgent; from -2**31 to 2**31 - 1.
///
/// Raises:
///     ValueError: ``n`` is out of range.
///
/// Example:
///     >>> import underpass
///     >>> from underpass.sync import priority
///     >>> seats = underpass.Semaphore(1)
///     >>> with priority(10):
///     ...     seats.acquire(timeout=1)
///     True
#[pyfunction]
#[pyo3(signature = (n, /))]
pub fn priority(n: Whole) -> PyResult<Priority> {
    let Ok(priority) = i32::try_from(n.0) else {
        return Err(PyValueError::new_err(format!("priority({}): pass -2**31 to 2**31 - 1", n.0)));
    };
    Ok(Priority { priority, entered: Mutex::new(Entered::Not) })
}

/// What the calling thread, or its running task, has chosen. What a signal's handler has raised stays raised.
pub fn chosen() -> Option<i32> {
    if !EVER.load(Relaxed) {
        return None;
    }
    Python::attach(|py| {
        let raised = PyErr::take(py);
        // Only a context variable that somebody broke fails here, and says nothing.
        let priority = in_context(py).ok().flatten();
        if let Some(raised) = raised {
            raised.restore(py);
        }
        priority
    })
}

fn in_context(py: Python<'_>) -> PyResult<Option<i32>> {
    variable(py)?.call_method1(intern!(py, "get"), (py.None(),))?.extract()
}

fn choose(py: Python<'_>, priority: Option<i32>) -> PyResult<()> {
    variable(py)?.call_method1(intern!(py, "set"), (priority,)).map(drop)
}

/// Each thread has its own context, and so has each task.
fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || Ok(py.import("contextvars")?.getattr("ContextVar")?.call1(("underpass.sync.priority",))?.unbind());
    VARIABLE.get_or_try_init(py, make).map(|variable| variable.bind(py))
}

#[pymethods]
impl Priority {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        let mut entered = self.entered.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        if !matches!(*entered, Entered::Not) {
            let text = "this priority was entered before: call priority anew for each block";
            return Err(plain(py, "MisuseError", text));
        }
        let before = in_context(py)?;
        choose(py, Some(self.priority))?;
        EVER.store(true, Relaxed);
        *entered = Entered::Inside(before);
        Ok(())
    }

    #[pyo3(signature = (_kind, _error, _traceback, /), text_signature = "($self, exc_type, exc, tb, /)")]
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let mut entered = self.entered.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        if let Entered::Inside(before) = *entered {
            choose(py, before)?;
            *entered = Entered::Left;
        }
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("<priority({})>", self.priority)
    }
}
