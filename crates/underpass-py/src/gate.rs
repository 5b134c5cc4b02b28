//! `underpass.Gate`: the right to call a port.

use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::Error;
use underpass_core::port::{Client, MOST_BYTES, Reply};
use underpass_shm::forks;
use underpass_shm::header::{Kind, WORDS};
use underpass_shm::layout::port::PortWords;
use underpass_shm::life::Life;
use underpass_shm::place::Placed;
use underpass_shm::space::socket_name;

use crate::bytes::{Source, Target};
use crate::error::{Context, exception, raise};
use crate::handle::Handle;
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
    handle: Arc<Handle>,
    words: Placed<PortWords>,
    message_size: usize,
    binding: Binding,
}

/// The channel of this process; a forked child finds its parent's and makes the next.
#[derive(Debug)]
struct Binding {
    epoch: u32,
    client: OnceLock<Client>,
    next: OnceLock<Box<Binding>>,
}

impl Binding {
    fn new() -> Self {
        Self { epoch: forks::epoch(), client: OnceLock::new(), next: OnceLock::new() }
    }

    #[inline]
    fn current(&self) -> &Self {
        if self.epoch == forks::epoch() { self } else { self.next.get_or_init(|| Box::new(Self::new())).current() }
    }
}

impl Object for Gate {
    const KIND: Kind = Kind::Port;
    const PARAMETERS: &'static [&'static str] = &["message_size"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let message_size = usize::try_from(handle.header.parameters[0]).ok().filter(|size| *size <= MOST_BYTES);
        let (Some(words), Some(message_size)) = (Placed::at(&handle.region, WORDS), message_size) else {
            let error = Error::Corrupted("its message_size or its length is out of range".into());
            return Err(raise(py, &Context::of(&handle.title, "not opened"), error));
        };
        let gate = Self { handle: handle.clone(), words, message_size, binding: Binding::new() };
        Ok(object::base(&handle).add_subclass(gate))
    }
}

impl Gate {
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
        let source = data.map(Source::new).transpose()?;
        let data = source.as_ref().map_or(&[][..], Source::as_slice);
        let deadline = timeout.deadline();
        let client = match self.binding.current().client.get() {
            Some(client) => client,
            None => self.bind(py, deadline)?.map_err(|error| self.failed(py, timeout, error))?,
        };
        match timeout.judge(client.call(self.handle.kernel(), data, deadline, sink)) {
            Ok(result) => result,
            Err(error) => Err(self.failed(py, timeout, error)),
        }
    }

    #[cold]
    fn bind(&self, py: Python<'_>, deadline: underpass_core::Deadline) -> PyResult<underpass_core::Result<&Client>> {
        let header = &self.handle.header;
        let connected = Client::connect(
            self.handle.kernel(),
            self.handle.home(py)?.space(),
            self.words.clone(),
            &socket_name(header),
            Life(header.creator),
            self.message_size,
            deadline,
        );
        // Two threads may bind at once; one channel more does no harm, and the server forgets it with this process.
        Ok(connected.map(|client| self.binding.current().client.get_or_init(|| client)))
    }

    #[cold]
    fn failed(&self, py: Python<'_>, timeout: Timeout, error: Error) -> PyErr {
        let context = Context {
            object: &self.handle.title,
            failed: "call not answered",
            time: timeout.text(),
            detail: String::new(),
        };
        raise(py, &context, error)
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

    /// Call: send ``data``, wait for the reply.
    ///
    /// Raises:
    ///     TimedOut: No reply within ``timeout`` seconds. ``phase`` "send": the server has not taken it, nothing happened;
    ///         "receive": it has, and may have acted.
    ///     PeerDiedError: The server died or closed the port, before or during the call; it is told by the kernel.
    ///     CallAbortedError: The server gave the call up without a reply.
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

    /// Bytes of the longest message.
    #[getter]
    fn message_size(&self) -> usize {
        self.message_size
    }

    fn __repr__(&self) -> String {
        let name = self.handle.label();
        let bound = if self.binding.current().client.get().is_some() { "bound" } else { "not bound yet" };
        let state = if self.handle.is_closed() { ", closed" } else { "" };
        format!("<Gate to {name}, {bound}{state}>")
    }
}
