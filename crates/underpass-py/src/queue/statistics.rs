//! `underpass.QueueStatistics`: what is queued, and who works on what.

use pyo3::prelude::*;
use underpass_core::queue as core;

use super::Queue;

/// Somebody's lease or loan.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug, Clone)]
pub struct Holding {
    /// The process that holds it.
    pid: u32,
    /// Which delivery of the message it is; 0: a loan.
    deliveries: u32,
    /// Seconds since it began.
    held_for: f64,
}

#[pymethods]
impl Holding {
    fn __repr__(&self) -> String {
        format!("Holding(pid={}, deliveries={}, held_for={:.3})", self.pid, self.deliveries, self.held_for)
    }
}

/// A snapshot of a queue.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct QueueStatistics {
    /// Messages queued.
    depth: u32,
    /// Messages it can hold.
    capacity: u32,
    /// Messages being worked on, oldest first, and by whom.
    leases: Vec<Holding>,
    /// Slots being written in place, oldest first, and by whom.
    loans: Vec<Holding>,
    /// Processes registered by ``putting``, also one that has died and whose death nobody who waits has noticed yet.
    putters: usize,
    /// True once it was shut down.
    shut_down: bool,
    /// Threads that sleep here, wherever they are: getters, putters, and who joins.
    waiters: usize,
}

impl QueueStatistics {
    pub fn of(queue: &Queue) -> Self {
        let Queue { core, handle } = queue;
        let (loans, leases): (Vec<_>, Vec<_>) = core.holdings().into_iter().partition(|holding| holding.delivery == 0);
        let tell = |holdings: Vec<core::Holding>| {
            holdings
                .into_iter()
                .map(|holding| Holding {
                    pid: queue.kernel().pid(holding.process),
                    deliveries: holding.delivery,
                    held_for: queue.seconds_since(holding.since),
                })
                .collect()
        };
        Self {
            depth: core.depth(),
            capacity: core.capacity(),
            leases: tell(leases),
            loans: tell(loans),
            putters: core.putters(),
            shut_down: core.is_shut_down(),
            waiters: handle.waiters(),
        }
    }
}

#[pymethods]
impl QueueStatistics {
    fn __repr__(&self) -> String {
        format!(
            "QueueStatistics(depth={}, capacity={}, leases={}, loans={}, putters={}, shut_down={}, waiters={})",
            self.depth,
            self.capacity,
            self.leases.len(),
            self.loans.len(),
            self.putters,
            if self.shut_down { "True" } else { "False" },
            self.waiters
        )
    }
}
