//! What is done whatever signal handlers raise meanwhile: a mutex as the caller of a wait holds it is given back, and taken
//! again; a registration is taken back.

use std::cell::RefCell;

use pyo3::prelude::*;
use underpass_core::condition::Under;
use underpass_core::{Deadline, Error, Result};

use crate::handle::Handle;
use crate::mutex::Mutex;

/// What signal handlers raised while something was done that has to be done all the same: told once it is.
#[derive(Default)]
struct Raised(RefCell<Option<PyErr>>);

impl Raised {
    fn keep(&self, py: Python<'_>, raised: PyErr) {
        let before = self.0.take();
        if let Some(before) = before {
            chain(py, &raised, &before);
        }
        self.0.replace(Some(raised));
    }

    /// Keeps what ended an operation with the object; true: it is to be begun again.
    fn interrupted(&self, py: Python<'_>, object: &Handle) -> bool {
        if let Some(raised) = PyErr::take(py) {
            self.keep(py, raised);
        }
        // In the lab no signals come: what interrupts there is the end of a schedule.
        object.lab().is_none()
    }

    /// How the call ends: what a signal handler raised comes before anything else.
    fn ended<T>(self, py: Python<'_>, result: Result<T>, tell: impl FnOnce(Error) -> PyErr) -> PyResult<T> {
        match (self.0.into_inner(), result) {
            (None, result) => result.map_err(tell),
            (Some(raised), Ok(_) | Err(Error::Interrupted | Error::Refused)) => Err(raised),
            (Some(raised), Err(error)) => {
                chain(py, &raised, &tell(error));
                Err(raised)
            }
        }
    }
}

/// Does what would otherwise stay undone for good, though signal handlers raise while it waits for a lock inside the object;
/// what they raised is told once it is done.
pub fn insist<T>(
    py: Python<'_>,
    object: &Handle,
    mut operation: impl FnMut() -> Result<T>,
    tell: impl FnOnce(Error) -> PyErr,
) -> PyResult<T> {
    let raised = Raised::default();
    loop {
        match operation() {
            Err(Error::Interrupted) if raised.interrupted(py, object) => {}
            done => return raised.ended(py, done, tell),
        }
    }
}

/// While one call waits.
pub struct Holding<'a, 'py> {
    py: Python<'py>,
    /// What is waited for.
    object: &'a Handle,
    mutex: &'a Mutex,
    raised: Raised,
}

impl<'a, 'py> Holding<'a, 'py> {
    /// Of a wait for `object` under `mutex`.
    pub fn new(py: Python<'py>, object: &'a Handle, mutex: &'a Mutex) -> Self {
        Self { py, object, mutex, raised: Raised::default() }
    }

    /// How the call ends: what a signal handler raised comes before anything else.
    pub fn ended<T>(self, result: Result<T>, tell: impl FnOnce(Error) -> PyErr) -> PyResult<T> {
        self.raised.ended(self.py, result, tell)
    }

    fn kept<T>(&self, result: PyResult<T>) -> Result<T> {
        result.map_err(|raised| {
            self.raised.keep(self.py, raised);
            Error::Refused
        })
    }

    fn take_once(&self) -> Result<()> {
        self.kept(self.mutex.come_back(self.py))?;
        self.mutex.core().acquire(self.mutex.handle().kernel(), Deadline::Never)
    }
}

/// `raised` came while `before` was on its way.
fn chain(py: Python<'_>, raised: &PyErr, before: &PyErr) {
    // Any exception has a context; one of a class that refuses it tells less.
    let _ = raised.value(py).setattr("__context__", before.value(py));
}

impl Under for Holding<'_, '_> {
    fn depth(&self) -> Result<u32> {
        self.mutex.core().depth(self.mutex.handle().kernel())
    }

    fn give(&self) -> Result<()> {
        self.kept(self.mutex.come_to_give(self.py))?;
        let given = self.mutex.core().release(self.mutex.handle().kernel());
        self.object.touch();
        match given {
            // A mutex that is handed over was given back all the same: what was raised is told once it is held again.
            Err(Error::Interrupted) if self.interrupted() => Ok(()),
            given => given,
        }
    }

    fn take(&self) -> Result<()> {
        loop {
            match self.take_once() {
                Err(Error::Interrupted) if self.interrupted() => {}
                taken => {
                    self.object.touch();
                    return taken;
                }
            }
        }
    }

    fn refuse_behind_its_tasks(&self) -> Result<()> {
        self.mutex.core().refuse_behind_its_tasks(self.mutex.handle().kernel())
    }

    fn is_orphaned(&self) -> bool {
        self.mutex.core().holder(self.mutex.handle().kernel()).is_some_and(|holder| holder.dead)
    }

    fn interrupted(&self) -> bool {
        self.raised.interrupted(self.py, self.object)
    }

    fn has_raised(&self) -> bool {
        self.raised.0.borrow().is_some()
    }
}
