//! The interpreter, as the kernel below sees it: who sleeps lets others run, and signal handlers run in between.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;
use underpass_core::linux::{Host, StillWaiting};

use crate::{event_loop, priority, waits};

/// Spins of a process in which other threads may want the interpreter.
const SPIN_SHARED: u64 = 5_000;
/// Spins of a process that has one thread.
const SPIN_ALONE: u64 = 50_000;

/// Threads run beside each other: who spins keeps nobody out, and the list of threads changes while it is read.
static FREE_THREADED: AtomicBool = AtomicBool::new(false);

/// Asks the interpreter what it is: once, when the module is loaded.
pub fn meet(py: pyo3::Python<'_>) -> PyResult<()> {
    let asked = py.import("sys")?.getattr_opt("_is_gil_enabled")?;
    let locked = asked.map_or(Ok(true), |ask| ask.call0()?.extract())?;
    FREE_THREADED.store(!locked, Relaxed);
    Ok(())
}

/// CPython.
#[derive(Debug)]
pub struct Python;

/// Does long work without the interpreter.
pub fn detached(work: &mut dyn FnMut()) {
    Python.detached(work);
}

/// Does long work without the interpreter, then runs signal handlers; true if one raised, whose exception stays set.
pub fn meanwhile(work: &mut dyn FnMut()) -> bool {
    Python.meanwhile(work)
}

impl Host for Python {
    fn detached(&self, sleep: &mut dyn FnMut()) {
        // SAFETY: S8, it only asks. A long copy is not attached, and parks as it is.
        if unsafe { ffi::PyGILState_Check() } == 0 {
            return sleep();
        }
        // SAFETY: S8, this thread is attached.
        let state = unsafe { ffi::PyEval_SaveThread() };
        sleep();
        // SAFETY: S8, the state is the one that was just saved, on the same thread.
        unsafe { ffi::PyEval_RestoreThread(state) };
    }

    fn signals(&self) -> bool {
        // The exception stays set until the entry point fetches it.
        // SAFETY: S8, it is attached here.
        pyo3::Python::attach(|_| unsafe { ffi::PyErr_CheckSignals() != 0 })
    }

    fn still_waiting(&self, waiting: &StillWaiting<'_>) -> bool {
        pyo3::Python::attach(|py| waits::log(py, waiting).map_err(|error| error.restore(py)).is_err())
    }

    fn blocks(&self, object: &str, verb: &str) -> bool {
        pyo3::Python::attach(|py| {
            event_loop::warn(py, verb, || object.to_owned()).map_err(|error| error.restore(py)).is_err()
        })
    }

    fn priority(&self) -> Option<i32> {
        priority::chosen()
    }

    fn longest_spin(&self) -> u64 {
        if FREE_THREADED.load(Relaxed) {
            return SPIN_ALONE;
        }
        // SAFETY: S8, it only asks. Who is not attached keeps nobody out.
        if unsafe { ffi::PyGILState_Check() } == 0 {
            return SPIN_ALONE;
        }
        // SAFETY: S8, the list of threads does not change while this thread is attached, or only grows.
        let alone = unsafe {
            let first = ffi::PyInterpreterState_ThreadHead(ffi::PyInterpreterState_Get());
            ffi::PyThreadState_Next(first).is_null()
        };
        if alone { SPIN_ALONE } else { SPIN_SHARED }
    }
}
