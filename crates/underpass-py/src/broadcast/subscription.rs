//! `underpass.Subscription`: one who reads a broadcast.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::broadcast::{self as core, Message, Reader};
use underpass_core::{Error, Result};

use super::{Broadcast, failed};
use crate::bytes::Target;
use crate::error::{is, plain};
use crate::handle::Handle;
use crate::lease::Lease;
use crate::object::{self, SharedObject};
use crate::timeout::Timeout;

/// One who reads a `Broadcast`: its place there, and what it lost.
///
/// Made by ``Broadcast.subscribe``. It is this process's own: it does not pickle. Threads that share one share its messages. Where messages
/// are overwritten a forked child's copy goes on by itself, and nobody notices if one is dropped. Where the writer waits, a forked copy gets
/// nothing, and ``close`` lets the writer go on, as does forgetting it, once its leases have ended.
///
/// Ready for `wait_any` when a message is there, or when ``get`` would say that none will come.
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Subscription {
    pub handle: Arc<Handle>,
    broadcast: Arc<core::Broadcast>,
    pub core: Arc<Reader>,
}

/// A snapshot of a subscription.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct SubscriptionStatistics {
    /// Messages that were overwritten before it came to them, as far as it has noticed.
    lost: u64,
    /// Messages that were published and not got yet; some may be overwritten.
    behind: u64,
}

#[pymethods]
impl SubscriptionStatistics {
    fn __repr__(&self) -> String {
        format!("SubscriptionStatistics(lost={}, behind={})", self.lost, self.behind)
    }
}

impl Subscription {
    pub fn new(py: Python<'_>, broadcast: &Broadcast, reader: Reader) -> PyResult<Py<Self>> {
        let handle = Arc::new(broadcast.handle.again("subscription"));
        let (core, broadcast) = (Arc::new(reader), broadcast.core.clone());
        Py::new(py, object::base(&handle).add_subclass(Self { handle, broadcast, core }))
    }

    /// The writer no longer waits for this one.
    fn leave(&self) {
        if self.broadcast.is_lossless() {
            self.handle.touch();
            self.core.leave(self.handle.kernel());
        }
    }

    #[inline]
    fn get_for<'py>(&self, py: Python<'py>, timeout: Timeout) -> PyResult<Bound<'py, PyBytes>> {
        let mut got = None;
        self.hand(py, "get", timeout, |message| {
            got = Some(copied(py, &message)?);
            Ok(())
        })?;
        got.ok_or_else(|| self.failed(py, timeout, Error::Refused))
    }

    #[inline]
    fn hand(
        &self,
        py: Python<'_>,
        verb: &str,
        timeout: Timeout,
        sink: impl FnMut(Message<'_>) -> Result<()>,
    ) -> PyResult<()> {
        self.handle.check(py)?;
        let done = timeout.within(verb, |deadline| self.core.get(self.handle.kernel(), deadline, sink));
        done.map_err(|error| self.failed(py, timeout, error))
    }

    fn take_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<Lease> {
        self.handle.check(py)?;
        match timeout.within("take", |deadline| self.core.take(self.handle.kernel(), deadline)) {
            Ok(taken) => Ok(Lease::of_subscription(self, taken)),
            Err(error) => Err(self.failed(py, timeout, error)),
        }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, timeout: Timeout, error: Error) -> PyErr {
        let detail = match error {
            Error::TimedOut(_) => Broadcast::absent(&self.handle, &self.broadcast),
            _ => String::new(),
        };
        failed(py, &self.handle, "gave nothing", timeout, detail, error)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A message as Python's bytes; the failure stays set in the interpreter.
#[inline]
fn copied<'py>(py: Python<'py>, message: &Message<'_>) -> Result<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, message.length, |out| {
        message.copy_to(out);
        Ok(())
    })
    .map_err(|error| {
        error.restore(py);
        Error::Refused
    })
}

#[pymethods]
impl Subscription {
    /// Get the next message, waiting for one. What was overwritten before is skipped, and counted in ``lost``.
    ///
    /// A writer that waits for this reader may overwrite the message from then on, and is woken. Whoever publishes wakes all that wait, in no order that is promised. The message is whole, whatever the writer does meanwhile.
    ///
    /// Raises:
    ///     TimedOut: No message within ``timeout`` seconds; the text says who publishes.
    ///     EndOfStream: It was shut down, and everything was got.
    ///     PeerDiedError: The writer has died, and everything was got. Told once: the next call waits for a successor.
    #[pyo3(signature = (*, timeout=None))]
    fn get<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyBytes>> {
        self.get_for(py, Timeout::new(timeout)?)
    }

    /// Get the next message or raise WouldBlock at once.
    fn get_nowait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.get_for(py, Timeout::NoWait)
    }

    /// Get the next message into a writable buffer, and its length. One that does not fit stays the next.
    ///
    /// What is in the buffer when this raises is nothing: bytes of a message that was overwritten meanwhile may be there.
    #[pyo3(signature = (buffer, *, timeout=None))]
    fn get_into(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<usize> {
        let timeout = Timeout::new(timeout)?;
        let mut target = Target::new(buffer)?;
        let mut length = 0;
        self.hand(py, "get_into", timeout, |message| {
            let out = target.as_slice();
            if message.length > out.len() {
                return Err(Error::Misuse(format!(
                    "the next message has {} bytes, and the buffer {}: pass a larger one",
                    message.length,
                    out.len()
                )));
            }
            length = message.length;
            message.copy_to(&mut out[..length]);
            Ok(())
        })?;
        Ok(length)
    }

    /// Take the next message, waiting for one as `get` does, and read it in place until the lease ends: ``with mine.take() as lease``.
    ///
    /// Nothing is copied. With ``when_full="wait"`` the lease holds the writer back as what is not got yet does, until it ends, is forgotten,
    /// or this process dies; the subscription's ``close`` does not end it. With ``"overwrite"`` nothing holds the writer back: the message may be
    /// overwritten while it is looked at, and then the end of the lease raises ResetError and counts it as lost. So act on what was read after
    /// that, and hand no such view to code that would be confused by bytes that change.
    #[pyo3(signature = (*, timeout=None))]
    fn take(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Lease> {
        self.take_for(py, Timeout::new(timeout)?)
    }

    /// Take the next message or raise WouldBlock at once.
    fn take_nowait(&self, py: Python<'_>) -> PyResult<Lease> {
        self.take_for(py, Timeout::NoWait)
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.get_for(py, Timeout::Seconds(None)) {
            Err(error) if is(py, &error, "EndOfStream") => Ok(None),
            other => other.map(Some),
        }
    }

    /// How many messages were overwritten before this one came to them, or had read them in place. Exact: those between what was got last and what was got before.
    #[getter]
    fn lost(&self) -> u64 {
        self.core.lost()
    }

    /// How many messages were published and not got yet; some of them may be overwritten by now.
    #[getter]
    fn behind(&self, py: Python<'_>) -> PyResult<u64> {
        self.handle.look(py)?;
        Ok(self.core.behind())
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<SubscriptionStatistics> {
        Ok(SubscriptionStatistics { lost: self.lost(), behind: self.behind(py)? })
    }

    /// End it. Idempotent; a writer that waits for it goes on.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.broadcast.is_lossless() && !self.handle.is_closed() {
            self.handle.point(py)?;
        }
        self.leave();
        self.handle.close();
        Ok(())
    }

    /// Remove nothing: the name is the broadcast's. Raises MisuseError.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        let why = format!("{} has no name of its own: unlink the broadcast", self.handle.title);
        Err(plain(py, "MisuseError", &why))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.close(py)
    }

    fn __reduce__(&self) -> PyResult<()> {
        let why = format!("{} is this process's own: hand on the broadcast, and subscribe there", self.handle.title);
        Err(PyTypeError::new_err(why))
    }

    fn __repr__(&self) -> String {
        let closed = if self.handle.is_closed() { ", closed" } else { "" };
        let label = self.handle.label();
        format!("<Subscription of {label}, {} behind, {} lost{closed}>", self.core.behind(), self.core.lost())
    }
}
