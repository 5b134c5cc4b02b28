//! `underpass.Broadcast`.

mod subscription;

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::Error;
use underpass_core::broadcast::{self as core, LEAST, MOST, Shape, Start};
use underpass_core::kernel::Wanted;
use underpass_shm::header::{Kind, PARAMETERS};
use underpass_shm::life::Life;
use underpass_shm::region::Extent;

use crate::bytes::{BROADCAST, LONG, Source};
use crate::error::{Context, exception, plain, raise};
use crate::handle::Handle;
use crate::notification::describe;
use crate::number::{count, mode, whole};
use crate::object::{self, Object, SharedObject};
use crate::space::Space;
use crate::timeout::Timeout;
pub use subscription::{Subscription, SubscriptionStatistics};

/// One writer, any number of readers, each at its own place. The writer never waits, and each reader is told what it lost.
///
/// Messages of bytes, in a ring: a new one overwrites the oldest. Who reads does so through a `Subscription`, which costs the
/// writer nothing, and which nobody has to end. Neither makes a system call while nobody sleeps. A message is there for
/// all at once, whole or not at all, also if its writer dies in the middle.
///
/// Whoever publishes first is the writer as long as its process lives; after that the next one may begin. Readers that wait then get
/// PeerDiedError, once. Zephyr's ``winstream``, in messages.
///
/// Args:
///     capacity: Bytes of the ring, 64 to 2**31. A message has 16 more, and is rounded up to a multiple of 16; the longest that fits
///         is ``message_size``, a little less than half.
///
/// Raises:
///     ValueError: ``capacity`` is out of range.
///     OutOfSpaceError: The space has not that many bytes left.
///
/// Example:
///     >>> import underpass
///     >>> prices = underpass.Broadcast(capacity=4096)
///     >>> with prices.subscribe() as mine, prices.subscribe() as yours:
///     ...     prices.publish(b"wheel 12")
///     ...     mine.get(), yours.get(), mine.lost
///     (b'wheel 12', b'wheel 12', 0)
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Broadcast {
    handle: Arc<Handle>,
    core: core::Broadcast,
}

/// A snapshot of a broadcast.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct BroadcastStatistics {
    /// Messages published since it was made.
    published: u64,
    /// Messages that are still there.
    kept: u64,
    /// Bytes of the ring.
    capacity: u64,
    /// The pid of the process that publishes; None: nobody has yet, or it has ended.
    writer: Option<u32>,
    /// It was shut down.
    shut_down: bool,
    /// Threads that sleep in a subscription, wherever they are.
    waiters: usize,
}

#[pymethods]
impl BroadcastStatistics {
    fn __repr__(&self) -> String {
        format!("BroadcastStatistics(published={}, kept={}, waiters={})", self.published, self.kept, self.waiters)
    }
}

fn shape(capacity: i64) -> PyResult<Shape> {
    let range = || PyValueError::new_err(format!("capacity={capacity} is not between {LEAST} and {MOST}"));
    u64::try_from(capacity).ok().and_then(|bytes| Shape::new(bytes).ok()).ok_or_else(range)
}

const fn parameters(shape: Shape) -> [u64; PARAMETERS] {
    [shape.capacity, 0, 0, 0, 0, 0, 0, 0]
}

fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
    shape: Shape,
) -> PyResult<PyClassInitializer<Broadcast>> {
    let format = |region: &Arc<_>| shape.broadcast(region).map(drop);
    let (extent, parameters) = (Extent::whole(shape.size()), parameters(shape));
    let wanted = Wanted { name, kind: Kind::Broadcast, extent, parameters, mode, format: &format };
    Broadcast::over(py, Arc::new(Handle::create(py, space, &wanted)?))
}

impl Object for Broadcast {
    const KIND: Kind = Kind::Broadcast;
    const PARAMETERS: &'static [&'static str] = &["capacity"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        match Shape::read(handle.header.parameters).and_then(|shape| shape.broadcast(&handle.region)) {
            Ok(core) => Ok(object::base(&handle).add_subclass(Self { handle, core })),
            Err(error) => Err(raise(py, &Context::of(&handle.title, "not opened"), error)),
        }
    }
}

/// What happened to a verb of a broadcast or of one who reads it.
fn failed(py: Python<'_>, handle: &Handle, failed: &str, timeout: Timeout, detail: String, error: Error) -> PyErr {
    let title = &handle.title;
    match error {
        Error::TooLong { size, limit } => {
            let remedy = format!("create it with a capacity of {} or more", 2 * (size + 32));
            let text = format!("{title} {failed}: {size} bytes are more than its message_size of {limit}; {remedy}");
            exception(py, "MessageTooLongError", &text, |attributes| {
                attributes.set_item("size", size)?;
                attributes.set_item("limit", limit)
            })
        }
        Error::EndOfStream => {
            plain(py, "EndOfStream", &format!("{title} {failed}: it was shut down; nothing more will come"))
        }
        Error::PeerDied { pid, .. } => {
            let text = format!(
                "{title} {failed}: its writer, pid {pid}, has died, and all that it published was got; get again to wait for a successor"
            );
            exception(py, "PeerDiedError", &text, |attributes| {
                attributes.set_item("pid", pid)?;
                attributes.set_item("phase", "wait")?;
                attributes.set_item("name", handle.label().trim_matches('\''))
            })
        }
        error => raise(py, &Context { object: title, failed, time: timeout.text(), detail }, error),
    }
}

/// Who publishes there, if it lives.
fn writer(handle: &Handle, core: &core::Broadcast) -> Option<u32> {
    let (kernel, writer) = (handle.kernel(), core.writer());
    (writer != Life::NOBODY && kernel.alive(writer)).then(|| kernel.pid(writer))
}

#[pymethods]
impl Broadcast {
    #[new]
    #[pyo3(signature = (capacity=1 << 20), text_signature = "(capacity=1048576)")]
    fn new(py: Python<'_>, #[pyo3(from_py_with = whole)] capacity: i64) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, shape(capacity)?)
    }

    /// Make a named broadcast. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(
        signature = (name, capacity=1 << 20, *, space=None, mode=None),
        text_signature = "(name, capacity=1048576, *, space=None, mode=None)"
    )]
    fn create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] capacity: i64,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), mode, shape(capacity)?)?)
    }

    /// Open a named broadcast, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the broadcast of that name, or make it. Raises MismatchError if it exists with another ``capacity``.
    #[staticmethod]
    #[pyo3(
        signature = (name, capacity=1 << 20, *, space=None, mode=None),
        text_signature = "(name, capacity=1048576, *, space=None, mode=None)"
    )]
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

    /// Publish a message; the oldest ones make room for it.
    ///
    /// Waits for no reader, so ``timeout`` has nothing to bound yet. Threads of the writer take turns. Wakes all readers that wait, in no
    /// order that is promised. Killed inside, the message is there for all or for none.
    ///
    /// Raises:
    ///     MessageTooLongError: It has more than ``message_size`` bytes.
    ///     MisuseError: Another process publishes here, and lives; the text says which.
    ///     EndOfStream: It was shut down.
    #[pyo3(signature = (data, *, timeout=None))]
    fn publish(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        self.handle.check(py)?;
        let timeout = Timeout::new(timeout)?;
        let source = Source::new(data, BROADCAST)?;
        let (core, kernel, data) = (&self.core, self.handle.kernel(), source.as_slice());
        let published = if data.len() >= LONG && self.handle.is_plain() {
            py.detach(|| core.publish(kernel, data))
        } else {
            core.publish(kernel, data)
        };
        published.map_err(|error| self.failed(py, "not published to", timeout, error))
    }

    /// Begin to read, with the next message, or with the ``"oldest"`` that is still there.
    ///
    /// Raises:
    ///     ValueError: ``start`` is neither.
    #[pyo3(signature = (*, start="now"))]
    fn subscribe(&self, py: Python<'_>, start: &str) -> PyResult<Py<Subscription>> {
        let start = match start {
            "now" => Start::Now,
            "oldest" => Start::Oldest,
            other => return Err(PyValueError::new_err(format!("start='{other}': pass 'now' or 'oldest'"))),
        };
        self.handle.check_look(py)?;
        let reader = core::Reader::new(&self.core, start);
        let reader = reader.map_err(|error| self.failed(py, "not subscribed to", Timeout::NoWait, error))?;
        Subscription::new(py, self, reader)
    }

    /// Publish nothing more: readers get what is there, then EndOfStream. Only the writer ends it; who does so first becomes it.
    ///
    /// Raises:
    ///     MisuseError: Another process publishes here, and lives.
    fn shutdown(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        let done = self.core.shutdown(self.handle.kernel());
        done.map_err(|error| self.failed(py, "not shut down", Timeout::NoWait, error))
    }

    /// Bytes of the ring, as it was made.
    #[getter]
    fn capacity(&self) -> u64 {
        self.handle.header.parameters[0]
    }

    /// Bytes of the longest message.
    #[getter]
    fn message_size(&self) -> usize {
        self.core.longest()
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<BroadcastStatistics> {
        self.handle.look(py)?;
        let published = self.core.count();
        let kept = self.core.kept().map_err(|error| self.failed(py, "not looked at", Timeout::NoWait, error))?;
        Ok(BroadcastStatistics {
            published,
            kept,
            capacity: self.capacity(),
            writer: writer(&self.handle, &self.core),
            shut_down: self.core.is_closed(),
            waiters: self.handle.waiters(),
        })
    }

    fn __repr__(&self) -> String {
        let ended = if self.core.is_closed() { ", shut down" } else { "" };
        describe(&self.handle, &format!("{} published{ended}", self.core.count()))
    }
}

impl Broadcast {
    #[cold]
    fn failed(&self, py: Python<'_>, what: &str, timeout: Timeout, error: Error) -> PyErr {
        failed(py, &self.handle, what, timeout, String::new(), error)
    }

    /// What an error of a reader adds: who would have to publish.
    fn absent(handle: &Handle, core: &core::Broadcast) -> String {
        let published = count(usize::try_from(core.count()).unwrap_or(usize::MAX), "message");
        match (writer(handle, core), core.writer()) {
            (Some(pid), _) => format!("{published} published so far, by pid {pid}"),
            (None, Life::NOBODY) => "nobody publishes there yet".into(),
            (None, _) => format!("{published} published so far, and their writer has died"),
        }
    }
}
