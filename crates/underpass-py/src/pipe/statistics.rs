//! `underpass.PipeStatistics`: what is in it, and who waits.

use pyo3::prelude::*;

use super::Pipe;

/// A snapshot of a pipe.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct PipeStatistics {
    /// Bytes in it.
    depth: u32,
    /// Bytes it can hold.
    capacity: u32,
    /// Processes registered by ``putting``, also one that has died and whose death nobody who waits has noticed yet.
    writers: usize,
    /// True once it was shut down.
    shut_down: bool,
    /// Threads that sleep here, wherever they are: readers and writers.
    waiters: usize,
}

impl PipeStatistics {
    pub fn of(pipe: &Pipe) -> Self {
        let Pipe { core, handle } = pipe;
        Self {
            depth: core.depth(),
            capacity: core.capacity(),
            writers: core.writers(),
            shut_down: core.is_shut_down(),
            waiters: handle.waiters(),
        }
    }
}

#[pymethods]
impl PipeStatistics {
    fn __repr__(&self) -> String {
        let shut_down = if self.shut_down { "True" } else { "False" };
        format!(
            "PipeStatistics(depth={}, capacity={}, writers={}, shut_down={shut_down}, waiters={})",
            self.depth, self.capacity, self.writers, self.waiters
        )
    }
}
