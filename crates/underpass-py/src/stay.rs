//! What a task has while it waits in a slot of an object: for `underpass.aio`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use underpass_core::condition::Absence;
use underpass_core::kernel::Watch;
use underpass_core::many::Ready;
use underpass_core::stay::{self as core, Slotted, Steps};
use underpass_core::wait::Sleepers;
use underpass_core::waiters::Wish;
use underpass_core::{Error, Kernel, Result};

use crate::condition::Condition;
use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::timeout::Timeout;
use crate::under::Holding;

/// What is made of what a slot was given, or of why it was given nothing.
type Judge = Box<dyn Fn(Python<'_>, Result<u64>) -> PyResult<Py<PyAny>> + Send + Sync>;

/// A task's wait in a slot of an object: ready once the next attempt may succeed. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
pub struct Stay {
    pub handle: Arc<Handle>,
    pub core: Box<dyn Steps + Send + Sync>,
    judge: Judge,
}

impl Stay {
    /// One that has not come yet. An attempt returns or raises what `judge` makes of it.
    pub fn new<T, V>(
        handle: &Arc<Handle>,
        object: Arc<T>,
        wish: Wish,
        judge: impl Fn(Python<'_>, Result<u64>) -> PyResult<V> + Send + Sync + 'static,
    ) -> Self
    where
        T: Slotted + Send + Sync + 'static,
        V: for<'py> IntoPyObject<'py>,
    {
        let core = Box::new(core::Stay::new(object, wish));
        Self { handle: handle.clone(), core, judge: Box::new(move |py, given| judge(py, given)?.into_py_any(py)) }
    }

    fn left<T>(&self, py: Python<'_>, done: Result<T>) -> PyResult<T> {
        done.map_err(|error| raise(py, &Context::of(&self.handle.title, "not left"), error))
    }
}

#[pymethods]
impl Stay {
    /// Come, or look again: what the verb returns or raises, or WouldBlock is raised.
    fn attempt(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.handle.check(py)?;
        (self.judge)(py, self.core.step(self.handle.kernel()))
    }

    /// Wait no more, as if it had not come. False: it was given something, and the next attempt says what.
    fn leave(&self, py: Python<'_>) -> PyResult<bool> {
        self.left(py, self.core.leave(self.handle.kernel()))
    }

    /// Wait no more, however that ends: what it was given and has not taken is another's.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        self.left(py, self.core.give_up(self.handle.kernel()))
    }

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __repr__(&self) -> String {
        format!("<wait for {}>", self.handle.title)
    }
}

impl fmt::Debug for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stay").field(&self.core).finish()
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
        holding.ended(done, |error| condition.failed(py, Timeout::NoWait, error, 0))
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
        holding.ended(begun, |error| condition.failed(py, Timeout::NoWait, error, 0))
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

    /// Of the object, as its own.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
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
