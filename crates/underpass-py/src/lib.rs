//! `underpass._core`: Python's face of the objects. Arguments in, errors out, no logic.

mod admit;
mod atomic;
mod bytes;
mod error;
mod event;
mod gate;
mod handle;
mod host;
mod kernel_lab;
mod lease;
mod loan;
mod mutex;
mod notification;
mod object;
mod peer;
mod port;
mod queue;
mod request;
mod scope;
mod semaphore;
mod serving;
mod space;
mod timeout;
mod waits;

use pyo3::prelude::*;
use underpass_shm::futex;

/// The native half of underpass.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::atomic::{AtomicInt, AtomicIntStatistics};
    #[pymodule_export]
    use crate::event::{Event, EventStatistics};
    #[pymodule_export]
    use crate::gate::{Gate, GateStatistics};
    #[pymodule_export]
    use crate::handle::reopen;
    #[pymodule_export]
    use crate::kernel_lab::Lab;
    #[pymodule_export]
    use crate::lease::Lease;
    #[pymodule_export]
    use crate::loan::Loan;
    #[pymodule_export]
    use crate::mutex::{Mutex, MutexStatistics};
    #[pymodule_export]
    use crate::notification::{Notification, NotificationStatistics};
    #[pymodule_export]
    use crate::object::SharedObject;
    #[pymodule_export]
    use crate::peer::Peer;
    #[pymodule_export]
    use crate::port::{Port, PortStatistics};
    #[pymodule_export]
    use crate::queue::{Holding, Queue, QueueStatistics};
    #[pymodule_export]
    use crate::request::{Notified, Request};
    #[pymodule_export]
    use crate::scope::{FailAfter, fail_after};
    #[pymodule_export]
    use crate::semaphore::{Semaphore, SemaphoreStatistics};
    #[pymodule_export]
    use crate::space::{ObjectInfo, Space};
    #[pymodule_export]
    use crate::waits::{Holder, Waiter, warn_waiting};
    #[pymodule_export]
    use crate::{leave, set_recheck};

    use pyo3::exceptions::PyImportError;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        match crate::futex::refusal() {
            Some(reason) => Err(PyImportError::new_err(reason)),
            None => crate::waits::warn_as_told(),
        }
    }
}

/// Remove what this process leaves behind: called at its end.
#[pyfunction]
fn leave() {
    underpass_shm::space::Space::leave_all();
}

/// Set how often a sleeper looks for itself, in seconds; None turns it off. For tests.
#[pyfunction]
#[pyo3(signature = (seconds))]
fn set_recheck(seconds: Option<f64>) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a test passes a small positive number"
    )]
    underpass_core::linux::set_recheck(seconds.map_or(u64::MAX, |seconds| (seconds * 1e9) as u64));
}
