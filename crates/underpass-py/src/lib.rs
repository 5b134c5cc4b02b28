//! `underpass._core`: Python's face of the objects. Arguments in, errors out, no logic.

mod admit;
mod atomic;
mod barrier;
mod broadcast;
mod bytes;
mod condition;
mod error;
mod event;
mod event_loop;
mod fairness;
mod gate;
mod gate_call;
mod handle;
mod host;
mod kernel_conducted;
mod kernel_lab;
mod lab;
mod latch;
mod lease;
mod loan;
mod many;
mod mutex;
mod news;
mod notification;
mod number;
mod object;
mod objects;
mod once;
mod peer;
mod pipe;
mod pool;
mod port;
mod priority;
mod queue;
mod refusal;
mod region;
mod rendezvous_lab;
mod request;
mod ring;
mod rwlock;
mod scope;
mod section;
mod semaphore;
mod serving;
mod since;
mod site;
mod slot;
mod space;
mod spin_lock;
mod stack;
mod stay;
mod task_wait;
mod timeout;
mod under;
mod waits;
mod who;

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use underpass_shm::futex;

/// The native half of underpass.
#[pymodule(gil_used = false)] // SAFETY.md, S12
mod _core {
    #[pymodule_export]
    use crate::atomic::{AtomicInt, AtomicIntChange, AtomicIntStatistics};
    #[pymodule_export]
    use crate::barrier::{Barrier, BarrierStatistics};
    #[pymodule_export]
    use crate::broadcast::{
        Broadcast, BroadcastReader, BroadcastRoom, BroadcastStatistics, Subscription, SubscriptionStatistics,
    };
    #[pymodule_export]
    use crate::condition::{Condition, ConditionStatistics};
    #[pymodule_export]
    use crate::event::{Event, EventStatistics};
    #[pymodule_export]
    use crate::event_loop::inherited_loop;
    #[pymodule_export]
    use crate::gate::{Gate, GateStatistics};
    #[pymodule_export]
    use crate::gate_call::{GateCall, GateRoom};
    #[pymodule_export]
    use crate::handle::reopen;
    #[pymodule_export]
    use crate::kernel_conducted::leftovers::{claim_life, conducted_held};
    #[pymodule_export]
    use crate::kernel_conducted::{conduct, set_conducted_time};
    #[pymodule_export]
    use crate::lab::{Lab, in_lab};
    #[pymodule_export]
    use crate::latch::{Latch, LatchStatistics};
    #[pymodule_export]
    use crate::lease::Lease;
    #[pymodule_export]
    use crate::loan::Loan;
    #[pymodule_export]
    use crate::many::{QueueDrained, QueueRoom, SelectedBlock, WaitSet, select, wait_all, wait_any};
    #[pymodule_export]
    use crate::mutex::{Mutex, MutexStatistics};
    #[pymodule_export]
    use crate::news::News;
    #[pymodule_export]
    use crate::notification::{Notification, NotificationFlags, NotificationStatistics};
    #[pymodule_export]
    use crate::object::SharedObject;
    #[pymodule_export]
    use crate::objects::Objects;
    #[pymodule_export]
    use crate::once::{Once, OnceStatistics, OnceTurn};
    #[pymodule_export]
    use crate::peer::Peer;
    #[pymodule_export]
    use crate::pipe::{Pipe, PipeRoom, PipeStatistics};
    #[pymodule_export]
    use crate::pool::{Block, Pool, PoolRoom, PoolStatistics, SizeStatistics};
    #[pymodule_export]
    use crate::port::{Port, PortStatistics};
    #[pymodule_export]
    use crate::priority::{Priority, priority};
    #[pymodule_export]
    use crate::queue::{Holding, Queue, QueueStatistics};
    #[pymodule_export]
    use crate::region::{Region, RegionStatistics};
    #[pymodule_export]
    use crate::request::{Notified, Request};
    #[pymodule_export]
    use crate::ring::{MpscRing, Packet, Ring, RingRoom, RingStatistics, SpscRing};
    #[pymodule_export]
    use crate::rwlock::{RWLock, RWLockReading, RWLockStatistics, RWLockUpgrade, RWLockWriting};
    #[pymodule_export]
    use crate::scope::{FailAfter, fail_after};
    #[pymodule_export]
    use crate::section::{AtomicSection, atomic_section};
    #[pymodule_export]
    use crate::semaphore::{Semaphore, SemaphoreStatistics};
    #[pymodule_export]
    use crate::since::Since;
    #[pymodule_export]
    use crate::space::{ObjectInfo, Space, reenter};
    #[pymodule_export]
    use crate::spin_lock::{SpinLock, SpinLockStatistics};
    #[pymodule_export]
    use crate::stack::{Stack, StackStatistics};
    #[pymodule_export]
    use crate::stay::{ConditionStay, Stay};
    #[pymodule_export]
    use crate::task_wait::{TaskWait, task_waits};
    #[pymodule_export]
    use crate::waits::{Holder, Waiter, warn_waiting};
    #[pymodule_export]
    use crate::{enter, leave, set_recheck};

    use pyo3::exceptions::PyImportError;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        underpass_shm::forks::watch();
        crate::host::meet(module.py())?;
        crate::event_loop::watch_forks(module)?;
        #[cfg(feature = "planted")]
        module.add_function(wrap_pyfunction!(crate::plant, module)?)?;
        match crate::futex::refusal() {
            Some(reason) => Err(PyImportError::new_err(reason)),
            None => crate::waits::warn_as_told(),
        }
    }
}

/// Refuse an interpreter other than the first: called when the package is imported, since some give a second one what the
/// first has loaded.
#[pyfunction]
fn enter() -> PyResult<()> {
    static FIRST: AtomicI64 = AtomicI64::new(-1);
    // SAFETY: S8, whoever imports is attached.
    let mine = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match FIRST.compare_exchange(-1, mine, Relaxed, Relaxed) {
        Err(first) if first != mine => Err(PyImportError::new_err(
            "underpass does not support subinterpreters: another interpreter of this process has imported it",
        )),
        _ => Ok(()),
    }
}

/// Have one fault in what this thread does from now on, in place of any other: for the checkers that have to find it.
#[cfg(feature = "planted")]
#[pyfunction]
fn plant(fault: &str) -> PyResult<()> {
    let planted = underpass_core::planted::plant(fault);
    planted
        .then_some(())
        .ok_or_else(|| pyo3::exceptions::PyValueError::new_err(format!("no fault is called '{fault}'")))
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
