//! What a coroutine waits for at a gate: the end of a call that it has posted, and room for one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::kernel::Watch;
use underpass_core::many::Ready;
use underpass_core::port::{Client, Posted, Reply};
use underpass_core::wait::Sleepers;
use underpass_core::{Deadline, Error, Kernel, Result};
use underpass_shm::forks;
use underpass_shm::operation::Operation;
use underpass_shm::sync::AtomicU32;

use crate::bytes::Parcel;
use crate::gate::{Gate, NOT_ANSWERED, NOT_RECEIVED};
use crate::handle::Handle;
use crate::timeout::Timeout;

/// A gate whose channel is bound, in the process that bound it.
#[derive(Debug)]
struct Line {
    gate: Py<Gate>,
    epoch: u32,
    baton: AtomicU32,
}

/// A call in progress that nobody sleeps for: ready once it has ended. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct GateCall {
    pub handle: Arc<Handle>,
    at: Line,
    /// None once it was ended.
    posted: Mutex<Option<Posted>>,
}

/// Room for one more call of this process at a gate. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct GateRoom {
    pub handle: Arc<Handle>,
    at: Line,
}

impl Line {
    fn new(gate: &Bound<'_, Gate>) -> Self {
        Self { gate: gate.clone().unbind(), epoch: forks::epoch(), baton: AtomicU32::new(0) }
    }

    fn channel(&self) -> Result<(&Client, &dyn Kernel)> {
        let known = if self.epoch == forks::epoch() { self.gate.get().known() } else { None };
        known.ok_or_else(|| Error::Misuse("it was begun by the process that this one was forked from".into()))
    }
}

/// Nobody else waits for the same call.
impl Sleepers for Line {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, _kernel: &dyn Kernel) {}
}

impl GateCall {
    pub fn post(gate: &Bound<'_, Gate>, data: &Bound<'_, PyAny>, one_way: bool) -> PyResult<Self> {
        let (py, it) = (gate.py(), gate.get());
        let failed = if one_way { NOT_RECEIVED } else { NOT_ANSWERED };
        let raised = |error| it.failed(py, Timeout::NoWait, failed, error);
        it.handle.check(py)?;
        if it.is_outside() {
            let why =
                "a gate to another user's space cannot be awaited: call it in a thread, as asyncio.to_thread does";
            return Err(raised(Error::Misuse(why.into())));
        }
        let data = Parcel::new(data)?;
        let (client, kernel) = it.bound(py, Timeout::NoWait, Deadline::NoWait, failed)?;
        let posted = client.post(kernel, &data, one_way).map_err(raised)?;
        Ok(Self { handle: it.handle.clone(), at: Line::new(gate), posted: Mutex::new(Some(posted)) })
    }

    /// What a task does that waits for it.
    pub fn operation(&self) -> Operation {
        if self.posted().as_ref().is_some_and(Posted::is_one_way) { Operation::Send } else { Operation::Call }
    }

    fn posted(&self) -> MutexGuard<'_, Option<Posted>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, unless it has ended.
    fn end(&self) {
        let posted = self.posted().take();
        if let (Some(posted), Ok((client, kernel))) = (posted, self.at.channel()) {
            let _ = client.give_up(kernel, &posted);
        }
    }
}

#[pymethods]
impl GateCall {
    /// Return the reply; None to a message. Raises WouldBlock while there is none, and what the blocking verb raises.
    fn collect<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let mut posted = self.posted();
        let one_way = posted.as_ref().is_some_and(Posted::is_one_way);
        let raised = |error| {
            let failed = if one_way { NOT_RECEIVED } else { NOT_ANSWERED };
            self.at.gate.get().failed(py, Timeout::NoWait, failed, error)
        };
        let Some(call) = posted.as_ref() else { return Err(raised(Error::Misuse("it has ended already".into()))) };
        let (client, kernel) = self.at.channel().map_err(raised)?;
        let copy = |reply: Reply<'_>| {
            PyBytes::new_with(py, reply.length, |out| {
                reply.copy_to(out);
                Ok(())
            })
        };
        let collected = client.collect(kernel, call, copy);
        if matches!(collected, Err(Error::WouldBlock)) {
            return Err(raised(Error::WouldBlock));
        }
        *posted = None;
        drop(posted);
        let reply = collected.map_err(raised)??;
        Ok((!one_way).then_some(reply))
    }

    /// Take it back, or abandon it if the server has taken it. What has ended stays as it is.
    fn give_up(&self) {
        self.end();
    }

    fn __repr__(&self) -> String {
        format!("<call of {}>", self.handle.title)
    }
}

impl Drop for GateCall {
    fn drop(&mut self) {
        self.end();
    }
}

impl Ready for GateCall {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.at
    }

    /// It has ended.
    fn is_ready<'a>(&'a self, _kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let (client, kernel) = self.at.channel()?;
        Ok(self.posted().as_ref().is_none_or(|posted| client.has_ended(kernel, posted, watch)))
    }
}

impl GateRoom {
    pub fn new(gate: &Bound<'_, Gate>) -> PyResult<Self> {
        let room = Self { handle: gate.get().handle.clone(), at: Line::new(gate) };
        match room.at.channel() {
            Ok((client, _)) => client.start_claiming(),
            Err(error) => return Err(gate.get().failed(gate.py(), Timeout::NoWait, NOT_ANSWERED, error)),
        }
        Ok(room)
    }
}

#[pymethods]
impl GateRoom {
    fn __repr__(&self) -> String {
        format!("<room of {}>", self.handle.title)
    }
}

impl Drop for GateRoom {
    fn drop(&mut self) {
        if let Ok((client, _)) = self.at.channel() {
            client.stop_claiming();
        }
    }
}

impl Ready for GateRoom {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.at
    }

    /// A call could be posted, or would be refused.
    fn is_ready<'a>(&'a self, _kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let (client, kernel) = self.at.channel()?;
        Ok(client.has_room(kernel, watch))
    }
}
