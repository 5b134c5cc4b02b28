//! `underpass.Pipe`.

mod making;
mod putting;
mod room;
mod statistics;

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::kernel::Kernel;
use underpass_core::pipe::{self as core, Bytes, ForReading};
use underpass_core::{Deadline, Error, Result};

use crate::bytes::{LONG, PIPE, Source, Target};
use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::number::{Whole, count, mode, whole};
use crate::object::{self, SharedObject};
use crate::since::Since;
use crate::space::Space;
use crate::timeout::Timeout;
use making::{create, parameters, shape};
use putting::Putting;
pub use room::PipeRoom;
pub use statistics::PipeStatistics;

/// A stream of bytes between any number of writers and readers.
///
/// `write` and `read` finish whole, unlike those of Unix; `read_some` takes what is there. A write or a read of at most half the
/// capacity is one piece: it is done as a whole or not at all, and others' bytes never come between. A longer one is a stream, through
/// which writer and reader copy at the same time: others' bytes may come between, and what ends it in the middle says in
/// ``transferred`` how far it came, and has in ``data`` what was read. What an error does not have is still in the pipe.
///
/// Whoever moves bytes wakes all who wait on the other side, and each goes on that finds enough: they barge. A writer that dies has
/// written whole pieces. An operation that need not wait makes no system call. Follows Zephyr's ``k_pipe``, and ``PIPE_BUF`` of POSIX.
///
/// Args:
///     capacity: Bytes it holds; 1 to 2**28. The memory is the next power of two.
///
/// Raises:
///     ValueError: The capacity is out of range.
///     OutOfSpaceError: The space has not that many bytes left.
///
/// Example:
///     >>> import underpass
///     >>> pipe = underpass.Pipe()
///     >>> pipe.write(b"a line\nanother")
///     >>> pipe.read(7)
///     b'a line\n'
///     >>> pipe.read_some(100)
///     b'another'
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Pipe {
    pub handle: Arc<Handle>,
    pub core: Arc<core::Pipe>,
}

impl Pipe {
    #[inline]
    fn kernel(&self) -> &dyn Kernel {
        self.handle.kernel()
    }

    fn failed(&self, py: Python<'_>, failed: &str, error: Error) -> PyErr {
        raise(py, &Context::of(&self.handle.title, failed), error)
    }

    #[cold]
    fn late(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let (depth, capacity) = (self.core.depth(), self.core.capacity());
        let detail = format!("{depth} of {capacity} bytes are in it");
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }

    /// Moves bytes until the deadline; a long copy lets other threads run.
    #[inline]
    fn moved(
        &self,
        py: Python<'_>,
        verb: &str,
        timeout: Timeout,
        size: usize,
        operation: impl FnOnce(Deadline) -> (usize, Result<()>) + Send,
    ) -> (usize, Result<()>) {
        let (moved, result) = match timeout.deadline(verb) {
            // In the lab, and under a conductor, a wait switches to another process in this very thread.
            Ok(deadline) if size >= LONG && self.handle.is_plain() => py.detach(|| operation(deadline)),
            Ok(deadline) => operation(deadline),
            Err(error) => (0, Err(error)),
        };
        (moved, timeout.judge(result))
    }

    #[inline]
    fn write_for(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Timeout, since: Option<u32>) -> PyResult<()> {
        self.handle.check(py)?;
        let source = Source::new(data, PIPE)?;
        let bytes = source.as_slice();
        self.possible("write", timeout, bytes.len())?;
        let (core, kernel) = (&*self.core, self.kernel());
        match self.moved(py, "write", timeout, bytes.len(), |deadline| core.write(kernel, bytes, deadline, since)) {
            (_, Ok(())) => Ok(()),
            (written, Err(error)) => {
                let failed = format!("took {} of {}", amount(written), count(bytes.len(), "byte"));
                let raised = self.late(py, &failed, timeout, error);
                raised.value(py).setattr("transferred", written)?;
                Err(raised)
            }
        }
    }

    fn read_out(&self, py: Python<'_>, out: &mut [u8], timeout: Timeout, since: Option<u32>) -> (usize, Result<()>) {
        let (core, kernel) = (&*self.core, self.kernel());
        self.moved(py, "read", timeout, out.len(), |deadline| core.read(kernel, out, deadline, since))
    }

    #[cold]
    fn unread(&self, py: Python<'_>, read: usize, size: usize, timeout: Timeout, error: Error) -> PyResult<PyErr> {
        let left = matches!(error, Error::EndOfStream | Error::PeerDied { .. }) && self.core.depth() > 0;
        let hint =
            if left { format!(" (read_some gets the {} that are left)", self.core.depth()) } else { String::new() };
        let failed = format!("gave {} of {}{hint}", amount(read), count(size, "byte"));
        let raised = self.late(py, &failed, timeout, error);
        raised.value(py).setattr("transferred", read)?;
        Ok(raised)
    }

    #[inline]
    fn read_for<'py>(
        &self,
        py: Python<'py>,
        size: usize,
        timeout: Timeout,
        since: Option<u32>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.handle.check(py)?;
        self.possible("read", timeout, size)?;
        let mut done = (0, Ok(()));
        let bytes = PyBytes::new_with(py, size, |out| {
            done = self.read_out(py, out, timeout, since);
            Ok(())
        })?;
        match done {
            (_, Ok(())) => Ok(bytes),
            (read, Err(error)) => {
                let raised = self.unread(py, read, size, timeout, error)?;
                raised.value(py).setattr("data", PyBytes::new(py, &bytes.as_bytes()[..read]))?;
                Err(raised)
            }
        }
    }

    fn read_some_for<'py>(
        &self,
        py: Python<'py>,
        limit: Whole,
        timeout: Timeout,
        since: Option<u32>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.handle.check(py)?;
        let limit = limit.size("limit")?;
        if limit == 0 {
            return Err(PyValueError::new_err("limit=0 reads nothing: pass at least 1"));
        }
        let mut read = None;
        let mut keep = |bytes: Bytes<'_>| {
            let copied = PyBytes::new_with(py, bytes.length, |out| {
                bytes.copy_to(out);
                Ok(())
            });
            read = Some(copied.map_err(|error| {
                error.restore(py);
                Error::Refused
            })?);
            Ok(())
        };
        let (core, kernel) = (&*self.core, self.kernel());
        match timeout.within("read_some", |deadline| core.read_some(kernel, limit, deadline, since, &mut keep)) {
            Ok(_) => read.ok_or_else(|| self.failed(py, "gave nothing", Error::Refused)),
            Err(error) => Err(self.late(py, "gave no byte", timeout, error)),
        }
    }

    /// Refuses what no pipe of this capacity can do at once.
    fn possible(&self, verb: &str, timeout: Timeout, size: usize) -> PyResult<()> {
        let capacity = self.core.capacity();
        if timeout != Timeout::NoWait || size <= capacity as usize {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "{} has a capacity of {}, so {verb}_nowait of {size} would fail for ever: use {verb}",
            self.handle.title,
            count(capacity as usize, "byte"),
        )))
    }
}

/// How far something came, for people to read.
fn amount(moved: usize) -> String {
    if moved == 0 { "none".into() } else { format!("only {moved}") }
}

#[pymethods]
impl Pipe {
    #[new]
    #[pyo3(signature = (capacity=65536))]
    fn new(py: Python<'_>, #[pyo3(from_py_with = whole)] capacity: i64) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, shape(capacity)?)
    }

    /// Make a named pipe. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, capacity=65536, *, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] capacity: i64,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), mode, shape(capacity)?)?)
    }

    /// Open a named pipe, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the pipe of that name, or make it. Raises MismatchError if it exists with another capacity.
    #[staticmethod]
    #[pyo3(signature = (name, capacity=65536, *, space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] capacity: i64,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let shape = shape(capacity)?;
        let create = || create(py, space.map(Bound::get), Some(name), mode, shape);
        object::open_or_create(py, name, space, parameters(shape), create)
    }

    /// Write all the bytes, waiting for room.
    ///
    /// At most half the capacity is one piece; more is a stream, of which ``transferred`` says how many bytes were written. Whoever reads
    /// wakes all waiting writers. That the last reader has died nobody is told: pass a ``timeout``.
    ///
    /// Raises:
    ///     TimedOut: There was no room for all within ``timeout`` seconds.
    ///     EndOfStream: The pipe was shut down.
    ///     ResetError: It was reset while this call waited, or between two chunks of a stream.
    ///     TypeError: Not a bytes-like object.
    #[pyo3(signature = (data, *, timeout=None))]
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        self.write_for(py, data, Timeout::new(timeout)?, None)
    }

    /// Write all the bytes at once, or none and raise WouldBlock.
    ///
    /// Raises:
    ///     WouldBlock: There is no room for all.
    ///     EndOfStream: The pipe was shut down.
    ///     ResetError: It was reset while this call waited for another's copy to end.
    ///     ValueError: More bytes than the capacity.
    fn write_nowait(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.write_for(py, data, Timeout::NoWait, None)
    }

    /// Read ``size`` bytes, waiting for all of them.
    ///
    /// At most half the capacity is one piece, and stays in the pipe until it is all there; more is a stream: what ends it has in
    /// ``data`` what was read. Whoever writes wakes all waiting readers; so does the last registered writer's end.
    ///
    /// Raises:
    ///     TimedOut: Fewer came within ``timeout`` seconds.
    ///     EndOfStream: The pipe was shut down, or its last registered writer left, and fewer are left: `read_some` gets them.
    ///     PeerDiedError: The last registered writer died, and fewer are left.
    ///     ResetError: It was reset while this call waited, or between two chunks of a stream.
    #[pyo3(signature = (size, *, timeout=None))]
    fn read<'py>(&self, py: Python<'py>, size: Whole, timeout: Option<f64>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_for(py, size.size("size")?, Timeout::new(timeout)?, None)
    }

    /// Read ``size`` bytes at once, or none and raise WouldBlock.
    ///
    /// Raises:
    ///     WouldBlock: Fewer are there.
    ///     EndOfStream: As of `read`; so is PeerDiedError.
    ///     ResetError: It was reset while this call waited for another's copy to end.
    ///     ValueError: More bytes than the capacity.
    fn read_nowait<'py>(&self, py: Python<'py>, size: Whole) -> PyResult<Bound<'py, PyBytes>> {
        self.read_for(py, size.size("size")?, Timeout::NoWait, None)
    }

    /// Fill a writable buffer as `read` does, and return how many bytes that are: all it has. What an error has read is in the buffer.
    #[pyo3(signature = (buffer, *, timeout=None))]
    fn read_into(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<usize> {
        self.handle.check(py)?;
        let timeout = Timeout::new(timeout)?;
        let mut target = Target::new(buffer)?;
        let out = target.as_slice();
        match self.read_out(py, out, timeout, None) {
            (read, Ok(())) => Ok(read),
            (read, Err(error)) => Err(self.unread(py, read, out.len(), timeout, error)?),
        }
    }

    /// Read what is there, at least one byte and at most ``limit``, waiting for the first: as ``read`` of Unix does.
    ///
    /// Raises:
    ///     TimedOut: No byte came within ``timeout`` seconds.
    ///     EndOfStream: The pipe was shut down, or its last registered writer left, and nothing is left.
    ///     PeerDiedError: The last registered writer died, and nothing is left.
    ///     ResetError: It was reset while this call waited.
    #[pyo3(signature = (limit, *, timeout=None))]
    fn read_some<'py>(&self, py: Python<'py>, limit: Whole, timeout: Option<f64>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_some_for(py, limit, Timeout::new(timeout)?, None)
    }

    /// Read what is there, at most ``limit`` bytes, or raise WouldBlock at once.
    fn read_some_nowait<'py>(&self, py: Python<'py>, limit: Whole) -> PyResult<Bound<'py, PyBytes>> {
        self.read_some_for(py, limit, Timeout::NoWait, None)
    }

    /// Register this process as a writer for the length of a ``with`` block.
    ///
    /// When the last registered writer leaves, readers see EndOfStream once nothing is left; when it dies, PeerDiedError.
    fn putting(slf: Py<Self>) -> Putting {
        Putting { pipe: slf }
    }

    /// Throw away what is in it. Who waits, and whose stream is under way, leaves with ResetError; the pipe stays open.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        self.core.reset(self.kernel()).map_err(|error| self.failed(py, "not reset", error))
    }

    /// Refuse further writes, for good: writers see EndOfStream, and readers once they have read what is left.
    fn shutdown(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        self.core.shutdown(self.kernel());
        Ok(())
    }

    /// For those who write: what is ready while there is room for a byte.
    #[getter]
    fn room(slf: Bound<'_, Self>) -> PipeRoom {
        PipeRoom::new(slf)
    }

    /// Bytes in it now.
    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<u32> {
        self.handle.look(py)?;
        Ok(self.core.depth())
    }

    /// Bytes that it can hold.
    #[getter]
    fn capacity(&self) -> u32 {
        self.core.capacity()
    }

    /// A frozen snapshot: depth, writers, waiters.
    fn statistics(&self, py: Python<'_>) -> PyResult<PipeStatistics> {
        self.handle.look(py)?;
        Ok(PipeStatistics::of(self))
    }

    /// What tasks wait for that come now, for so many bytes: a reset ends it.
    fn _since(&self, least: usize) -> Since {
        let reading = ForReading { pipe: self.core.clone(), least };
        Since::for_bytes(&self.handle, Arc::new(reading), "not read", least)
    }

    /// As ``write_nowait``, for a task that came at ``since``: ResetError if it was reset after that.
    fn _write_since(&self, py: Python<'_>, data: &Bound<'_, PyAny>, since: &Since) -> PyResult<()> {
        self.write_for(py, data, Timeout::NoWait, Some(since.core.resets()))
    }

    /// As ``read_nowait``, for a task that came at ``since``.
    fn _read_since<'py>(&self, py: Python<'py>, size: Whole, since: &Since) -> PyResult<Bound<'py, PyBytes>> {
        self.read_for(py, size.size("size")?, Timeout::NoWait, Some(since.core.resets()))
    }

    /// As ``read_some_nowait``, for a task that came at ``since``.
    fn _read_some_since<'py>(&self, py: Python<'py>, limit: Whole, since: &Since) -> PyResult<Bound<'py, PyBytes>> {
        self.read_some_for(py, limit, Timeout::NoWait, Some(since.core.resets()))
    }

    fn __repr__(&self) -> String {
        let state = match (self.handle.is_closed(), self.core.is_shut_down()) {
            (true, _) => ", closed",
            (false, true) => ", shut down",
            _ => "",
        };
        let (name, waiters) = (self.handle.label(), self.handle.waiters_text());
        format!("<Pipe {name}, {} of {} bytes{waiters}{state}>", self.core.depth(), self.core.capacity())
    }
}
