//! `underpass.Gate`: the right to call a port.

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::outsider::Outsider;
use underpass_core::port::{Badge, Client, MOST_BYTES, Reply, channel_size, notify};
use underpass_core::{Deadline, Error, Kernel};
use underpass_shm::forks;
use underpass_shm::header::{Kind, WORDS};
use underpass_shm::layout::port::PortWords;
use underpass_shm::life::Life;
use underpass_shm::place::Placed;

use crate::bytes::{Parcel, Target};
use crate::error::{Context, exception, raise};
use crate::gate_call::{GateCall, GateRoom};
use crate::handle::{Handle, Travel};
use crate::host;
use crate::object::{self, Object, SharedObject};
use crate::space::Space;
use crate::timeout::Timeout;

/// The right to call one incarnation of a port.
///
/// The first call binds: it makes the memory that this process shares with the server alone, and introduces itself;
/// after a fork the child binds anew. Up to four threads have calls in progress at a time, others wait for their turn.
///
/// Example:
///     >>> import threading, underpass
///     >>> with underpass.Port.create("doc/gate") as port:
///     ...     threading.Thread(target=port.serve_bytes, args=(bytes.upper,)).start()
///     ...     underpass.Gate.open("doc/gate").call(b"hello", timeout=5)
///     b'HELLO'
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Gate {
    pub handle: Arc<Handle>,
    words: Placed<PortWords>,
    message_size: usize,
    badge: Badge,
    binding: Binding,
}

/// A snapshot of a gate, in this process.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct GateStatistics {
    /// The server knows this process, or will when it next receives.
    bound: bool,
    /// Calls of this process that are under way; four fit.
    in_progress: usize,
    /// Calls that were given up after the server had taken them, and occupy a place until it answers.
    abandoned: usize,
    /// Threads of this process that wait for a place.
    in_line: u32,
    /// Threads that sleep at the port, wherever they are.
    waiters: usize,
    /// The number that the port gave this gate.
    badge: u64,
    /// Longest message.
    message_size: usize,
}

#[pymethods]
impl GateStatistics {
    fn __repr__(&self) -> String {
        let Self { bound, in_progress, abandoned, in_line, waiters, badge, message_size } = self;
        let bound = if *bound { "True" } else { "False" };
        format!(
            "GateStatistics(bound={bound}, in_progress={in_progress}, abandoned={abandoned}, in_line={in_line}, \
             waiters={waiters}, badge={badge}, message_size={message_size})"
        )
    }
}

/// A channel, and the world of who cannot write the port's space.
#[derive(Debug)]
struct Connection {
    client: Client,
    outsider: Option<Outsider>,
}

/// The channel of this process; a forked child, and another process of the lab, finds its parent's and makes the next.
#[derive(Debug)]
struct Binding {
    /// Whose it is: [`Handle::asker`].
    asker: u32,
    bound: OnceLock<Connection>,
    next: OnceLock<Box<Binding>>,
}

impl Binding {
    fn new(asker: u32) -> Self {
        Self { asker, bound: OnceLock::new(), next: OnceLock::new() }
    }

    #[cold]
    fn of(&self, asker: u32) -> &Self {
        if self.asker == asker { self } else { self.next.get_or_init(|| Box::new(Self::new(asker))).of(asker) }
    }
}

impl Object for Gate {
    const KIND: Kind = Kind::Port;
    const PARAMETERS: &'static [&'static str] = &["message_size"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        Self::build(py, &handle, Badge::default())
    }
}

impl Gate {
    fn build(py: Python<'_>, handle: &Arc<Handle>, badge: Badge) -> PyResult<PyClassInitializer<Self>> {
        let [size, complement, ..] = handle.header.parameters;
        let intact = size == !complement;
        let message_size = usize::try_from(size).ok().filter(|size| intact && *size <= MOST_BYTES);
        let (Some(words), Some(message_size)) = (Placed::at(&handle.region, WORDS), message_size) else {
            let error = Error::Corrupted("its message_size or its length is out of range".into());
            return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
        };
        let gate = Self { handle: handle.clone(), words, message_size, badge, binding: Binding::new(handle.asker()) };
        Ok(object::base(handle).add_subclass(gate))
    }

    /// A gate that its port knows by a number.
    pub fn badged(py: Python<'_>, handle: Handle, badge: Badge) -> PyResult<Py<Self>> {
        Py::new(py, Self::build(py, &Arc::new(handle), badge)?)
    }

    /// A gate that came from another process, and what was written beside it.
    pub fn arrived(py: Python<'_>, handle: Handle, part: &str) -> PyResult<Py<Self>> {
        Self::badged(py, handle, read_badge(part)?)
    }

    /// The channel of this process.
    #[inline]
    fn binding(&self) -> &Binding {
        if self.binding.asker == forks::epoch() { &self.binding } else { self.binding.of(self.handle.asker()) }
    }

    #[inline]
    pub fn bound(
        &self,
        py: Python<'_>,
        timeout: Timeout,
        deadline: Deadline,
        failed: &'static str,
    ) -> PyResult<(&Client, &dyn Kernel)> {
        let bound = match self.binding().bound.get() {
            Some(bound) => bound,
            None => self.bind(py, deadline)?.map_err(|error| self.failed(py, timeout, failed, error))?,
        };
        Ok((&bound.client, self.world(bound)))
    }

    /// The channel that this process has, and the world in which it calls; none before its first call.
    pub fn known(&self) -> Option<(&Client, &dyn Kernel)> {
        let bound = self.binding().bound.get()?;
        Some((&bound.client, self.world(bound)))
    }

    /// It is called from outside its space, whose sleeps are other descriptors.
    pub fn is_outside(&self) -> bool {
        self.handle.is_onlooker()
    }

    /// The world in which it calls.
    #[inline]
    fn world<'a>(&'a self, bound: &'a Connection) -> &'a dyn Kernel {
        match &bound.outsider {
            None => self.handle.kernel(),
            Some(outsider) => outsider,
        }
    }

    #[inline]
    fn call_for<T>(
        &self,
        py: Python<'_>,
        data: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        sink: impl FnOnce(Reply<'_>) -> PyResult<T>,
    ) -> PyResult<T> {
        self.handle.check(py)?;
        let timeout = Timeout::new(timeout)?;
        let data = data.map_or_else(|| Ok(Parcel::empty()), Parcel::new)?;
        let allowed = timeout.deadline("call");
        let deadline = allowed.map_err(|error| self.failed(py, timeout, NOT_ANSWERED, error))?;
        let (client, kernel) = self.bound(py, timeout, deadline, NOT_ANSWERED)?;
        match timeout.judge(client.call(kernel, &data, deadline, sink)) {
            Ok(result) => result,
            Err(error) => Err(self.failed(py, timeout, NOT_ANSWERED, error)),
        }
    }

    #[cold]
    fn bind(&self, py: Python<'_>, deadline: Deadline) -> PyResult<underpass_core::Result<&Connection>> {
        let outsider = if self.handle.is_onlooker() {
            Some(Outsider::new(self.handle.home(py)?.space().clone(), &host::Python))
        } else {
            None
        };
        let connected =
            self.handle.approach(channel_size(self.message_size), outsider.is_some()).and_then(|approach| {
                Client::connect(
                    outsider.as_ref().map_or(self.handle.kernel(), |outsider| outsider),
                    &*approach,
                    self.words.clone(),
                    Life(self.handle.header.creator),
                    self.message_size,
                    self.badge,
                    deadline,
                )
            });
        // Two threads may bind at once; one channel more does no harm, and the server forgets it with this process.
        Ok(connected.map(|client| self.binding().bound.get_or_init(|| Connection { client, outsider })))
    }

    #[cold]
    pub fn failed(&self, py: Python<'_>, timeout: Timeout, failed: &'static str, error: Error) -> PyErr {
        let detail = match error {
            Error::Denied { .. } | Error::Barred { .. } => {
                self.handle.owner().map_or(String::new(), |uid| format!("uid {uid}"))
            }
            _ => String::new(),
        };
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }
}

pub const NOT_ANSWERED: &str = "call not answered";
pub const NOT_RECEIVED: &str = "message not received";

/// A badge, as a pickle carries it.
fn write_badge(badge: Badge) -> String {
    if badge.number == 0 {
        String::new()
    } else {
        format!("{:x}.{:x}.{:x}", badge.number, badge.generation, badge.proof)
    }
}

fn read_badge(text: &str) -> PyResult<Badge> {
    let refuse = || PyValueError::new_err(format!("{text:?} is no badge of a gate"));
    if text.is_empty() {
        return Ok(Badge::default());
    }
    let mut parts = text.split('.').map(|part| u64::from_str_radix(part, 16));
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(number)), Some(Ok(generation)), Some(Ok(proof)), None) => {
            Ok(Badge { number, generation: u32::try_from(generation).map_err(|_| refuse())?, proof })
        }
        _ => Err(refuse()),
    }
}

#[pymethods]
impl Gate {
    /// Open the gate of a named port, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::opened(py, Handle::open_living(py, space.map(Bound::get), name, Kind::Port, Timeout::new(timeout)?)?)
    }

    /// Call: send ``data``, wait for the reply. A list or tuple of buffers is sent as one message without being joined first.
    ///
    /// No server answers in no time: ``timeout=0`` waits for the length of a spin, some microseconds, and mostly raises TimedOut.
    ///
    /// Raises:
    ///     TimedOut: No reply within ``timeout`` seconds. ``phase`` "send": the server has not taken it, nothing happened;
    ///         "receive": it has, and may have acted.
    ///     PeerDiedError: The server died or closed the port, by the kernel's word. ``phase`` "send": it had not taken the call,
    ///         nothing happened; "receive": it had, and may have acted.
    ///     CallAbortedError: The server gave the call up without a reply.
    ///     CallCancelledError: The port has revoked this gate's badge: nothing happened.
    ///     AccessDeniedError: The port does not admit this process: nothing happened.
    ///     MessageTooLongError: More bytes than the port's ``message_size``.
    #[pyo3(signature = (data=None, *, timeout=None), text_signature = "($self, data=b'', *, timeout=None)")]
    fn call<'py>(
        &self,
        py: Python<'py>,
        data: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.call_for(py, data, timeout, |reply| {
            PyBytes::new_with(py, reply.length, |out| {
                reply.copy_to(out);
                Ok(())
            })
        })
    }

    /// Post a call, or with ``one_way`` a message, without waiting for what becomes of it. For `underpass.aio`.
    ///
    /// Raises:
    ///     WouldBlock: This process has as many calls in progress there as it can have: nothing happened. Wait for ``_room()``.
    #[pyo3(signature = (data, *, one_way=false))]
    fn _post(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>, one_way: bool) -> PyResult<GateCall> {
        GateCall::post(slf, data, one_way)
    }

    /// What to wait for where ``_post`` raised WouldBlock. For `underpass.aio`.
    fn _room(slf: &Bound<'_, Self>) -> PyResult<GateRoom> {
        GateRoom::new(slf)
    }

    /// Call, and write the reply into a buffer; its length. Raises MessageTooLongError if the reply is longer: it is lost then.
    #[pyo3(signature = (data, buffer, *, timeout=None))]
    fn call_into(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        buffer: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        let mut target = Target::new(buffer)?;
        self.call_for(py, Some(data), timeout, |reply| {
            let out = target.as_slice();
            if reply.length > out.len() {
                let message =
                    format!("the reply has {} bytes, and the buffer {}: pass a larger one", reply.length, out.len());
                return Err(exception(py, "MessageTooLongError", &message, |attributes| {
                    attributes.set_item("size", reply.length)?;
                    attributes.set_item("limit", out.len())
                }));
            }
            reply.copy_to(&mut out[..reply.length]);
            Ok(reply.length)
        })
    }

    /// Send ``data`` one way: return once the server has received it.
    ///
    /// Received is not handled: nobody tells how that ends, and the server's death after it loses the message.
    /// ``timeout=0`` delivers if a thread sleeps in ``receive`` (seL4's non-blocking send): it is woken, and has 0.1 s to take
    /// the message.
    ///
    /// Raises:
    ///     TimedOut: Not received within ``timeout`` seconds; ``phase`` is "send": nothing happened.
    ///     PeerDiedError: The server died or closed the port. ``phase`` "send": nothing happened; "receive": it may have
    ///         received it.
    ///     CallCancelledError: The port has revoked this gate's badge: nothing happened.
    ///     AccessDeniedError: The port does not admit this process: nothing happened.
    ///     MessageTooLongError: More bytes than the port's ``message_size``.
    ///
    /// Example:
    ///     >>> import threading, underpass
    ///     >>> with underpass.Port() as port:
    ///     ...     sender = threading.Thread(target=port.gate().send, args=(b"news",))
    ///     ...     sender.start()
    ///     ...     port.receive(timeout=5).data
    ///     ...     sender.join()
    ///     b'news'
    #[pyo3(signature = (data, *, timeout=None))]
    fn send(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        self.handle.check(py)?;
        let timeout = Timeout::new(timeout)?;
        let data = Parcel::new(data)?;
        let allowed = timeout.deadline("send");
        let deadline = allowed.map_err(|error| self.failed(py, timeout, NOT_RECEIVED, error))?;
        let (client, kernel) = self.bound(py, timeout, deadline, NOT_RECEIVED)?;
        let sent = timeout.judge(client.send(kernel, &data, deadline));
        sent.map_err(|error| self.failed(py, timeout, NOT_RECEIVED, error))
    }

    /// Set ``bits`` of the port's own word, for `Port.receive_any`: never blocks, and needs no admission.
    ///
    /// A process that only looks at the space (`Space.look`) has to be let in by a call before.
    ///
    /// Bits that were set before are the same bits (seL4's signal). A server that has died and did not close the port is
    /// noticed by the second notification that nobody takes, or by one that should have woken it.
    ///
    /// Args:
    ///     bits: 1 to 2**64 - 1.
    ///
    /// Raises:
    ///     PeerDiedError: The port was closed, or its server is known to have died.
    ///     CallCancelledError: The port has revoked this gate's badge: nothing happened. A gate that is not bound, in this
    ///         process, is not told: its bits are set as those of a gate without a badge would be.
    ///     MisuseError: This process only looks at the space, and has not called yet.
    #[pyo3(signature = (bits=1))]
    fn notify(&self, py: Python<'_>, bits: i128) -> PyResult<()> {
        self.handle.check(py)?;
        let bits = u64::try_from(bits)
            .ok()
            .filter(|bits| *bits != 0)
            .ok_or_else(|| PyValueError::new_err(format!("bits={bits} is not between 1 and 2**64 - 1")))?;
        let failed = |error| self.failed(py, Timeout::NoWait, "not notified", error);
        match self.binding().bound.get() {
            // Its channel tells of a revocation; and those who cannot write the port's words have others.
            Some(bound) => bound.client.notify(self.handle.kernel(), bits),
            None if self.handle.is_onlooker() => {
                Err(Error::Misuse("who can only read its space is let in by a call: call or send first".into()))
            }
            None => notify(self.handle.kernel(), &self.words, Life(self.handle.header.creator), bits),
        }
        .map_err(failed)
    }

    /// Bytes of the longest message.
    #[getter]
    fn message_size(&self) -> usize {
        self.message_size
    }

    /// The number that the port gave this gate; 0: none.
    #[getter]
    fn badge(&self) -> u64 {
        self.badge.number
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<GateStatistics> {
        self.handle.look(py)?;
        let bound = self.binding().bound.get();
        let (in_progress, abandoned, in_line) = bound.map_or((0, 0, 0), |bound| bound.client.in_progress());
        Ok(GateStatistics {
            bound: bound.is_some_and(|bound| !bound.client.is_revoked()),
            in_progress,
            abandoned,
            in_line,
            waiters: self.handle.waiters(),
            badge: self.badge.number,
            message_size: self.message_size,
        })
    }

    /// End this handle: the server forgets what it shared with this process. Idempotent.
    fn close(&self) {
        if let Some(bound) = self.binding().bound.get() {
            self.handle.touch();
            bound.client.close();
        }
        self.handle.close();
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Travel)> {
        let (open, mut travel) = self.handle.reduce(py)?;
        travel.6 = write_badge(self.badge);
        Ok((open, travel))
    }

    fn __repr__(&self) -> String {
        let name = self.handle.label();
        let bound = match self.binding().bound.get() {
            Some(bound) if bound.client.is_revoked() => "revoked",
            Some(_) => "bound",
            None => "not bound yet",
        };
        let badge = if self.badge.number == 0 { String::new() } else { format!(", badge {}", self.badge.number) };
        let state = if self.handle.is_closed() { ", closed" } else { "" };
        format!("<Gate to {name}, {bound}{badge}{state}>")
    }
}
