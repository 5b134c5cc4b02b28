//! What a task has while it waits in a slot of an object: for `underpass.aio`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use underpass_core::atomic::AtomicInt;
use underpass_core::barrier;
use underpass_core::condition::Absence;
use underpass_core::kernel::Watch;
use underpass_core::many::Ready;
use underpass_core::notification;
use underpass_core::semaphore;
use underpass_core::stay::{Stay, Steps};
use underpass_core::wait::Sleepers;
use underpass_core::{Error, Kernel, Result};

use crate::barrier::Barrier;
use crate::condition::Condition;
use crate::error::{Context, raise};
use crate::event::Event;
use crate::handle::Handle;
use crate::notification::Notification;
use crate::semaphore::Semaphore;
use crate::timeout::Timeout;
use crate::under::Holding;

/// A task's wait for an atomic integer: ready once it is let go. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct AtomicIntStay {
    pub handle: Arc<Handle>,
    pub core: Stay<AtomicInt>,
}

#[pymethods]
impl AtomicIntStay {
    /// Come, or look again: True, or WouldBlock is raised.
    fn attempt(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.check(py)?;
        match self.core.step(self.handle.kernel()) {
            Ok(_) => Ok(true),
            Err(error) => Err(raise(py, &Context::of(&self.handle.title, "not changed"), error)),
        }
    }

    /// Wait no more: if a wake was meant for this one, the next has it.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.core.give_up(self.handle.kernel());
        ended.map_err(|error| raise(py, &Context::of(&self.handle.title, "not left"), error))
    }

    fn __repr__(&self) -> String {
        format!("<wait for {}>", self.handle.title)
    }
}

/// A task's wait at a barrier: ready once its generation has ended. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct BarrierStay {
    pub barrier: Py<Barrier>,
    pub handle: Arc<Handle>,
    pub core: Stay<barrier::Barrier>,
}

#[pymethods]
impl BarrierStay {
    /// Come, or look again: what ``Barrier.wait`` returns or raises, or WouldBlock.
    fn attempt(&self, py: Python<'_>) -> PyResult<u32> {
        self.handle.check(py)?;
        let given = self.core.step(self.handle.kernel());
        let index = given.and_then(barrier::Barrier::judge);
        index.map_err(|error| self.barrier.get().failed(py, "not passed", Timeout::NoWait, error))
    }

    /// Wait no more, as if it had not come. False: its generation has ended, and the next attempt says how.
    fn leave(&self, py: Python<'_>) -> PyResult<bool> {
        let left = self.core.leave(self.handle.kernel());
        left.map_err(|error| self.barrier.get().failed(py, "not left", Timeout::NoWait, error))
    }

    /// Wait no more, however that ends.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.core.give_up(self.handle.kernel());
        ended.map_err(|error| self.barrier.get().failed(py, "not left", Timeout::NoWait, error))
    }

    fn __repr__(&self) -> String {
        format!("<wait at {}>", self.handle.title)
    }
}

/// A task's wait for flags of a notification: ready once it has been given them. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct NotificationStay {
    pub notification: Py<Notification>,
    pub handle: Arc<Handle>,
    pub core: Stay<notification::Notification>,
}

#[pymethods]
impl NotificationStay {
    /// Come, or look again: the flags that it was given, or WouldBlock is raised.
    fn attempt(&self, py: Python<'_>) -> PyResult<u64> {
        self.handle.check(py)?;
        let given = self.core.step(self.handle.kernel());
        given.map_err(|error| self.notification.get().failed(py, self.core.wish(), Timeout::NoWait, error))
    }

    /// Wait no more: flags that it consumes and has not taken are set again.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.core.give_up(self.handle.kernel());
        ended.map_err(|error| raise(py, &Context::of(&self.handle.title, "not left"), error))
    }

    fn __repr__(&self) -> String {
        format!("<wait for {}>", self.handle.title)
    }
}

/// A task's wait for an event: ready once it has been set. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct EventStay {
    pub event: Py<Event>,
    pub handle: Arc<Handle>,
    pub core: Stay<notification::Notification>,
}

#[pymethods]
impl EventStay {
    /// Come, or look again: True, or WouldBlock is raised.
    fn attempt(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.check(py)?;
        match self.core.step(self.handle.kernel()) {
            Ok(_) => Ok(true),
            Err(error) => Err(self.event.get().failed(py, "not set", Timeout::NoWait, error)),
        }
    }

    /// Wait no more.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.core.give_up(self.handle.kernel());
        ended.map_err(|error| self.event.get().failed(py, "not left", Timeout::NoWait, error))
    }

    fn __repr__(&self) -> String {
        format!("<wait for {}>", self.handle.title)
    }
}

/// A task's wait for a unit of a semaphore that hands them over: ready once it has been given one, or was reset. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct SemaphoreStay {
    pub semaphore: Py<Semaphore>,
    pub handle: Arc<Handle>,
    pub core: Box<dyn Steps + Send + Sync>,
}

#[pymethods]
impl SemaphoreStay {
    /// Come, or look again: True once it has a unit, or WouldBlock is raised, or ResetError.
    fn attempt(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.check(py)?;
        match self.core.step(self.handle.kernel()).and_then(semaphore::judge) {
            Ok(()) => {
                self.semaphore.get().note(py);
                Ok(true)
            }
            Err(error) => Err(self.semaphore.get().failed(py, "not acquired", Timeout::NoWait, error)),
        }
    }

    /// Wait no more: a unit that it was given and has not taken is another's.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let ended = self.core.give_up(self.handle.kernel());
        ended.map_err(|error| self.semaphore.get().failed(py, "not left", Timeout::NoWait, error))
    }

    fn __repr__(&self) -> String {
        format!("<wait for {}>", self.handle.title)
    }
}

/// A task's wait for a condition: ready once it may take the mutex again. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct ConditionStay {
    condition: Py<Condition>,
    pub handle: Arc<Handle>,
    /// None: the mutex was not given back yet.
    absence: Mutex<Option<Absence>>,
}

impl ConditionStay {
    pub fn new(condition: Bound<'_, Condition>, handle: Arc<Handle>) -> Self {
        Self { condition: condition.unbind(), handle, absence: Mutex::new(None) }
    }

    fn absence(&self) -> MutexGuard<'_, Option<Absence>> {
        self.absence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a step, if the mutex was given back.
    fn step(&self, py: Python<'_>, step: impl FnOnce(&Holding<'_, '_>, &mut Absence) -> Result<()>) -> PyResult<()> {
        let condition = self.condition.get();
        let Some(mut absence) = *self.absence() else { return Ok(()) };
        let holding = condition.holding_of(py);
        let done = step(&holding, &mut absence);
        *self.absence() = Some(absence);
        holding.ended(done, |error| condition.failed(py, Timeout::NoWait, error))
    }
}

#[pymethods]
impl ConditionStay {
    /// Give the mutex back, and wait from now on.
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        let condition = self.condition.get();
        let holding = condition.holding_of(py);
        let begun = condition.core.begin(self.handle.kernel(), &holding);
        let begun = begun.map(|absence| *self.absence() = Some(absence));
        holding.ended(begun, |error| condition.failed(py, Timeout::NoWait, error))
    }

    /// Look: return once it is time to take the mutex again, or raise WouldBlock.
    fn attempt(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        let condition = self.condition.get();
        self.step(py, |holding, absence| condition.core.step(self.handle.kernel(), holding, absence))
    }

    /// Wait no more: what it was told is another's.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        let condition = self.condition.get();
        self.step(py, |_, absence| condition.core.give_up(self.handle.kernel(), absence))
    }

    /// End it, with the mutex held again, or lost: the next one may have it.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let condition = self.condition.get();
        self.step(py, |holding, absence| condition.core.end(self.handle.kernel(), holding, absence))
    }

    fn __repr__(&self) -> String {
        format!("<wait for {}>", self.handle.title)
    }
}

impl Ready for ConditionStay {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.condition.get().core
    }

    /// The next attempt may succeed.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let condition = self.condition.get();
        let Some(absence) = &mut *self.absence() else { return Err(Error::Misuse("it has not begun".into())) };
        condition.core.may_step(kernel, condition.is_orphaned(), absence, watch)
    }
}
