//! A mutex as the caller of a wait holds it: given back, and taken again whatever happens meanwhile.

use std::cell::RefCell;

use pyo3::prelude::*;
use underpass_core::condition::Under;
use underpass_core::{Deadline, Error, Result};

use crate::handle::Handle;
use crate::mutex::Mutex;

/// While one call waits.
pub struct Holding<'a, 'py> {
    py: Python<'py>,
    /// What is waited for.
    object: &'a Handle,
    mutex: &'a Mutex,
    /// What signal handlers raised.
    raised: RefCell<Option<PyErr>>,
}

impl<'a, 'py> Holding<'a, 'py> {
    /// Of a wait for `object` under `mutex`.
    pub fn new(py: Python<'py>, object: &'a Handle, mutex: &'a Mutex) -> Self {
        Self { py, object, mutex, raised: RefCell::new(None) }
    }

    /// How the call ends: what a signal handler raised comes before anything else.
    pub fn ended<T>(self, result: Result<T>, tell: impl FnOnce(Error) -> PyErr) -> PyResult<T> {
        match (self.raised.into_inner(), result) {
            (None, result) => result.map_err(tell),
            (Some(raised), Ok(_) | Err(Error::Interrupted | Error::Refused)) => Err(raised),
            (Some(raised), Err(error)) => {
                chain(self.py, &raised, &tell(error));
                Err(raised)
            }
        }
    }

    fn keep(&self, raised: PyErr) {
        let before = self.raised.take();
        if let Some(before) = before {
            chain(self.py, &raised, &before);
        }
        self.raised.replace(Some(raised));
    }

    fn kept<T>(&self, result: PyResult<T>) -> Result<T> {
        result.map_err(|raised| {
            self.keep(raised);
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
        if let Some(raised) = PyErr::take(self.py) {
            self.keep(raised);
        }
        // In the lab no signals come: what interrupts there is the end of a schedule.
        self.object.lab().is_none()
    }

    fn has_raised(&self) -> bool {
        self.raised.borrow().is_some()
    }
}
