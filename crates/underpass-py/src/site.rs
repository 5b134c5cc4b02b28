//! The line of the program that took an object: written down for those who wait, and told in errors, reprs and statistics.

use std::sync::OnceLock;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use underpass_core::site::Site;
use underpass_shm::header;
use underpass_shm::life::{Life, Me};

use crate::handle::Handle;

/// Everybody writes down where, not only who knows that somebody waits: ``UNDERPASS_DEBUG=1``.
#[inline]
pub fn wanted() -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    *WANTED.get_or_init(|| std::env::var_os("UNDERPASS_DEBUG").is_some_and(|value| value == "1"))
}

/// The file and the line that run, outside this library and the blocks that contextlib makes of its generators; none at the end of an
/// interpreter.
pub fn here(py: Python<'_>) -> PyResult<Option<(Bound<'_, PyString>, u32)>> {
    static LIBRARY: PyOnceLock<String> = PyOnceLock::new();
    static CONTEXTLIB: PyOnceLock<String> = PyOnceLock::new();
    static GET_FRAME: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let library = LIBRARY.get_or_try_init(py, || {
        let file: String = py.import(intern!(py, "underpass"))?.getattr(intern!(py, "__file__"))?.extract()?;
        PyResult::Ok(file.rsplit_once('/').map_or_else(String::new, |(place, _)| format!("{place}/")))
    })?;
    let contextlib = CONTEXTLIB
        .get_or_try_init(py, || py.import(intern!(py, "contextlib"))?.getattr(intern!(py, "__file__"))?.extract())?;
    let get_frame =
        GET_FRAME.get_or_try_init(py, || Ok::<_, PyErr>(py.import("sys")?.getattr("_getframe")?.unbind()))?;
    let mut frame = get_frame.bind(py).call0()?;
    while !frame.is_none() {
        let file = frame.getattr(intern!(py, "f_code"))?.getattr(intern!(py, "co_filename"))?;
        let file: Bound<'_, PyString> = file.cast_into()?;
        let path = file.to_string_lossy();
        if !path.starts_with(library.as_str()) && path != contextlib.as_str() {
            let line: Option<u32> = frame.getattr(intern!(py, "f_lineno"))?.extract()?;
            return Ok(Some((file, line.unwrap_or(0))));
        }
        frame = frame.getattr(intern!(py, "f_back"))?;
    }
    Ok(None)
}

/// Writes down that the calling thread, which has the object, took it here.
#[cold]
pub fn note(py: Python<'_>, handle: &Handle) {
    note_with(py, handle, |site, me| {
        if let Some(words) = header::site(&handle.region) {
            site.note(&words, me.thread);
        }
    });
}

/// Has it written down, wherever that is, that the calling thread took the object here and now.
#[cold]
pub fn note_with(py: Python<'_>, handle: &Handle, write: impl FnOnce(Site, Me)) {
    match (of_now(py, handle), handle.kernel().me()) {
        (Ok(Some(site)), Ok(me)) => write(site, me),
        (Ok(_), _) => {}
        // It is held all the same, and whoever took it has to hear that.
        (Err(error), _) => error.write_unraisable(py, None),
    }
}

fn of_now(py: Python<'_>, handle: &Handle) -> PyResult<Option<Site>> {
    let Some((file, line)) = here(py)? else { return Ok(None) };
    let file = file.to_cow()?;
    let name = file.rsplit_once('/').map_or(&*file, |(_, name)| name);
    Ok(Some(Site::new(name, line, handle.kernel().now())))
}

/// The calling thread is about to give it back.
#[cold]
pub fn forget(handle: &Handle) {
    if let (Some(words), Ok(me)) = (header::site(&handle.region), handle.kernel().me()) {
        Site::forget(&words, me.thread);
    }
}

/// Where that thread took it, if that was written down.
pub fn of(handle: &Handle, thread: Life) -> Option<Site> {
    Site::look(&handle.region, thread)
}

/// As errors call it: ``worker.py:31``.
pub fn text(site: &Site) -> String {
    format!("{}:{}", site.file(), site.line)
}
