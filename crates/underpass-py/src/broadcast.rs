//! `underpass.Broadcast`.

mod room;
mod statistics;
mod subscription;

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::broadcast::{self as core, Follower, LEAST, MOST, Shape, Start, WhenFull};
use underpass_core::kernel::Wanted;
use underpass_core::{Deadline, Error, Kernel, Result};
use underpass_lab::record::Manner;
use underpass_shm::header::{Kind, PARAMETERS};
use underpass_shm::life::Life;
use underpass_shm::region::Extent;

use crate::bytes::{BROADCAST, LONG, Source};
use crate::error::{Context, exception, plain, raise};
use crate::handle::Handle;
use crate::loan::{Lent, Loan};
use crate::notification::describe;
use crate::number::{Whole, count, mode, whole};
use crate::object::{self, Object, SharedObject};
use crate::slot::Slot;
use crate::space::Space;
use crate::timeout::Timeout;
use crate::who;
pub use room::BroadcastRoom;
pub use statistics::{BroadcastReader, BroadcastStatistics};
pub use subscription::{Subscription, SubscriptionStatistics};

/// One writer, any number of readers, each at its own place: overwritten, and told what it lost; or waited for.
///
/// Messages of bytes, in a ring. With ``when_full="overwrite"`` a new one overwrites the oldest: the writer never waits, a `Subscription`
/// costs it nothing, and nobody has to end one. With ``"wait"`` nothing is lost: the slowest reader that lives holds the writer back,
/// until it has got what is in the way, was closed or collected, or its process has died. There are 64 of them at most. Neither makes a system
/// call while nobody sleeps. A message is there for all at once, whole or not at all, also if its writer dies in the middle.
///
/// Whoever publishes first is the writer as long as its process lives; after that the next one may begin. Readers that wait then get
/// PeerDiedError, once. Zephyr's ``winstream``, in messages.
///
/// Args:
///     capacity: Bytes of the ring, 64 to 2**31. A message has 16 more, and is rounded up to a multiple of 16; the longest that fits
///         is ``message_size``, a little less than half.
///     when_full: What a message does that finds no room: ``"overwrite"`` the oldest, or ``"wait"`` for all readers that live.
///
/// Raises:
///     ValueError: ``capacity`` is out of range, or ``when_full`` is neither.
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
    pub handle: Arc<Handle>,
    pub core: Arc<core::Broadcast>,
}

fn shape(capacity: i64, when_full: &str) -> PyResult<Shape> {
    let when_full = match when_full {
        "overwrite" => WhenFull::Overwrite,
        "wait" => WhenFull::Wait,
        other => return Err(PyValueError::new_err(format!("when_full='{other}': pass 'overwrite' or 'wait'"))),
    };
    let range = || PyValueError::new_err(format!("capacity={capacity} is not between {LEAST} and {MOST}"));
    u64::try_from(capacity).ok().and_then(|bytes| Shape::new(bytes, when_full).ok()).ok_or_else(range)
}

/// What the header of a broadcast says of it, as its maker said it.
pub const fn when_full(parameter: u64) -> &'static str {
    if parameter == WhenFull::Wait as u64 { "wait" } else { "overwrite" }
}

const fn parameters(shape: Shape) -> [u64; PARAMETERS] {
    [shape.capacity, shape.when_full as u64, 0, 0, 0, 0, 0, 0]
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
    const PARAMETERS: &'static [&'static str] = &["capacity", "when_full"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        match Shape::read(handle.header.parameters).and_then(|shape| shape.broadcast(&handle.region)) {
            Ok(core) => Ok(object::base(&handle).add_subclass(Self { handle, core: Arc::new(core) })),
            Err(error) => Err(raise(py, &Context::of(&handle.title, "not opened"), error)),
        }
    }
}

/// The next message, written in place.
#[derive(Debug)]
struct Next {
    core: Arc<core::Broadcast>,
    lent: core::Lent,
}

impl Lent for Next {
    fn commit(&self, kernel: &dyn Kernel, size: usize) -> Result<()> {
        self.core.commit(kernel, &self.lent, size)
    }

    fn abandon(&self, kernel: &dyn Kernel) -> Result<()> {
        self.core.abandon(kernel, &self.lent)
    }

    fn refused(&self, py: Python<'_>, slot: &Slot, what: &str, error: Error) -> PyErr {
        failed(py, slot.handle(), what, Timeout::NoWait, String::new(), error)
    }
}

/// What happened to a verb of a broadcast or of one who reads it.
pub fn failed(py: Python<'_>, handle: &Handle, failed: &str, timeout: Timeout, detail: String, error: Error) -> PyErr {
    let title = &handle.title;
    match error {
        Error::TooLong { size, limit } => {
            let remedy = format!("create it with a capacity of {} or more", size.saturating_add(32).saturating_mul(2));
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
    #[pyo3(
        signature = (capacity=1 << 20, *, when_full="overwrite"),
        text_signature = "(capacity=1048576, *, when_full='overwrite')"
    )]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = whole)] capacity: i64,
        when_full: &str,
    ) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, shape(capacity, when_full)?)
    }

    /// Make a named broadcast. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(
        signature = (name, capacity=1 << 20, *, when_full="overwrite", space=None, mode=None),
        text_signature = "(name, capacity=1048576, *, when_full='overwrite', space=None, mode=None)"
    )]
    fn create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] capacity: i64,
        when_full: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), mode, shape(capacity, when_full)?)?)
    }

    /// Open a named broadcast, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the broadcast of that name, or make it. Raises MismatchError if it exists with other arguments.
    #[staticmethod]
    #[pyo3(
        signature = (name, capacity=1 << 20, *, when_full="overwrite", space=None, mode=None),
        text_signature = "(name, capacity=1048576, *, when_full='overwrite', space=None, mode=None)"
    )]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] capacity: i64,
        when_full: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let shape = shape(capacity, when_full)?;
        let create = || create(py, space.map(Bound::get), Some(name), mode, shape);
        object::open_or_create(py, name, space, parameters(shape), create)
    }

    /// Publish a message; the oldest ones make room for it, with ``when_full="wait"`` once all readers that live have got them.
    ///
    /// Threads of the writer take turns. Wakes all readers that wait, in no order that is promised. Who waits for readers is woken by
    /// each that goes on, is closed or dies; a reader that is only stopped holds it up. Killed inside, the message is there for all or for none.
    ///
    /// Raises:
    ///     TimedOut: A reader had not got within ``timeout`` seconds what is in the way; the text says who is how far behind.
    ///     MessageTooLongError: It has more than ``message_size`` bytes.
    ///     MisuseError: Another process publishes here, and lives; the text says which. Or a loan is open.
    ///     EndOfStream: It was shut down.
    #[pyo3(signature = (data, *, timeout=None))]
    fn publish(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        self.publish_for(py, data, Timeout::new(timeout)?)
    }

    /// Publish a message at once or raise WouldBlock: a reader has not got yet what is in the way.
    fn publish_nowait(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.publish_for(py, data, Timeout::NoWait)
    }

    /// Lend the ``size`` bytes of the next message to write in place; leaving the ``with`` block publishes them.
    ///
    /// The oldest make room for it at once, as for `publish`, and waiting for readers is as there; an exception or ``abandon`` publishes nothing, and
    /// what made room is gone. No reader sees a byte of it before it is committed, whole, nor ever if the writer dies: the next one goes on.
    /// There is one loan at a time, and meanwhile nobody publishes otherwise: threads that share a writer take turns by a lock of their own.
    ///
    /// Raises:
    ///     TimedOut: A reader had not got within ``timeout`` seconds what is in the way; the text says who is how far behind.
    ///     MessageTooLongError: ``size`` is more than ``message_size``.
    ///     MisuseError: Another process publishes here, and lives; or a loan is open.
    ///     EndOfStream: It was shut down.
    #[pyo3(signature = (size, *, timeout=None))]
    fn loan(&self, py: Python<'_>, size: Whole, timeout: Option<f64>) -> PyResult<Loan> {
        self.handle.check(py)?;
        let (size, timeout) = (size.size("size")?, Timeout::new(timeout)?);
        let lent =
            self.deadline(timeout, "loan").and_then(|deadline| self.core.loan(self.handle.kernel(), size, deadline));
        match timeout.judge(lent) {
            Ok(lent) => Ok(self.lend(lent)),
            Err(error) => Err(self.failed(py, "lent nothing", timeout, error)),
        }
    }

    /// What is waited for to publish so many bytes: for `underpass.aio`.
    fn _room(slf: &Bound<'_, Self>, size: usize) -> BroadcastRoom {
        BroadcastRoom::new(&slf.get().handle, &slf.get().core, size)
    }

    /// Begin to read, with the next message, or with the ``"oldest"`` that is still there: what all have got may be there for long.
    ///
    /// Raises:
    ///     ValueError: ``start`` is neither.
    ///     MisuseError: Its writer waits for its readers, and there are 64 of them.
    #[pyo3(signature = (*, start="now"))]
    fn subscribe(&self, py: Python<'_>, start: &str) -> PyResult<Py<Subscription>> {
        let start = match start {
            "now" => Start::Now,
            "oldest" => Start::Oldest,
            other => return Err(PyValueError::new_err(format!("start='{other}': pass 'now' or 'oldest'"))),
        };
        self.handle.check_for(py, if self.core.is_lossless() { Manner::Change } else { Manner::Look })?;
        let reader = core::Reader::new(&self.core, self.handle.kernel(), start);
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

    /// What a message does that finds no room, as it was made: ``"overwrite"`` or ``"wait"``.
    #[getter]
    fn when_full(&self) -> &'static str {
        when_full(self.handle.header.parameters[1])
    }

    /// Bytes of the longest message.
    #[getter]
    fn message_size(&self) -> usize {
        self.core.longest()
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<BroadcastStatistics> {
        self.handle.look(py)?;
        let statistics = BroadcastStatistics::of(py, &self.handle, &self.core)?;
        statistics.map_err(|error| self.failed(py, "not looked at", Timeout::NoWait, error))
    }

    fn __repr__(&self) -> String {
        let ended = if self.core.is_closed() { ", shut down" } else { "" };
        describe(&self.handle, &format!("{} published{ended}", self.core.count()))
    }
}

impl Broadcast {
    fn lend(&self, lent: core::Lent) -> Loan {
        // Which loan of these bytes it is: no other that is open has them.
        let (length, numbers) = (lent.length, (lent.number() as u32, lent.process));
        let slot = Slot::new(&self.handle, self.core.lent_bytes(&lent), length, numbers, true);
        Loan::of(Next { core: self.core.clone(), lent }, length, slot)
    }

    #[inline]
    fn publish_for(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Timeout) -> PyResult<()> {
        self.handle.check(py)?;
        let source = Source::new(data, BROADCAST)?;
        let (core, kernel, data) = (&self.core, self.handle.kernel(), source.as_slice());
        let published = timeout.judge(self.deadline(timeout, "publish").and_then(|deadline| {
            if data.len() >= LONG && self.handle.is_plain() {
                py.detach(|| core.publish(kernel, data, deadline))
            } else {
                core.publish(kernel, data, deadline)
            }
        }));
        published.map_err(|error| self.failed(py, "not published to", timeout, error))
    }

    /// Who never waits does not ask whether it may.
    #[inline]
    fn deadline(&self, timeout: Timeout, verb: &str) -> Result<Deadline> {
        if self.core.is_lossless() { timeout.deadline(verb) } else { Ok(Deadline::Never) }
    }

    #[cold]
    fn failed(&self, py: Python<'_>, what: &str, timeout: Timeout, error: Error) -> PyErr {
        let detail = match error {
            Error::TimedOut(_) | Error::WouldBlock => self.slowest(),
            _ => String::new(),
        };
        failed(py, &self.handle, what, timeout, detail, error)
    }

    /// Who holds the writer back, the slowest first.
    fn slowest(&self) -> String {
        let mut followers = self.core.followers(self.handle.kernel());
        followers.retain(|follower| follower.behind > 0);
        let behind = |it: &Follower| {
            let messages = count(usize::try_from(it.behind).unwrap_or(usize::MAX), "message");
            format!("{}, {messages} behind", who::process(&self.handle, it.process))
        };
        let who = who::several(followers.iter().map(behind), followers.len());
        if who.is_empty() { who } else { format!("held back by {who}") }
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
