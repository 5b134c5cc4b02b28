//! `underpass.Port`: the right to receive calls, and what is received.

use std::sync::Arc;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::Error;
use underpass_core::kernel::Wanted;
use underpass_core::port::{Admission, Call, Census, MOST_BYTES, Received, SameUser, Server, Wish};
use underpass_shm::forks;
use underpass_shm::header::{Kind, WORDS};
use underpass_shm::layout::port::PortWords;
use underpass_shm::place::Placed;
use underpass_shm::region::Extent;

use crate::admit::{Admit, Asked};
use crate::error::{Context, plain, raise};
use crate::gate::Gate;
use crate::handle::Handle;
use crate::number::{count, mode, whole};
use crate::object::{self, SharedObject};
use crate::request::{self, Notified, Request};
use crate::serving;
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
///     admit: Called with the `Peer` of each process that comes to call, by a thread that receives; only one for which
///         it is true is let in, the others get AccessDeniedError. None lets in processes of the same user, and root's.
///         If it raises, the client is refused and the exception goes to ``sys.unraisablehook``; Ctrl-C ends the receive.
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
    pub handle: Arc<Handle>,
    pub server: Arc<Server>,
    admit: Option<Arc<Admit>>,
    /// Who made it, as [`Handle::asker`] says: a forked child does not receive, nor another process of the lab.
    maker: u32,
    /// The state in which its requests are born.
    pub unanswered: u8,
}

/// A snapshot of a port.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct PortStatistics {
    /// Clients that were let in, and live.
    clients: usize,
    /// Calls that wait to be taken.
    queued: usize,
    /// Threads of the server that wait for one.
    receivers: u32,
    /// Bits of `Gate.notify` that wait for `receive_any`.
    bits: u64,
    /// Clients that were not let in.
    refused: u64,
    /// Longest message.
    message_size: usize,
    /// Threads that sleep here, wherever they are: receivers, and callers until their reply.
    waiters: usize,
}

#[pymethods]
impl PortStatistics {
    fn __repr__(&self) -> String {
        let Self { clients, queued, receivers, bits, refused, message_size, waiters } = self;
        format!(
            "PortStatistics(clients={clients}, queued={queued}, receivers={receivers}, bits={bits:#x}, \
             refused={refused}, message_size={message_size}, waiters={waiters})"
        )
    }
}

fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    message_size: i64,
    mode: Option<u32>,
    admit: Option<Py<PyAny>>,
) -> PyResult<PyClassInitializer<Port>> {
    if let Some(admit) = &admit {
        callable(admit.bind(py), "admit=")?;
    }
    let size = usize::try_from(message_size).ok().filter(|size| *size <= MOST_BYTES).ok_or_else(|| {
        PyValueError::new_err(format!("message_size={message_size} is not between 0 and {MOST_BYTES}"))
    })?;
    let wanted = Wanted {
        name,
        kind: Kind::Port,
        extent: Extent::whole(WORDS + size_of::<PortWords>()),
        // Twice: nothing else in the file tells a damaged size, of which each gate makes memory.
        parameters: [size as u64, !(size as u64), 0, 0, 0, 0, 0, 0],
        mode,
        format: &|_| Ok(()),
    };
    let (handle, reception) = Handle::create_port(py, space, &wanted, admit.is_some())?;
    let handle = Arc::new(handle);
    let Some(words) = Placed::at(&handle.region, WORDS) else {
        return Err(raise(py, &Context::of(&handle.title, "not created"), Error::Corrupted("too short".into())));
    };
    let admit = admit.map(|function| Arc::new(Admit::new(handle.clone(), function)));
    let admission: Box<dyn Admission> = match &admit {
        Some(admit) => Box::new(Asked(admit.clone())),
        None => Box::new(SameUser),
    };
    let server = Arc::new(Server::new(words, size, reception, admission, handle.is_shared()));
    let (maker, unanswered) = (handle.asker(), request::unanswered(handle.is_stepped()));
    Ok(object::base(&handle).add_subclass(Port { handle, server, admit, maker, unanswered }))
}

fn callable(function: &Bound<'_, PyAny>, what: &str) -> PyResult<()> {
    if function.is_callable() {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!("{what} is not callable: '{}'", function.get_type().name()?)))
}

impl Port {
    /// This process has made it.
    fn is_here(&self) -> bool {
        self.maker == forks::epoch() || self.maker == self.handle.asker()
    }

    /// Refuses a closed port, and one of a process that this one was forked from.
    pub fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.check_open(py)?;
        self.check_here(py)
    }

    /// Refuses one of a process that this one was forked from.
    pub fn check_here(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        let why = "it belongs to the process that this one was forked from: open a Gate to call it".into();
        Err(raise(py, &Context::of(&self.handle.title, "cannot receive here"), Error::Misuse(why)))
    }

    fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        if !self.handle.is_plain() && self.handle.is_closed() {
            return Err(self.shut_already(py));
        }
        self.handle.check(py)
    }

    /// A port is not opened again: it has one life.
    #[cold]
    fn shut_already(&self, py: Python<'_>) -> PyErr {
        let text = format!("{}: it was closed here; make it anew to receive again", self.handle.title);
        plain(py, "ClosedError", &text)
    }

    fn receive_wish(slf: &Bound<'_, Self>, wish: Wish<'_>, timeout: Timeout) -> PyResult<Received> {
        let (py, port) = (slf.py(), slf.get());
        port.check(py)?;
        let received = timeout.within("receive", |deadline| port.server.receive(port.handle.kernel(), wish, deadline));
        received.map_err(|error| port.unreceived(py, timeout, error))
    }

    /// Says that no call came.
    #[cold]
    pub fn unreceived(&self, py: Python<'_>, timeout: Timeout, error: Error) -> PyErr {
        if error == Error::Closed {
            return self.shut_already(py);
        }
        let context = Context {
            object: &self.handle.title,
            failed: "received no call",
            time: timeout.text(),
            detail: match self.server.census().clients {
                1 => "1 client knows it".into(),
                clients => format!("{clients} clients know it"),
            },
        };
        raise(py, &context, error)
    }

    fn receive_after(slf: &Bound<'_, Self>, last: Option<&Call>, timeout: Timeout) -> PyResult<Request> {
        match Self::receive_wish(slf, Wish { last, ..Wish::default() }, timeout)? {
            Received::Call(call) => Self::taken(slf, call),
            Received::Bits(_) => unreachable!("bits come to those who wish for them"),
        }
    }

    fn taken(slf: &Bound<'_, Self>, call: Call) -> PyResult<Request> {
        let data = slf.get().request(slf.py(), &call)?.unbind();
        Ok(Request::new(slf.clone().unbind(), call, data))
    }

    /// Copies what was sent.
    #[inline]
    pub fn request<'py>(&self, py: Python<'py>, call: &Call) -> PyResult<Bound<'py, PyBytes>> {
        PyBytes::new_with(py, call.length(), |out| {
            self.server.request(self.handle.kernel(), call, out);
            Ok(())
        })
    }

    fn shut(&self) {
        if self.is_here() && !self.handle.is_closed() {
            self.handle.touch();
            self.server.close(self.handle.kernel());
            self.handle.remove_port();
            if let Some(admit) = &self.admit {
                admit.forget();
            }
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
    #[pyo3(signature = (*, message_size=4096, admit=None))]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = whole)] message_size: i64,
        admit: Option<Py<PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, message_size, None, admit)
    }

    /// Make a port with a name, or take over one whose receiver has died. Raises ExistsError if it lives.
    #[staticmethod]
    #[pyo3(signature = (name, *, message_size=4096, admit=None, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] message_size: i64,
        admit: Option<Py<PyAny>>,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), message_size, mode, admit)?)
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

    /// Wait for a call, or for bits of `Gate.notify`: what is there first; of both, the bits.
    ///
    /// All bits that were set since the last time come at once, as a `Notified`. Only threads in here take them; they
    /// are for nobody in particular (seL4's bound notification).
    ///
    /// Raises:
    ///     TimedOut: Nothing came within ``timeout`` seconds.
    ///     ClosedError: The port was closed.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> with underpass.Port() as port:
    ///     ...     port.gate().notify(0b100)
    ///     ...     port.receive_any()
    ///     Notified(bits=0x4)
    #[pyo3(signature = (*, timeout=None))]
    fn receive_any<'py>(slf: &Bound<'py, Self>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match Self::receive_wish(slf, Wish { bits: true, ..Wish::default() }, Timeout::new(timeout)?)? {
            Received::Call(call) => Ok(Bound::new(py, Self::taken(slf, call)?)?.into_any()),
            Received::Bits(bits) => Ok(Bound::new(py, Notified::new(bits))?.into_any()),
        }
    }

    /// Answer a request and wait for the next call, in one step. One that was sent one way gets no ``reply``.
    #[pyo3(signature = (request, reply=None, *, timeout=None))]
    fn reply_wait(
        slf: &Bound<'_, Self>,
        request: &Bound<'_, Request>,
        reply: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Request> {
        let timeout = Timeout::new(timeout)?;
        // What may not wait does not reply either.
        let allowed = timeout.deadline("reply_wait");
        allowed.map_err(|error| slf.get().unreceived(slf.py(), timeout, error))?;
        if reply.is_some() || !request.get().call.is_one_way() {
            request.get().reply(slf.py(), reply)?;
        }
        Self::receive_after(slf, Some(&request.get().call), timeout)
    }

    /// Answer call after call with what ``handler(request)`` returns, until the port is closed.
    ///
    /// None is an empty reply, unless the handler has replied itself. If it raises, the call fails at its caller with
    /// CallAbortedError, and the exception ends this loop: ``serve`` raises it. With several ``threads`` (this one, and
    /// ``threads - 1`` that end with it) the first exception, Ctrl-C too, ends all of them; each finishes the call that
    /// it has.
    ///
    /// Args:
    ///     handler: Called with each request, by several threads at once if there are several.
    ///     threads: How many serve. In the lab, which runs no threads of the system, 1: more raise MisuseError.
    #[pyo3(signature = (handler, *, threads=1))]
    fn serve(slf: &Bound<'_, Self>, handler: &Bound<'_, PyAny>, threads: i64) -> PyResult<()> {
        callable(handler, "the handler")?;
        let run = if slf.get().handle.is_stepped() { serving::requests::<true> } else { serving::requests::<false> };
        serving::serve(slf, handler, threads, run)
    }

    /// Answer call after call with ``handler(data)``, bytes to bytes, until the port is closed: the fastest loop.
    ///
    /// If the handler raises, the call fails at its caller with CallAbortedError, and the exception ends this loop, and
    /// those of the other ``threads``, as in `serve`; in the lab there is one.
    #[pyo3(signature = (handler, *, threads=1))]
    fn serve_bytes(slf: &Bound<'_, Self>, handler: &Bound<'_, PyAny>, threads: i64) -> PyResult<()> {
        callable(handler, "the handler")?;
        let run = if slf.get().handle.is_stepped() { serving::bytes::<true> } else { serving::bytes::<false> };
        serving::serve(slf, handler, threads, run)
    }

    /// The right to call this port; picklable.
    ///
    /// A gate with a ``badge`` is known by it: `Request.badge` is that number, whoever holds the gate (seL4). It keeps it
    /// when it is pickled. The port alone can make one: a gate that is opened by name has badge 0.
    ///
    /// Args:
    ///     badge: 0 to 2**64 - 1; 0 is none.
    #[pyo3(signature = (*, badge=0))]
    fn gate(&self, py: Python<'_>, badge: i128) -> PyResult<Py<Gate>> {
        self.check_open(py)?;
        let number = u64::try_from(badge)
            .map_err(|_| PyValueError::new_err(format!("badge={badge} is not between 0 and 2**64 - 1")))?;
        Gate::badged(py, self.handle.again(""), self.server.badge(number))
    }

    /// End all gates of a badge; returns how many calls of theirs were waiting.
    ///
    /// Those calls, and all that these gates attempt later, fail with CallCancelledError: nothing happened. Calls that
    /// were received are answered as ever, and other badges notice nothing. A gate that is made with the same badge
    /// afterwards is a new one. Only a gate that has not called or sent yet, in its process, does not know of it: its
    /// `Gate.notify`, which needs no admission and tells no badge, still sets bits.
    #[pyo3(signature = (badge))]
    fn revoke(&self, py: Python<'_>, badge: i128) -> PyResult<usize> {
        self.check(py)?;
        let number = u64::try_from(badge).ok().filter(|number| *number != 0).ok_or_else(|| {
            PyValueError::new_err(format!(
                "badge={badge} is not between 1 and 2**64 - 1: gates without a badge cannot be told apart"
            ))
        })?;
        let revoked = self.server.revoke(self.handle.kernel(), number);
        revoked.map_err(|error| raise(py, &Context::of(&self.handle.title, "badge not revoked"), error))
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
    fn statistics(&self, py: Python<'_>) -> PyResult<PortStatistics> {
        self.handle.look(py)?;
        let Census { clients, queued, receivers, bits, refused } = self.server.census();
        let (message_size, waiters) = (self.server.message_size(), self.handle.waiters());
        Ok(PortStatistics { clients, queued, receivers, bits, refused, message_size, waiters })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.admit.as_ref().map_or(Ok(()), |admit| admit.traverse(&visit))
    }

    fn __clear__(&self) {
        if let Some(admit) = &self.admit {
            admit.forget();
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
        let Census { clients, queued, .. } = self.server.census();
        let (clients, queued) = (count(clients, "client"), count(queued, "call"));
        format!("<Port {name}, {clients}, {queued} waiting{}{state}>", self.handle.waiters_text())
    }
}
