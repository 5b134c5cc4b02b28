//! How a handle travels: what a pickle carries, and what opens it where it arrives.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::kernel::Kernel as _;
use underpass_shm::access::Access;
use underpass_shm::header::Kind;
use underpass_shm::life::Life;
use underpass_shm::{Error as Shm, space};

use super::{Handle, title};
use crate::atomic::AtomicInt;
use crate::barrier::Barrier;
use crate::broadcast::Broadcast;
use crate::condition::Condition;
use crate::error::{exception, from_shm, is, plain};
use crate::event::Event;
use crate::gate::Gate;
use crate::kernel_lab::{self, LabKernel};
use crate::latch::Latch;
use crate::mutex::Mutex;
use crate::notification::Notification;
use crate::object::opened;
use crate::objects::{BLOCKS, Objects};
use crate::once::Once;
use crate::pipe::Pipe;
use crate::pool::Pool;
use crate::queue::{LETTERS, Queue};
use crate::region::Region;
use crate::ring::{MpscRing, SpscRing};
use crate::rwlock::RWLock;
use crate::semaphore::Semaphore;
use crate::space::Space;
use crate::spin_lock::SpinLock;
use crate::stack::Stack;

impl Handle {
    /// How the handle travels: the function that opens it there, and its arguments.
    pub fn reduce<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Travel)> {
        self.check(py)?;
        let open = py.import("underpass._core")?.getattr("reopen")?;
        let (file, part, header) = (self.file.clone(), self.part.to_owned(), &self.header);
        if self.lab.is_some() {
            let (creator, pid) = (header.creator, header.creator_pid);
            return Ok((open, (String::new(), file, header.kind as u32, header.nonce, creator, pid, part)));
        }
        let space = self.home(py)?.space();
        if !space.exists(&self.file).map_err(|error| from_shm(py, error))? {
            let message = format!(
                "{} cannot be handed on: its file is gone, since its creator, pid {}, dropped it or somebody unlinked it: \
                 keep a handle there, or give the object a name",
                self.title, self.header.creator_pid
            );
            return Err(exception(py, "NotFoundError", &message, |attributes| {
                attributes.set_item("filename", space.path_of(&self.file))
            }));
        }
        self.kept.store(true, Relaxed);
        let place = space.path().display().to_string();
        let travel = (place, file, header.kind as u32, header.nonce, header.creator, header.creator_pid, part);
        Ok((open, travel))
    }

    /// Opens the object of a file of the lab, for a handle that came from another of its processes.
    pub(super) fn open_in_lab(py: Python<'_>, file: &str, kind: Kind, nonce: u64) -> PyResult<Self> {
        let lab = kernel_lab::current();
        let found = lab.as_ref().and_then(|lab| lab.find(file, kind).ok());
        match found {
            Some((region, header)) if header.nonce == nonce => Ok(Self::over(None, lab, region, header, file.into())),
            _ => {
                let what = format!(
                    "{} of the lab is gone: its schedule has ended, or it was unlinked",
                    title(kind, None, file)
                );
                Err(plain(py, "NotFoundError", &what))
            }
        }
    }

    /// Opens the object of a file, for a handle that came from another process.
    pub(super) fn open_file(
        py: Python<'_>,
        space: &Space,
        file: &str,
        kind: Kind,
        nonce: u64,
        creator: (u32, u32),
    ) -> PyResult<Self> {
        let linux = space.linux.clone();
        let opened = linux.space().open(file, kind);
        match opened {
            Ok((region, header)) if header.nonce == nonce => Ok(Self::opened(linux, region, header, file.into())),
            Ok(_) | Err(Shm::NotFound { .. }) => {
                let what = linux.space().describe(&space::object_name(file));
                let (life, pid) = creator;
                let fate = if linux.alive(Life(life)) {
                    format!(
                        "its creator, pid {pid}, closed or unlinked it before this handle arrived: keep it open there"
                    )
                } else {
                    format!("its creator, pid {pid}, has died and what it left was swept")
                };
                Err(exception(py, "NotFoundError", &format!("{what} is gone: {fate}"), |attributes| {
                    attributes.set_item("filename", linux.space().path_of(file))
                }))
            }
            Err(error) => Err(from_shm(py, error)),
        }
    }
}

/// Place, file, kind, nonce, creator's life and pid, and which part of the object.
pub type Travel = (String, String, u32, u64, u32, u32, String);

/// Open a handle that came from another process.
#[pyfunction]
#[pyo3(name = "reopen")]
#[expect(clippy::too_many_arguments, reason = "what a pickle carries, written by `reduce`")]
#[expect(clippy::needless_pass_by_value, reason = "a path of Python's is converted")]
pub fn reopen(
    py: Python<'_>,
    place: std::path::PathBuf,
    file: &str,
    kind: u32,
    nonce: u64,
    creator: u32,
    pid: u32,
    part: &str,
) -> PyResult<Py<PyAny>> {
    let kind =
        Kind::from_number(kind).ok_or_else(|| PyValueError::new_err("a handle of a kind that does not exist"))?;
    if place.as_os_str().is_empty() {
        return awaken(py, Handle::open_in_lab(py, file, kind, nonce)?, part);
    }
    let space = match Space::at(py, &place, Access::Found) {
        // Another user's port can be called by those who may read its space.
        Err(error) if kind == Kind::Port && is(py, &error, "AccessDeniedError") => Space::look_at(py, &place)?,
        entered => entered?,
    };
    awaken(py, Handle::open_file(py, &space, file, kind, nonce, (creator, pid))?, part)
}

/// A handle of an object of the lab, for those who look on.
pub fn reopen_in_lab(py: Python<'_>, lab: &Arc<LabKernel>, about: usize) -> PyResult<Py<PyAny>> {
    let (region, header, file) =
        lab.nth(about).ok_or_else(|| PyValueError::new_err(format!("there is no object {about}")))?;
    awaken(py, Handle::over(None, Some(lab.clone()), region, header, file), "")
}

/// The Python object of a handle that came from another process.
fn awaken(py: Python<'_>, handle: Handle, part: &str) -> PyResult<Py<PyAny>> {
    let kind = handle.header.kind;
    match kind {
        Kind::Semaphore => Ok(opened::<Semaphore>(py, handle)?.into_any()),
        Kind::Queue if part == LETTERS => Ok(opened::<Queue>(py, handle.of_part(LETTERS))?.into_any()),
        Kind::Queue => Ok(opened::<Queue>(py, handle)?.into_any()),
        Kind::ObjectQueue if part == BLOCKS => Ok(opened::<Pool>(py, handle.of_part(BLOCKS))?.into_any()),
        Kind::ObjectQueue if part == LETTERS => Ok(opened::<Objects>(py, handle.of_part(LETTERS))?.into_any()),
        Kind::ObjectQueue => Ok(opened::<Objects>(py, handle)?.into_any()),
        Kind::Pipe => Ok(opened::<Pipe>(py, handle)?.into_any()),
        Kind::Pool => Ok(opened::<Pool>(py, handle)?.into_any()),
        Kind::Port => Ok(Gate::arrived(py, handle, part)?.into_any()),
        Kind::Mutex => Ok(opened::<Mutex>(py, handle)?.into_any()),
        Kind::Notification => Ok(opened::<Notification>(py, handle)?.into_any()),
        Kind::Event => Ok(opened::<Event>(py, handle)?.into_any()),
        Kind::AtomicInt => Ok(opened::<AtomicInt>(py, handle)?.into_any()),
        Kind::Barrier => Ok(opened::<Barrier>(py, handle)?.into_any()),
        Kind::Condition => Ok(opened::<Condition>(py, handle)?.into_any()),
        Kind::Broadcast => Ok(opened::<Broadcast>(py, handle)?.into_any()),
        Kind::Stack => Ok(opened::<Stack>(py, handle)?.into_any()),
        Kind::SpscRing => Ok(opened::<SpscRing>(py, handle)?.into_any()),
        Kind::MpscRing => Ok(opened::<MpscRing>(py, handle)?.into_any()),
        Kind::Latch => Ok(opened::<Latch>(py, handle)?.into_any()),
        Kind::SpinLock => Ok(opened::<SpinLock>(py, handle)?.into_any()),
        Kind::Once => Ok(opened::<Once>(py, handle)?.into_any()),
        Kind::RWLock => Ok(opened::<RWLock>(py, handle)?.into_any()),
        Kind::Region => Ok(Region::arrived(py, handle, part)?.into_any()),
        Kind::Lives | Kind::Channel => Err(PyValueError::new_err(format!("no handle opens a {}", kind.name()))),
    }
}
