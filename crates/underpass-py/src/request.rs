//! What is received at a port: `underpass.Request` and `underpass.Notified`.

use std::sync::atomic::{
    AtomicU8,
    Ordering::{AcqRel, Acquire},
};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::Error;
use underpass_core::port::{Call, Payload as _};

use crate::bytes::Parcel;
use crate::error::{Context, raise};
use crate::peer::Peer;
use crate::port::Port;

/// The states of a request. In the lab, and under a conductor, to answer one is an operation: its first answer takes the slow path.
const UNANSWERED: u8 = 0;
const SETTLED: u8 = 1;
const UNANSWERED_STEPPED: u8 = 2;

/// The state in which requests are born.
pub fn unanswered(stepped: bool) -> u8 {
    if stepped { UNANSWERED_STEPPED } else { UNANSWERED }
}

/// A call that was received. Reply once; one that is forgotten fails at its caller with CallAbortedError.
///
/// What was sent with `Gate.send` is a request, too: its ``wants_reply`` is False, and nobody waits.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Request {
    port: Py<Port>,
    pub call: Call,
    data: Py<PyBytes>,
    state: AtomicU8,
}

impl Request {
    pub fn new(port: Py<Port>, call: Call, data: Py<PyBytes>) -> Self {
        let state = AtomicU8::new(if call.is_one_way() { SETTLED } else { port.get().unanswered });
        Self { port, call, data, state }
    }

    /// Fails the call at its caller, unless it was answered.
    pub fn give_up(&self) {
        if self.state.swap(SETTLED, AcqRel) != SETTLED {
            let port = self.port.get();
            port.handle.touch();
            port.server.abort(port.handle.kernel(), &self.call);
        }
    }

    /// Nobody waits for an answer any more.
    pub fn is_settled(&self) -> bool {
        self.state.load(Acquire) == SETTLED
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[pymethods]
impl Request {
    /// What the caller sent, copied.
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    /// The number that the port gave its gate; 0: none.
    #[getter]
    fn badge(&self) -> u64 {
        self.call.badge()
    }

    /// False for what was sent one way: nobody waits for a reply.
    #[getter]
    fn wants_reply(&self) -> bool {
        !self.call.is_one_way()
    }

    /// Who called.
    #[getter]
    fn peer(&self) -> Peer {
        Peer::caller(&self.port.get().handle, self.call.channel(), self.call.caller())
    }

    /// Answer, once, with a buffer, or a list or tuple of them that is sent as one message. Never blocks; the caller may be gone.
    ///
    /// Raises:
    ///     MisuseError: It was answered before, or was sent one way.
    ///     MessageTooLongError: More than the port's ``message_size``; the request can still be answered.
    #[pyo3(signature = (reply=None))]
    pub fn reply(&self, py: Python<'_>, reply: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let data = reply.map_or_else(|| Ok(Parcel::empty()), Parcel::new)?;
        let port = self.port.get();
        let context = Context::of(&port.handle.title, "reply not sent");
        if self.call.is_one_way() {
            let why = "it was sent one way (Gate.send), and nobody waits for a reply: look at wants_reply".into();
            return Err(raise(py, &context, Error::Misuse(why)));
        }
        if data.length() > port.server.message_size() {
            let error = Error::TooLong { size: data.length(), limit: port.server.message_size() };
            return Err(raise(py, &context, error));
        }
        match self.state.swap(SETTLED, AcqRel) {
            UNANSWERED => {}
            UNANSWERED_STEPPED => port.handle.point(py)?,
            _ => {
                return Err(raise(
                    py,
                    &context,
                    Error::Misuse("the call was answered before, and has one reply".into()),
                ));
            }
        }
        port.server.reply(port.handle.kernel(), &self.call, &data).map_err(|error| raise(py, &context, error))
    }

    fn __repr__(&self) -> String {
        let badge = match self.call.badge() {
            0 => String::new(),
            badge => format!(", badge {badge}"),
        };
        let state = match (self.call.is_one_way(), self.is_settled()) {
            (true, _) => ", one way",
            (false, true) => ", answered",
            (false, false) => "",
        };
        format!("<Request of {} bytes from pid {}{badge}{state}>", self.call.length(), self.call.peer().pid)
    }
}

/// Bits that gates have set with `Gate.notify` since the last time: what `Port.receive_any` returns before any call.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct Notified {
    /// All of them, taken at once.
    bits: u64,
}

impl Notified {
    pub fn new(bits: u64) -> Self {
        Self { bits }
    }
}

#[pymethods]
impl Notified {
    fn __repr__(&self) -> String {
        format!("Notified(bits={:#x})", self.bits)
    }
}
