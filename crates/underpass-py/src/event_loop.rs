//! The warning of a thread that is about to sleep in a blocking verb while an event loop runs in it.

use std::ffi::CString;

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Warns, naming the line that called; an error if warnings are errors.
pub fn warn(py: Python<'_>, object: &str, verb: &str) -> PyResult<()> {
    if !runs(py)? {
        return Ok(());
    }
    let text = format!(
        "{verb} of {object} blocks this thread, and the event loop that runs in it: await the verb of its .aio, or call it in another thread"
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
    let in_task = trio.getattr_opt(intern!(py, "in_trio_task"))?;
    in_task.map_or(Ok(false), |in_task| in_task.call0()?.extract())
}
