//! `underpass.Port`: the right to receive calls, and what is received.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::Error;
use underpass_core::kernel::Wanted;
use underpass_core::port::{Call, MOST_BYTES, Server};
use underpass_shm::header::{Kind, WORDS};
use underpass_shm::layout::port::PortWords;
use underpass_shm::place::Placed;
use underpass_shm::space::socket_name;
use underpass_shm::{forks, socket};

use crate::bytes::Source;
use crate::error::{Context, raise};
use crate::gate::Gate;
use crate::handle::Handle;
use crate::object::{self, SharedObject};
use crate::peer::Peer;
use crate::space::Space;
use crate::timeout::Timeout;

/// The right to receive calls, in the process that makes it.
///
/// Clients open a `Gate` by the port's name, or get one as a handle. Each shares A-stacks with this port alone (LRPC:
/// Bershad et al., TOCS 1990); ``reply_wait`` answers and waits in one step, so that a reply never blocks (L4). While
/// the server spins, a call makes no system call. Other threads of this process may receive too.
///
/// A name whose receiver has died is taken over by ``create``. A client that dies costs nothing but its memory.
///
/// Args:
///     message_size: Bytes of the longest request and of the longest reply; each client reserves eight times that.
///
/// Example:
///     >>> import threading, underpass
///     >>> port = underpass.Port()
///     >>> server = threading.Thread(target=port.serve_bytes, args=(bytes.upper,))
///     >>> server.start()
///     >>> port.gate().call(b"hello", timeout=5)
///     b'HELLO'
///     >>> port.close(); server.join()
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Port {
    handle: Arc<Handle>,
    server: Server,
    /// The epoch of forks in which it was made: a child does not receive.
    epoch: u32,
}

/// A snapshot of a port.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct PortStatistics {
    /// Clients that have introduced themselves.
    clients: usize,
    /// Longest message.
    message_size: usize,
    /// Threads that sleep here, wherever they are: receivers, and callers until their reply.
    waiters: usize,
}

#[pymethods]
impl PortStatistics {
    fn __repr__(&self) -> String {
        format!(
            "PortStatistics(clients={}, message_size={}, waiters={})",
            self.clients, self.message_size, self.waiters
        )
    }
}

/// A call that was received. Reply once; one that is forgotten fails at its caller with CallAbortedError.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Request {
    port: Py<Port>,
    call: Call,
    data: Py<PyBytes>,
    replied: AtomicBool,
}

impl Request {
    /// Fails the call at its caller, unless it was answered.
    fn give_up(&self) {
        if !self.replied.swap(true, AcqRel) {
            let port = self.port.get();
            port.server.abort(port.handle.kernel(), &self.call);
        }
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

    /// The number its gate was given; 0 so far.
    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute of each request")]
    fn badge(&self) -> u64 {
        0
    }

    /// Who called.
    #[getter]
    fn peer(&self, py: Python<'_>) -> PyResult<Peer> {
        let port = self.port.get();
        let (linux, peer) = (port.handle.home(py)?, self.call.peer());
        Ok(Peer {
            pid: peer.pid,
            tid: linux.space().lives().tid(self.call.caller()),
            uid: peer.uid,
            gid: peer.gid,
            kernel: linux.clone(),
            life: self.call.client(),
        })
    }

    /// Answer, once. Never blocks; the caller may be gone.
    ///
    /// Raises:
    ///     MisuseError: It was answered before.
    ///     MessageTooLongError: More than the port's ``message_size``; the request can still be answered.
    #[pyo3(signature = (reply=None))]
    fn reply(&self, py: Python<'_>, reply: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let source = reply.map(Source::new).transpose()?;
        let port = self.port.get();
        let context = Context::of(&port.handle.title, "call not answered");
        let data = source.as_ref().map_or(&[][..], Source::as_slice);
        if data.len() > port.server.message_size() {
            let error = Error::TooLong { size: data.len(), limit: port.server.message_size() };
            return Err(raise(py, &context, error));
        }
        if self.replied.swap(true, AcqRel) {
            return Err(raise(py, &context, Error::Misuse("it was answered before".into())));
        }
        port.server.reply(port.handle.kernel(), &self.call, data).map_err(|error| raise(py, &context, error))
    }

    fn __repr__(&self) -> String {
        format!("<Request of {} bytes from pid {}>", self.call.length(), self.call.peer().pid)
    }
}

fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    message_size: i64,
) -> PyResult<PyClassInitializer<Port>> {
    let size = usize::try_from(message_size).ok().filter(|size| *size <= MOST_BYTES).ok_or_else(|| {
        PyValueError::new_err(format!("message_size={message_size} is not between 0 and {MOST_BYTES}"))
    })?;
    let wanted = Wanted {
        name,
        kind: Kind::Port,
        size: WORDS + size_of::<PortWords>(),
        parameters: [size as u64, 0, 0, 0, 0, 0, 0, 0],
        format: &|_| Ok(()),
    };
    let listener = std::cell::Cell::new(None);
    let listen = |handle_space: &underpass_shm::space::Space, header: &underpass_shm::header::Header| {
        let bound = socket::listen(
            handle_space.directory(),
            &socket_name(header),
            &handle_space.describe(name.unwrap_or("a port")),
        )?;
        listener.set(Some(bound));
        Ok(())
    };
    let handle = Arc::new(Handle::create_port(py, space, &wanted, &listen)?);
    let words: Option<Placed<PortWords>> = Placed::at(&handle.region, WORDS);
    match (words, listener.take()) {
        (Some(words), Some(listener)) => {
            let server = Server::new(words, size, listener);
            Ok(object::base(&handle).add_subclass(Port { server, handle, epoch: forks::epoch() }))
        }
        _ => Err(raise(py, &Context::of(&handle.title, "not created"), Error::Corrupted("too short".into()))),
    }
}

impl Port {
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        if self.epoch == forks::epoch() {
            return Ok(());
        }
        let why = "it belongs to the process that this one was forked from: open a Gate to call it".into();
        Err(raise(py, &Context::of(&self.handle.title, "cannot receive here"), Error::Misuse(why)))
    }

    fn receive_after(slf: &Bound<'_, Self>, last: Option<&Call>, timeout: Timeout) -> PyResult<Request> {
        let (py, port) = (slf.py(), slf.get());
        port.check(py)?;
        let received = timeout.judge(port.server.receive(port.handle.kernel(), last, timeout.deadline()));
        let call = received.map_err(|error| {
            let context = Context {
                object: &port.handle.title,
                failed: "received no call",
                time: timeout.text(),
                detail: format!("{} clients know it", port.server.clients()),
            };
            raise(py, &context, error)
        })?;
        let data = port.request(py, &call)?.unbind();
        Ok(Request { port: slf.clone().unbind(), call, data, replied: AtomicBool::new(false) })
    }

    #[inline]
    fn request<'py>(&self, py: Python<'py>, call: &Call) -> PyResult<Bound<'py, PyBytes>> {
        PyBytes::new_with(py, call.length(), |out| {
            self.server.request(call, out);
            Ok(())
        })
    }

    /// The fastest loop: bytes in, bytes out, until the port is closed.
    fn serve_loop(&self, py: Python<'_>, handler: &Bound<'_, PyAny>) -> PyResult<()> {
        let kernel = self.handle.kernel();
        let mut last: Option<Call> = None;
        loop {
            let call = match self.server.receive(kernel, last.as_ref(), underpass_core::Deadline::Never) {
                Ok(call) => call,
                Err(Error::Closed) => return Ok(()),
                Err(error) => return Err(raise(py, &Context::of(&self.handle.title, "received no call"), error)),
            };
            let answered = self.request(py, &call).and_then(|data| handler.call1((data,))).and_then(|reply| {
                let source = Source::new(&reply)?;
                self.server
                    .reply(kernel, &call, source.as_slice())
                    .map_err(|error| raise(py, &Context::of(&self.handle.title, "call not answered"), error))
            });
            if let Err(error) = answered {
                self.server.abort(kernel, &call);
                return Err(error);
            }
            // A handler that runs no Python code would keep Ctrl-C out.
            py.check_signals()?;
            last = Some(call);
        }
    }

    fn shut(&self) {
        if self.epoch == forks::epoch() && !self.handle.is_closed() {
            self.server.close(self.handle.kernel());
            self.handle.remove_port();
        }
        self.handle.close();
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shut();
    }
}

#[pymethods]
impl Port {
    #[new]
    #[pyo3(signature = (*, message_size=4096))]
    fn new(py: Python<'_>, message_size: i64) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, message_size)
    }

    /// Make a port with a name, or take over one whose receiver has died. Raises ExistsError if it lives.
    #[staticmethod]
    #[pyo3(signature = (name, *, message_size=4096, space=None))]
    fn create(py: Python<'_>, name: &str, message_size: i64, space: Option<&Bound<'_, Space>>) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), message_size)?)
    }

    /// Wait for a call.
    ///
    /// Raises:
    ///     TimedOut: None came within ``timeout`` seconds.
    ///     ClosedError: The port was closed.
    #[pyo3(signature = (*, timeout=None))]
    fn receive(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Request> {
        Self::receive_after(slf, None, Timeout::new(timeout)?)
    }

    /// Answer a request and wait for the next call, in one step.
    #[pyo3(signature = (request, reply=None, *, timeout=None))]
    fn reply_wait(
        slf: &Bound<'_, Self>,
        request: &Bound<'_, Request>,
        reply: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Request> {
        let timeout = Timeout::new(timeout)?;
        request.get().reply(slf.py(), reply)?;
        Self::receive_after(slf, Some(&request.get().call), timeout)
    }

    /// Answer call after call with what ``handler(request)`` returns, until the port is closed.
    ///
    /// None is an empty reply, unless the handler has replied itself. If it raises, the call fails at its caller with
    /// CallAbortedError, and the exception ends this loop.
    fn serve(slf: &Bound<'_, Self>, handler: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut last: Option<Call> = None;
        loop {
            let request = match Self::receive_after(slf, last.as_ref(), Timeout::Seconds(None)) {
                Ok(request) => Bound::new(slf.py(), request)?,
                Err(_) if slf.get().handle.is_closed() => return Ok(()),
                Err(error) => return Err(error),
            };
            let reply = match handler.call1((&request,)) {
                Ok(reply) => reply,
                Err(error) => {
                    // The traceback keeps the request alive, and the caller should not wait for its end.
                    request.get().give_up();
                    return Err(error);
                }
            };
            if !request.get().replied.load(std::sync::atomic::Ordering::Acquire) {
                request.get().reply(slf.py(), Some(&reply).filter(|reply| !reply.is_none()))?;
            }
            last = Some(request.get().call.clone());
        }
    }

    /// Answer call after call with ``handler(data)``, bytes to bytes, until the port is closed: the fastest loop.
    ///
    /// If the handler raises, the call fails at its caller with CallAbortedError, and the exception ends this loop.
    fn serve_bytes(&self, py: Python<'_>, handler: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check(py)?;
        self.serve_loop(py, handler)
    }

    /// The right to call this port; picklable.
    fn gate(&self, py: Python<'_>) -> PyResult<Py<Gate>> {
        self.handle.check(py)?;
        object::opened(py, self.handle.again(""))
    }

    /// Bytes of the longest message.
    #[getter]
    fn message_size(&self) -> usize {
        self.server.message_size()
    }

    /// End the port and its name: calls that wait fail, receivers leave with ClosedError, serve loops return. Idempotent.
    fn close(&self) {
        self.shut();
    }

    /// A frozen snapshot.
    fn statistics(&self) -> PortStatistics {
        PortStatistics {
            clients: self.server.clients(),
            message_size: self.server.message_size(),
            waiters: self.handle.waiters(),
        }
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) {
        self.shut();
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "{}: the right to receive stays in its process; hand port.gate() on instead",
            self.handle.title
        )))
    }

    fn __repr__(&self) -> String {
        let name = self.handle.label();
        let state = if self.handle.is_closed() { ", closed" } else { "" };
        format!("<Port {name}, {} clients{}{state}>", self.server.clients(), self.handle.waiters_text())
    }
}
