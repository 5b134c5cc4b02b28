//! What comes to a space, as an event loop hears of it: for `underpass.aio`.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_shm::space as shm;

use crate::error::{from_shm, plain};
use crate::kernel_lab::{self, NewNames};
use crate::space::Space;

/// Notices of the names that come to a space from now on: ready once there are some. A member of a wait set, by a descriptor, which it
/// has until it is closed; in the lab without one.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct News(Source);

#[derive(Debug)]
enum Source {
    Directory(Mutex<Option<shm::News>>),
    Lab(NewNames),
}

#[pymethods]
impl News {
    #[new]
    #[pyo3(signature = (space=None))]
    fn new(py: Python<'_>, space: Option<&Bound<'_, Space>>) -> PyResult<Self> {
        if space.is_none()
            && let Some(lab) = kernel_lab::current()
        {
            return NewNames::from_now_on(lab).map(|names| Self(Source::Lab(names))).map_err(|_| PyErr::fetch(py));
        }
        let home = Space::or_default(py, space.map(Bound::get))?;
        let news = home.linux.space().news().map_err(|error| from_shm(py, error))?;
        Ok(Self(Source::Directory(Mutex::new(Some(news)))))
    }

    /// The descriptor: level-triggered.
    fn fileno(&self, py: Python<'_>) -> PyResult<RawFd> {
        match &self.0 {
            Source::Directory(news) => {
                let closed = || PyValueError::new_err("nobody waits for these names any more");
                locked(news).as_ref().map(|news| news.as_fd().as_raw_fd()).ok_or_else(closed)
            }
            Source::Lab(_) => Err(plain(py, "MisuseError", "the lab has no descriptors: add it to a wait set there")),
        }
    }

    /// Take the notices that are there: whoever looks for a name after that has looked after they came.
    fn take(&self, py: Python<'_>) -> PyResult<()> {
        match &self.0 {
            Source::Directory(news) => locked(news)
                .as_ref()
                .map_or(Ok(()), |news| news.take().map(drop).map_err(|error| from_shm(py, error))),
            Source::Lab(names) => names.take().map_err(|_| PyErr::fetch(py)),
        }
    }

    /// Let the descriptor go, which the exception of a task may keep for long.
    fn close(&self) {
        if let Source::Directory(news) = &self.0 {
            *locked(news) = None;
        }
    }

    fn __repr__(&self) -> &'static str {
        "<names that come>"
    }
}

impl News {
    /// Those of the lab.
    pub fn in_lab<'a>(what: &'a Bound<'_, PyAny>) -> Option<&'a NewNames> {
        match &what.cast::<Self>().ok()?.get().0 {
            Source::Lab(names) => Some(names),
            Source::Directory(_) => None,
        }
    }
}

fn locked(news: &Mutex<Option<shm::News>>) -> MutexGuard<'_, Option<shm::News>> {
    news.lock().unwrap_or_else(PoisonError::into_inner)
}
