//! What a task waits for, told to whoever looks at the space: for `underpass.aio`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyString;
use underpass_core::kernel::Watch;
use underpass_core::linux::Linux;
use underpass_core::many::{self as core, Ready};
use underpass_shm::clock;
use underpass_shm::header::Kind;
use underpass_shm::life::Life;
use underpass_shm::lives::TaskTicket;
use underpass_shm::operation::Operation;

use crate::broadcast::BroadcastRoom;
use crate::gate_call::{GateCall, GateRoom};
use crate::handle::Handle;
use crate::many::{QueueDrained, QueueRoom, WaitSet, waitable};
use crate::pipe::PipeRoom;
use crate::since::Since;
use crate::site;

/// A task that waits, as long as it does. For `underpass.aio`.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct TaskWait {
    /// Where it is written; none once it has ended, and where nothing is.
    written: Mutex<Option<(Arc<Linux>, TaskTicket)>>,
}

#[pymethods]
impl TaskWait {
    /// It waits no more. Idempotent.
    fn end(&self) {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((home, ticket)) = written {
            home.space().lives().task_waits_no_more(&ticket);
        }
    }
}

impl Drop for TaskWait {
    fn drop(&mut self) {
        self.end();
    }
}

/// Say in the object's space that the running task is about to wait for what a `WaitSet` takes as ``member``, until the end of
/// what is returned. Nothing is said in the lab, of what is in no space, and where the space has no room for it.
///
/// ``name`` returns the task's name; ``verb`` is what it does, where the member does not tell.
#[pyfunction]
#[pyo3(signature = (member, name, verb=None))]
pub fn task_waits(member: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>, verb: Option<&str>) -> PyResult<TaskWait> {
    Ok(TaskWait { written: Mutex::new(write(member, name, verb)?) })
}

fn write(
    member: &Bound<'_, PyAny>,
    name: &Bound<'_, PyAny>,
    verb: Option<&str>,
) -> PyResult<Option<(Arc<Linux>, TaskTicket)>> {
    let py = member.py();
    let first = match member.cast::<WaitSet>() {
        Ok(set) => set.get().first_and_count(py),
        Err(_) => Some((member.clone(), 1)),
    };
    let Some((what, count)) = first else { return Ok(None) };
    // What is no object, a descriptor or a name, is in no space; a port of the parent's is refused by its verbs.
    let Ok((handle, object)) = waitable(&what) else { return Ok(None) };
    let Some(home) = handle.home_if_any() else { return Ok(None) };
    let operation = verb.and_then(Operation::from_name).unwrap_or_else(|| operation_of(&what, handle));
    let task = name.call0()?.cast_into::<PyString>()?;
    let task = task.to_string_lossy();
    let place = site::here(py)?;
    let (file, line) = match &place {
        Some((file, line)) => (file.to_string_lossy(), *line),
        None => (Cow::Borrowed(""), 0),
    };
    let file = file.rsplit_once('/').map_or(&*file, |(_, name)| name);
    // Of a wait for many the record says how many they are.
    let mut lives = vec![Life(count)];
    if !operation.is_of_many() {
        lives = whom_it_watches(operation, object, handle);
    }
    let what = (handle.header.nonce, handle.header.kind, operation, clock::monotonic());
    // A record is for people: the wait goes on without.
    let ticket = home.space().lives().task_waits(what, &lives, (&task, file, line)).ok();
    Ok(ticket.map(|ticket| (home.clone(), ticket)))
}

/// Who has what a task waits for, where the object itself does not say so: those whom a thread would watch in its place.
fn whom_it_watches(operation: Operation, object: &dyn Ready, handle: &Handle) -> Vec<Life> {
    use Operation::{Alloc, Call, Publish, Send, Upgrade};
    if !matches!(operation, Alloc | Call | Publish | Send | Upgrade) {
        return Vec::new();
    }
    let mut watch = Watch::of_one_look();
    // A record is for people: what this look fails of is told by the wait itself.
    let _is_ready = core::announce(object, handle.kernel(), &mut watch);
    watch.lives().to_vec()
}

/// What a task does that waits for that.
fn operation_of(what: &Bound<'_, PyAny>, handle: &Handle) -> Operation {
    if what.is_instance_of::<QueueRoom>() {
        return Operation::Put;
    }
    if what.is_instance_of::<QueueDrained>() {
        return Operation::Join;
    }
    if what.is_instance_of::<PipeRoom>() {
        return Operation::Write;
    }
    if what.is_instance_of::<GateRoom>() {
        return Operation::Send;
    }
    if let Ok(call) = what.cast::<GateCall>() {
        return call.get().operation();
    }
    if what.is_instance_of::<BroadcastRoom>() {
        return Operation::Publish;
    }
    let is_since = what.is_instance_of::<Since>();
    match handle.header.kind {
        Kind::Semaphore | Kind::Mutex | Kind::SpinLock | Kind::Once => Operation::Acquire,
        Kind::Queue | Kind::ObjectQueue if is_since => Operation::Put,
        Kind::Queue | Kind::ObjectQueue | Kind::Broadcast => Operation::Get,
        Kind::Pipe | Kind::RWLock => Operation::Read,
        Kind::Port => Operation::Receive,
        Kind::Pool => Operation::Alloc,
        Kind::Stack => Operation::Pop,
        _ => Operation::Wait,
    }
}
