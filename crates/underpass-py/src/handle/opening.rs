//! How a process comes to a handle: the object is made, or found by its name.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::kernel::{Kernel as _, Memory, Parked, Purpose, Wanted};
use underpass_core::linux::Linux;
use underpass_core::{Deadline, Error};
use underpass_shm::header::{Header, Kind};
use underpass_shm::operation::Operation;
use underpass_shm::region::Region;
use underpass_shm::{Error as Shm, forks, space};

use super::{Handle, title};
use crate::error::{Context, exception, from_shm, plain, raise};
use crate::kernel_conducted;
use crate::kernel_lab::{self, LabKernel};
use crate::space::Space;
use crate::timeout::Timeout;

/// How long one look for a name may take before signal handlers run again.
const LOOK: Duration = Duration::from_secs(1);

impl Handle {
    /// Makes an object; without a name it is anonymous.
    pub fn create(py: Python<'_>, space: Option<&Space>, wanted: &Wanted<'_>) -> PyResult<Self> {
        check(wanted)?;
        let lab = if space.is_none() { kernel_lab::current() } else { None };
        let home = if lab.is_none() { Some(Space::or_default(py, space)?.linux) } else { None };
        let made = match (&lab, &home) {
            (Some(lab), _) => lab.memory(wanted),
            (None, Some(home)) => Self::have_space(home, wanted).and_then(|()| home.memory(wanted)),
            (None, None) => unreachable!("an object lives in the lab or in a space"),
        };
        let made = made.and_then(|made| {
            if wanted.name.is_some() && lab.is_none() {
                kernel_conducted::announce()?;
            }
            Ok(made)
        });
        Ok(Self::born(made.map_err(|error| not_created(py, wanted, error))?, home, lab, wanted.name.is_none()))
    }

    pub fn born(made: Memory, home: Option<Arc<Linux>>, lab: Option<Arc<LabKernel>>, anonymous: bool) -> Self {
        let mut handle = Self::over(home, lab, made.region, made.header, made.file);
        handle.owned_in = anonymous.then(forks::epoch);
        handle
    }

    /// Opens a named object, waiting for the name if `timeout` says so.
    pub fn open(py: Python<'_>, space: Option<&Space>, name: &str, kind: Kind, timeout: Timeout) -> PyResult<Self> {
        let deadline = Self::opened_by(py, name, kind, timeout)?;
        Self::open_until(py, space, name, kind, timeout, deadline, &Purpose::new(Operation::Open))
    }

    /// Until when the name may appear.
    pub fn opened_by(py: Python<'_>, name: &str, kind: Kind, timeout: Timeout) -> PyResult<Option<u64>> {
        let allowed = timeout.deadline("open");
        allowed
            .map(Deadline::time)
            .map_err(|error| raise(py, &Context::of(&title(kind, Some(name), ""), "not opened"), error))
    }

    pub fn open_until(
        py: Python<'_>,
        space: Option<&Space>,
        name: &str,
        kind: Kind,
        timeout: Timeout,
        deadline: Option<u64>,
        purpose: &Purpose,
    ) -> PyResult<Self> {
        check_name(name)?;
        if space.is_none()
            && let Some(lab) = kernel_lab::current()
        {
            return Self::await_in_lab(py, lab, name, kind, timeout, deadline);
        }
        let linux = Space::or_default(py, space)?.linux;
        let file = space::file_name(name);
        loop {
            let news = kernel_conducted::news(py, &linux)?;
            match linux.space().open(&file, kind) {
                Ok((region, header)) => return Ok(Self::opened(linux, region, header, file)),
                Err(Shm::NotFound { what, path }) => {
                    let now = kernel_lab::now();
                    let left = deadline.map_or(LOOK, |time| Duration::from_nanos(time.saturating_sub(now)).min(LOOK));
                    if left.is_zero() {
                        return Err(missing(py, &what, &path, timeout));
                    }
                    if let Some(news) = news {
                        let parked = kernel_conducted::await_name(&news, deadline);
                        match parked.map_err(|error| raise(py, &Context::of(&what, "not opened"), error))? {
                            Parked::Expired => return Err(missing(py, &what, &path, timeout)),
                            _ => continue,
                        }
                    }
                    linux
                        .await_name(kind, name, purpose, left, |space, patience| space.await_name(&file, patience))
                        .map_err(|error| raise(py, &Context::of(&what, "not opened"), error))?;
                    py.check_signals()?;
                }
                Err(error) => return Err(from_shm(py, error)),
            }
        }
    }

    fn await_in_lab(
        py: Python<'_>,
        lab: Arc<LabKernel>,
        name: &str,
        kind: Kind,
        timeout: Timeout,
        deadline: Option<u64>,
    ) -> PyResult<Self> {
        let file = space::file_name(name);
        loop {
            let seen = lab.names();
            match lab.find(&file, kind) {
                Ok((region, header)) => return Ok(Self::over(None, Some(lab), region, header, file)),
                Err(Shm::NotFound { what, path }) => {
                    let parked = if deadline.is_some_and(|time| lab.now() >= time) {
                        Parked::Expired
                    } else {
                        lab.await_name(seen, deadline)
                    };
                    match parked {
                        Parked::Expired => return Err(missing(py, &what, &path, timeout)),
                        Parked::Interrupted => return Err(PyErr::fetch(py)),
                        Parked::Look | Parked::Baton => {}
                    }
                }
                Err(error) => return Err(from_shm(py, error)),
            }
        }
    }

    pub fn opened(linux: Arc<Linux>, region: Arc<Region>, header: Header, file: String) -> Self {
        Self::over(Some(linux), None, region, header, file)
    }
}

pub fn not_created(py: Python<'_>, wanted: &Wanted<'_>, error: Error) -> PyErr {
    raise(py, &Context::of(&title(wanted.kind, wanted.name, ""), "not created"), error)
}

pub fn check(wanted: &Wanted<'_>) -> PyResult<()> {
    if let Some(name) = wanted.name {
        check_name(name)?;
    }
    match wanted.mode {
        None | Some(0o600 | 0o660 | 0o606 | 0o666) => Ok(()),
        Some(mode) => Err(PyValueError::new_err(format!(
            "mode=0o{mode:o}: who may use an object reads and writes it: pass 0o600, 0o660 or 0o666"
        ))),
    }
}

pub fn check_name(name: &str) -> PyResult<()> {
    match space::check_name(name) {
        Some(why) => Err(PyValueError::new_err(format!("{name:?} cannot be a name: {why}"))),
        None => Ok(()),
    }
}

pub fn missing(py: Python<'_>, what: &str, path: &str, timeout: Timeout) -> PyErr {
    if timeout.expired_scope().is_some() {
        return plain(py, "TimedOut", &format!("{what} does not exist and did not appear {}", timeout.text()));
    }
    let advice = match timeout {
        Timeout::Seconds(Some(seconds)) if seconds > 0.0 => format!(" and did not appear within {seconds} s"),
        _ => ": pass timeout= to wait for it, or await open_when_there of its class in underpass.aio".into(),
    };
    exception(py, "NotFoundError", &format!("{what} does not exist{advice}"), |attributes| {
        attributes.set_item("filename", path)
    })
}
