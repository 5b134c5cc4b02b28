//! `underpass.BroadcastStatistics`: what is in it, and who reads.

use pyo3::prelude::*;
use underpass_core::Result;
use underpass_core::broadcast as core;

use super::writer;
use crate::handle::Handle;

/// A snapshot of a broadcast.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct BroadcastStatistics {
    /// Messages published since it was made.
    published: u64,
    /// Messages that are still there.
    kept: u64,
    /// Bytes of the ring.
    capacity: u64,
    /// The pid of the process that publishes; None: nobody has yet, or it has ended.
    writer: Option<u32>,
    /// With ``when_full="wait"``, who reads and lives, the slowest first. Else nobody knows.
    readers: Vec<Py<BroadcastReader>>,
    /// It was shut down.
    shut_down: bool,
    /// Threads that sleep in it or in a subscription, wherever they are.
    waiters: usize,
}

/// One who reads a broadcast, for whom its writer waits.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct BroadcastReader {
    /// Its process.
    pid: u32,
    /// Messages that were published and that it has not got.
    behind: u64,
}

impl BroadcastStatistics {
    pub fn of(py: Python<'_>, handle: &Handle, core: &core::Broadcast) -> PyResult<Result<Self>> {
        let kernel = handle.kernel();
        let (published, followers) = (core.count(), core.followers(kernel));
        let reader =
            |it: core::Follower| Py::new(py, BroadcastReader { pid: kernel.pid(it.process), behind: it.behind });
        let readers = followers.into_iter().map(reader).collect::<PyResult<_>>()?;
        Ok(core.kept().map(|kept| Self {
            published,
            kept,
            capacity: handle.header.parameters[0],
            writer: writer(handle, core),
            readers,
            shut_down: core.is_closed(),
            waiters: handle.waiters(),
        }))
    }
}

#[pymethods]
impl BroadcastStatistics {
    fn __repr__(&self) -> String {
        format!("BroadcastStatistics(published={}, kept={}, waiters={})", self.published, self.kept, self.waiters)
    }
}

#[pymethods]
impl BroadcastReader {
    fn __repr__(&self) -> String {
        format!("BroadcastReader(pid={}, behind={})", self.pid, self.behind)
    }
}
