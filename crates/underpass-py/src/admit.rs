//! A port's question whether to let a process in: its `admit=`.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyException;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use underpass_core::port::{Admission, Channel};
use underpass_core::{Error, Result};
use underpass_shm::life::Life;

use crate::handle::Handle;
use crate::peer::Peer;

/// The `admit=` of a port.
#[derive(Debug)]
pub struct Admit {
    port: Arc<Handle>,
    function: Mutex<Option<Py<PyAny>>>,
}

impl Admit {
    /// Asks that function.
    pub fn new(port: Arc<Handle>, function: Py<PyAny>) -> Self {
        Self { port, function: Mutex::new(Some(function)) }
    }

    /// The function, which runs while nobody holds the lock.
    fn function<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let function = self.function.lock().unwrap_or_else(PoisonError::into_inner);
        function.as_ref().map(|function| function.bind(py).clone())
    }

    /// Lets go of the function: nobody is let in any more.
    pub fn forget(&self) {
        let function = self.function.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(function);
    }

    /// Shows the function to the garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        match self.function.try_lock() {
            Ok(function) => visit.call(&*function),
            Err(_) => Ok(()),
        }
    }
}

/// Shared with the port, which shows it to the garbage collector.
#[derive(Debug)]
pub struct Asked(pub Arc<Admit>);

impl Admission for Asked {
    fn admits(&self, client: &Channel) -> Result<bool> {
        Python::attach(|py| {
            let Some(function) = self.0.function(py) else { return Ok(false) };
            let peer = Peer::caller(&self.0.port, client, Life::NOBODY);
            match function.call1((peer,)).and_then(|verdict| verdict.is_truthy()) {
                Ok(verdict) => Ok(verdict),
                // One client's misfortune must not end the service of all: told as Python tells of callbacks.
                Err(error) if error.is_instance_of::<PyException>(py) => {
                    error.write_unraisable(py, Some(&function));
                    Ok(false)
                }
                Err(error) => {
                    error.restore(py);
                    Err(Error::Refused)
                }
            }
        })
    }
}
