//! `underpass.sync.priority`: how urgently a thread waits inside a block.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::plain;
use crate::kernel_lab;
use crate::number::Whole;

/// A block in which its thread waits with a priority: what `underpass.sync.priority` returns.
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
    /// With what the thread had chosen before.
    Inside(Option<i32>),
    Left,
}

/// Wait with priority ``n`` inside a block: an object that serves by priority serves whoever has the highest first.
///
/// It is this thread's, for every wait of this library that begins inside. The innermost of nested blocks counts. Without
/// one, a thread waits with its real-time priority (1 to 99, if its scheduling policy is ``SCHED_FIFO`` or ``SCHED_RR``) or 0,
/// as it is when it begins to wait. It lends nothing to whoever holds what is waited for, and
/// asks nothing of the scheduler: who is woken first runs when the scheduler lets it. Tasks of an event loop share
/// a thread, and so its priority: await nothing inside the block.
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

/// Of the thread that calls, in the world in which it runs.
fn choose(chosen: Option<i32>) -> Option<i32> {
    match kernel_lab::current() {
        Some(lab) => lab.choose_priority(chosen),
        None => underpass_shm::priority::choose(chosen),
    }
}

#[pymethods]
impl Priority {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*entered, Entered::Not) {
            let text = "this priority was entered before: call priority anew for each block";
            return Err(plain(py, "MisuseError", text));
        }
        *entered = Entered::Inside(choose(Some(self.priority)));
        Ok(())
    }

    #[pyo3(signature = (_kind, _error, _traceback, /), text_signature = "($self, exc_type, exc, tb, /)")]
    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _traceback: &Bound<'_, PyAny>) {
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entered::Inside(before) = *entered {
            let _ = choose(before);
            *entered = Entered::Left;
        }
    }

    fn __repr__(&self) -> String {
        format!("<priority({})>", self.priority)
    }
}
