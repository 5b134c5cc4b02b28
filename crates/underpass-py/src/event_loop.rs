//! The warning of a thread that is about to sleep in a blocking verb while an event loop runs in it.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use underpass_shm::forks;

/// Warns, naming the line that called; an error if warnings are errors.
pub fn warn(py: Python<'_>, verb: &str, object: impl FnOnce() -> String) -> PyResult<()> {
    if !runs(py)? {
        return Ok(());
    }
    let object = object();
    let instead = match verb {
        "open" => "await open_when_there of its class in underpass.aio",
        "wait_any" | "wait_all" | "select" => "await the function of that name in underpass.aio",
        set if set.starts_with("WaitSet.") => "have the loop poll its fileno()",
        _ => "await the verb of its .aio",
    };
    let text = format!(
        "{verb} of {object} blocks this thread, and the event loop that runs in it: {instead}, or call it in another thread"
    );
    let text = CString::new(text).unwrap_or_default();
    PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1)
}

/// An event loop runs in this thread. One whose library nobody has imported does not.
fn runs(py: Python<'_>) -> PyResult<bool> {
    let modules: Bound<'_, PyDict> = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?.cast_into()?;
    if let Some(asyncio) = modules.get_item(intern!(py, "asyncio.events"))?
        && !asyncio.call_method0(intern!(py, "_get_running_loop"))?.is_none()
    {
        return Ok(true);
    }
    let Some(trio) = modules.get_item(intern!(py, "trio.lowlevel"))? else { return Ok(false) };
    Ok(trio_loop(&trio)?.is_some_and(|token| !is_inherited(py, &token)))
}

/// The loop of trio that runs the task here, by its token.
fn trio_loop<'py>(lowlevel: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = lowlevel.py();
    // It is there once trio is imported as a whole.
    let Some(in_task) = lowlevel.getattr_opt(intern!(py, "in_trio_task"))? else { return Ok(None) };
    let in_task: bool = in_task.call0()?.extract()?;
    in_task.then(|| lowlevel.call_method0(intern!(py, "current_trio_token"))).transpose()
}

/// In a forked process: trio's loop that went on in its parent. trio takes it to run here too; asyncio knows better.
static INHERITED: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Changes or reads it, where nobody forks: a child would find it locked for ever.
fn with_inherited<T>(change: impl FnOnce(&mut Option<Py<PyAny>>) -> T) -> T {
    let _unforked = forks::unforked();
    change(&mut INHERITED.lock().unwrap_or_else(PoisonError::into_inner))
}

fn is_inherited(py: Python<'_>, token: &Bound<'_, PyAny>) -> bool {
    inherited_loop(py).is_some_and(|inherited| inherited.is(token))
}

/// Return the token of trio's loop that runs in the parent, of whose task this process was forked; None: it was not.
#[pyfunction]
pub fn inherited_loop(py: Python<'_>) -> Option<Py<PyAny>> {
    with_inherited(|inherited| inherited.as_ref().map(|token| token.clone_ref(py)))
}

/// Has forked processes know whose loop it is.
pub fn watch_forks(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let forked = wrap_pyfunction!(forked, module)?;
    let hooks = [("after_in_child", forked)].into_py_dict(py)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}

#[pyfunction]
fn forked(py: Python<'_>) -> PyResult<()> {
    let trio = py.import("sys")?.getattr("modules")?.call_method1("get", ("trio.lowlevel",))?;
    let token = if trio.is_none() { None } else { trio_loop(&trio)? };
    if let Some(token) = token {
        // What it was before is dropped without the lock.
        drop(with_inherited(|inherited| inherited.replace(token.unbind())));
    }
    Ok(())
}
