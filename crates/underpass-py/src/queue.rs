//! `underpass.Queue`.

mod calls;
mod making;
mod putting;
mod statistics;

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use underpass_core::Error;
use underpass_core::queue::{self as core, Message};

use crate::bytes::{QUEUE, Source, Target};
use crate::fairness;
use crate::handle::Handle;
use crate::lease::{Lease, Leases};
use crate::loan::Loan;
use crate::many::{QueueDrained, QueueRoom};
use crate::number::{Whole, mode, whole};
use crate::object::{self, SharedObject};
use crate::since::Since;
use crate::space::Space;
use crate::timeout::Timeout;
pub use calls::copied;
use making::{create, turns_number, when_full_number};
pub use making::{order_name, shape, when_full_name};
pub use putting::Putting;
pub use statistics::{Holding, QueueStatistics};

/// The part of a handle that is the room of the dead letters.
pub const LETTERS: &str = "dead_letters";

/// A queue of messages of bytes between any number of putters and getters.
///
/// A message is complete once ``put`` returns, and survives its putter. A getter either gets it (`get`) or works on it
/// under a lease (`take`): if the worker dies, the message goes back to the front, and several return in their order.
/// A leased message counts against the capacity. An operation that need not wait makes no system call.
///
/// Order is first in, first out (``"fifo"``), last in, first out (``"lifo"``), or by ``"priority"``: the highest first, 0 to
/// 32767, and of equals the oldest, as POSIX message queues have it. In the last two a get takes O(log n) of the messages
/// queued. A message that comes back from a lease stands in front again, by priority in front of its equals.
///
/// A put into a full queue waits for room. With ``when_full="drop_newest"`` its message is dropped instead; with
/// ``"drop_oldest"`` it takes the place of one that is queued: the oldest, in a stack the undermost, by priority the oldest of the
/// least urgent, itself included. Messages at work are never dropped: if nothing is queued beside them, the new one is. ``dropped``
/// counts them all, whoever dies. In a full queue with another order than "fifo" it takes O(n) to find which one goes.
///
/// With ``fairness="barging"`` whoever is quickest gets what comes, and nobody is promised a turn. With ``"arrival"`` those who wait
/// for a message have their turns in the order in which they came, and so have those who wait for room, whose messages so lie in
/// that order; with ``"priority"`` who waits most urgently is first (`underpass.sync.priority`), and of those who has waited for
/// longest. While somebody waits nobody passes, also none who asks for no wait, and no task: tasks are not in line, and have their
/// turn when nobody waits. Nothing is handed over: a message or a slot stays where it is until the first comes for it, whoever dies
/// meanwhile; one that is first and is stopped holds up those behind. The first 63 that wait on a side have a place, the others come
/// behind them in no order.
///
/// The two-lock queue of Michael and Scott (PODC 1996), with leases as message brokers have them.
///
/// Args:
///     capacity: Messages it holds, queued and leased together; 1 to 2**28.
///     message_size: Bytes of the longest message.
///     order: Which message is got first: "fifo", "lifo" or "priority".
///     when_full: What becomes of a message that finds no room: "wait", "drop_oldest" or "drop_newest".
///     fairness: Who of those that wait has the first turn: "barging", "arrival" or "priority".
///     max_deliveries: A message that comes back after so many deliveries goes to ``dead_letters``; while those are full
///         it stays in front instead. None: it always comes back.
///
/// Raises:
///     ValueError: A parameter is out of range.
///     OutOfSpaceError: The space has not that many bytes left.
///
/// Example:
///     >>> import underpass
///     >>> jobs = underpass.Queue(capacity=8, message_size=64)
///     >>> jobs.put(b"one")
///     >>> with jobs.take(timeout=1) as job:
///     ...     bytes(job.value)
///     b'one'
///     >>> jobs.depth
///     0
///     >>> urgent = underpass.Queue(order="priority")
///     >>> urgent.put(b"sweep")
///     >>> urgent.put(b"fire", priority=9)
///     >>> urgent.get()
///     b'fire'
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Queue {
    pub handle: Arc<Handle>,
    pub core: Arc<core::Queue>,
}

#[pymethods]
impl Queue {
    #[new]
    #[pyo3(signature = (capacity=64, message_size=256, *, order="fifo", when_full="wait", fairness="barging", max_deliveries=None))]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = whole)] capacity: i64,
        #[pyo3(from_py_with = whole)] message_size: i64,
        order: &str,
        when_full: &str,
        fairness: &str,
        max_deliveries: Option<Whole>,
    ) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, &shape(capacity, message_size, max_deliveries, order, when_full, fairness)?)
    }

    /// Make a named queue. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, capacity=64, message_size=256, *, order="fifo", when_full="wait", fairness="barging", max_deliveries=None, space=None, mode=None))]
    #[expect(clippy::too_many_arguments, reason = "the constructor's, with a name and a place")]
    fn create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] capacity: i64,
        #[pyo3(from_py_with = whole)] message_size: i64,
        order: &str,
        when_full: &str,
        fairness: &str,
        max_deliveries: Option<Whole>,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(
            py,
            create(
                py,
                space.map(Bound::get),
                Some(name),
                mode,
                &shape(capacity, message_size, max_deliveries, order, when_full, fairness)?,
            )?,
        )
    }

    /// Open a named queue, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the queue of that name, or make it. Raises MismatchError if it exists with other parameters.
    #[staticmethod]
    #[pyo3(signature = (name, capacity=64, message_size=256, *, order="fifo", when_full="wait", fairness="barging", max_deliveries=None, space=None, mode=None))]
    #[expect(clippy::too_many_arguments, reason = "the constructor's, with a name and a place")]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] capacity: i64,
        #[pyo3(from_py_with = whole)] message_size: i64,
        order: &str,
        when_full: &str,
        fairness: &str,
        max_deliveries: Option<Whole>,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let shape = shape(capacity, message_size, max_deliveries, order, when_full, fairness)?;
        let create = || create(py, space.map(Bound::get), Some(name), mode, &shape);
        object::open_or_create(py, name, space, shape.parameters(), create)
    }

    /// Put a message, waiting for room.
    ///
    /// Whoever gets or ends a lease wakes one waiting putter; which one has the room, ``fairness`` says. A leased message that a dead process held does not keep the
    /// room for ever: it goes back to the front, and somebody gets it.
    ///
    /// With ``order="priority"`` a message of a higher ``priority``, 0 to 32767, is got before those of a lower, and of equals the
    /// oldest. With ``front`` it is the next to be got: before all that are queued, by priority before its equals. If the
    /// putter dies before that returns, the message is in front, or was never put.
    ///
    /// Raises:
    ///     TimedOut: No room within ``timeout`` seconds; the text says who works on what.
    ///     MessageTooLongError: It has more than ``message_size`` bytes.
    ///     ValueError: The priority is out of range.
    ///     MisuseError: A priority, for a queue whose order is another.
    ///     EndOfStream: The queue was shut down.
    ///     ResetError: It was purged while this call waited.
    #[pyo3(signature = (data, *, priority=0, front=false, timeout=None))]
    fn put(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = whole)] priority: i64,
        front: bool,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        self.put_for(py, data, priority, front, None, Timeout::new(timeout)?)
    }

    /// Put a message or raise WouldBlock at once.
    #[pyo3(signature = (data, *, priority=0, front=false))]
    fn put_nowait(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = whole)] priority: i64,
        front: bool,
    ) -> PyResult<()> {
        self.put_for(py, data, priority, front, None, Timeout::NoWait)
    }

    /// As ``put_nowait``, for a task that came at ``since``.
    fn _put_since(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = whole)] priority: i64,
        front: bool,
        since: &Since,
    ) -> PyResult<()> {
        self.put_for(py, data, priority, front, Some(since), Timeout::NoWait)
    }

    /// As ``put_many`` that may not wait, for a task that came at ``since``.
    fn _put_many_since(
        &self,
        py: Python<'_>,
        items: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = whole)] priority: i64,
        since: &Since,
    ) -> PyResult<()> {
        self.put_many_for(py, items, priority, Some(since), Timeout::Seconds(Some(0.0)))
    }

    /// As ``loan`` that may not wait, for a task that came at ``since``.
    fn _loan_since(
        &self,
        py: Python<'_>,
        size: Whole,
        #[pyo3(from_py_with = whole)] priority: i64,
        since: &Since,
    ) -> PyResult<Loan> {
        self.loan_for(py, size, priority, Some(since), Timeout::NoWait)
    }

    /// Put all the messages, waiting for room; what it raises says in ``transferred`` how many were put.
    ///
    /// All have the same ``priority``, as in `put`. Where a full queue drops messages, this waits for nothing, and what is dropped of
    /// these counts as put.
    #[pyo3(signature = (items, *, priority=0, timeout=None))]
    fn put_many(
        &self,
        py: Python<'_>,
        items: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = whole)] priority: i64,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        self.put_many_for(py, items, priority, None, Timeout::new(timeout)?)
    }

    /// Get the front message, waiting for one. It is gone from the queue.
    ///
    /// Whoever puts wakes one waiting getter; which one has the message, ``fairness`` says. A message that a dead process held under a lease comes first.
    ///
    /// Raises:
    ///     TimedOut: No message within ``timeout`` seconds; the text says who works on what.
    ///     EndOfStream: The queue was shut down, or its last registered putter left, and nothing is queued or leased.
    ///     PeerDiedError: The last registered putter died, and nothing is queued or leased.
    ///     ResetError: Somebody sent this call away (`cancel_wait`).
    #[pyo3(signature = (*, timeout=None))]
    fn get<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyBytes>> {
        self.get_for(py, Timeout::new(timeout)?)
    }

    /// Get the front message or raise WouldBlock at once.
    fn get_nowait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.get_for(py, Timeout::NoWait)
    }

    /// Get the front message into a writable buffer, and its length. One that does not fit stays in the queue.
    #[pyo3(signature = (buffer, *, timeout=None))]
    fn get_into(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<usize> {
        self.handle.check(py)?;
        let timeout = Timeout::new(timeout)?;
        let mut target = Target::new(buffer)?;
        let mut length = 0;
        let keep = |message: Message<'_>| {
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
        };
        let result = timeout.within("get_into", |deadline| self.core.get(self.kernel(), deadline, keep));
        result.map(|()| length).map_err(|error| self.late(py, "gave nothing", timeout, error))
    }

    /// Get at least one message, waiting for it, then those that were there beside it, up to ``limit``.
    #[pyo3(signature = (limit=None, *, timeout=None), text_signature = "($self, limit=..., *, timeout=None)")]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        limit: Option<Whole>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.handle.check(py)?;
        let limit = limit.map_or(Ok(usize::MAX), |limit| limit.size("limit"))?;
        if limit == 0 {
            return Err(PyValueError::new_err("limit=0 gets nothing: pass at least 1"));
        }
        let timeout = Timeout::new(timeout)?;
        let mut messages = Vec::new();
        let mut keep = |message: Message<'_>| {
            messages.push(copied(py, &message)?);
            Ok(())
        };
        match timeout.within("get_many", |deadline| self.core.get_many(self.kernel(), limit, deadline, &mut keep)) {
            Ok(_) => {
                // One that could not be copied after others were stays queued; whoever gets it meets the error again.
                drop(PyErr::take(py));
                PyList::new(py, messages)
            }
            Err(error) => Err(self.late(py, "gave nothing", timeout, error)),
        }
    }

    /// Lease the front message, waiting for one: read it in place, then say done or put it back.
    ///
    /// The message is this process's until it is settled. If the process dies, it goes back to the front.
    #[pyo3(signature = (*, timeout=None))]
    fn take(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Lease> {
        self.take_for(py, Timeout::new(timeout)?)
    }

    /// Lease the front message or raise WouldBlock at once.
    fn take_nowait(&self, py: Python<'_>) -> PyResult<Lease> {
        self.take_for(py, Timeout::NoWait)
    }

    /// Lease message after message, until EndOfStream: ``for job in queue.leases(): with job: ...``.
    fn leases(slf: Py<Self>) -> Leases {
        Leases::new(slf)
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.get_for(py, Timeout::Seconds(None)) {
            Err(error) if error.get_type(py).name()? == "EndOfStream" => Ok(None),
            other => other.map(Some),
        }
    }

    /// Lend ``size`` bytes of a free slot to write in place, waiting for one; leaving the ``with`` block puts them.
    ///
    /// The message will have that ``priority``, as in `put`. A full queue that drops its oldest drops one for the loan, whatever its
    /// priority; if all that it holds is at work, and always if it drops the newest, the loan waits for a slot.
    #[pyo3(signature = (size, *, priority=0, timeout=None))]
    fn loan(
        &self,
        py: Python<'_>,
        size: Whole,
        #[pyo3(from_py_with = whole)] priority: i64,
        timeout: Option<f64>,
    ) -> PyResult<Loan> {
        self.loan_for(py, size, priority, None, Timeout::new(timeout)?)
    }

    /// Register this process as a putter for the length of a ``with`` block.
    ///
    /// When the last registered putter leaves, getters see EndOfStream once nothing is left; when it dies,
    /// PeerDiedError.
    fn putting(slf: Py<Self>) -> Putting {
        Putting { queue: slf }
    }

    /// Refuse further puts; getters drain what is there. With ``immediate`` what is queued is thrown away.
    #[pyo3(signature = (*, immediate=false))]
    fn shutdown(&self, py: Python<'_>, immediate: bool) -> PyResult<()> {
        self.handle.check(py)?;
        self.core.shutdown(self.kernel());
        if immediate {
            self.core.purge(self.kernel()).map_err(|error| self.failed(py, "not emptied", error))?;
        }
        Ok(())
    }

    /// Wait until nothing is queued or leased. Raises TimedOut.
    #[pyo3(signature = (*, timeout=None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        self.handle.check(py)?;
        let timeout = Timeout::new(timeout)?;
        timeout
            .within("join", |deadline| self.core.join(self.kernel(), deadline))
            .map_err(|error| self.late(py, "not drained", timeout, error))
    }

    /// The message at ``index`` from the front, which stays there. Raises IndexError.
    #[pyo3(signature = (index=0))]
    fn peek<'py>(&self, py: Python<'py>, #[pyo3(from_py_with = whole)] index: i64) -> PyResult<Bound<'py, PyBytes>> {
        self.handle.check(py)?;
        // No queue has that many messages.
        let index = u32::try_from(Whole(index).size("index")?).unwrap_or(u32::MAX);
        let peeked = self.core.peek(self.kernel(), index, |message| copied(py, &message));
        match peeked.and_then(Option::transpose) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(pyo3::exceptions::PyIndexError::new_err(format!(
                "{} has no message at {index}: {} are queued",
                self.handle.title,
                self.core.depth()
            ))),
            Err(error) => Err(self.failed(py, "not peeked into", error)),
        }
    }

    /// Throw away what is queued; how many messages. Putters that wait leave with ResetError.
    fn purge(&self, py: Python<'_>) -> PyResult<usize> {
        self.handle.check(py)?;
        self.core.purge(self.kernel()).map_err(|error| self.failed(py, "not purged", error))
    }

    /// Throw away the first message, in the order in which they would be got, that is these bytes; whether there was one.
    ///
    /// One at work is nobody else's to remove. Compares message after message, in a queue with another order than "fifo" all of them,
    /// and keeps getters waiting meanwhile. Whoever waits to put gets the room. If the process dies before this returns, the message
    /// is there, or not. Zephyr's ``k_queue_remove``.
    fn remove(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.handle.check(py)?;
        let source = Source::new(data, QUEUE)?;
        self.core.remove(self.kernel(), source.as_slice()).map_err(|error| self.failed(py, "not searched", error))
    }

    /// Send away the getter that has waited for longest, or most urgently, with ResetError: whether one waited.
    ///
    /// It got nothing, nothing of the queue has changed, and it may wait again. Those who come later are not concerned, nor are tasks,
    /// and those who wait for many objects. If this process dies, that getter has been told or waits on. Needs
    /// ``fairness="arrival"`` or ``"priority"``: where getters barge none is the first. Zephyr's ``k_queue_cancel_wait``.
    ///
    /// Raises:
    ///     MisuseError: The getters of this queue barge.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> underpass.Queue(fairness="arrival").cancel_wait()
    ///     False
    fn cancel_wait(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.check(py)?;
        self.core.cancel_wait(self.kernel()).map_err(|error| self.failed(py, "sent nobody away", error))
    }

    /// For those who put: what is ready when a put would not wait; of a queue that drops messages, when a loan would not.
    #[getter]
    fn room(slf: Bound<'_, Self>) -> QueueRoom {
        QueueRoom::new(slf)
    }

    /// This queue as those see it who join it: for `wait_any`, ready when nothing is queued or leased.
    #[getter]
    fn drained(&self) -> QueueDrained {
        QueueDrained::new(self)
    }

    /// Messages queued now, those at work not counted.
    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<u32> {
        self.handle.look(py)?;
        Ok(self.core.depth())
    }

    /// Messages that it can hold.
    #[getter]
    fn capacity(&self) -> u32 {
        self.core.capacity()
    }

    /// What a put does that finds no room: "wait", "drop_oldest" or "drop_newest".
    #[getter]
    fn when_full(&self) -> &'static str {
        when_full_name(when_full_number(self.core.when_full()))
    }

    /// Who of those that wait has the first turn: "barging", "arrival" or "priority".
    #[getter]
    fn fairness(&self) -> &'static str {
        fairness::name(turns_number(self.core.turns()))
    }

    /// Messages that were dropped since the queue was made, because it was full. Exact: a message that is not there and was not got is in it.
    #[getter]
    fn dropped(&self, py: Python<'_>) -> PyResult<u64> {
        self.handle.check(py)?;
        self.core.dropped(self.kernel()).map_err(|error| self.failed(py, "did not tell what it dropped", error))
    }

    /// Bytes of the longest message.
    #[getter]
    fn message_size(&self) -> usize {
        self.core.message_size()
    }

    /// The queue of messages that were delivered ``max_deliveries`` times. Raises MisuseError without that.
    #[getter]
    fn dead_letters(&self, py: Python<'_>) -> PyResult<Py<Self>> {
        self.handle.check_look(py)?;
        if self.core.dead_letters().is_none() {
            let why = Error::Misuse("create it with max_deliveries= to have them".into());
            return Err(self.failed(py, "has no dead letters", why));
        }
        object::opened(py, self.handle.again(LETTERS))
    }

    /// A frozen snapshot: depth, and who works on what since when.
    fn statistics(&self, py: Python<'_>) -> PyResult<QueueStatistics> {
        self.handle.look(py)?;
        Ok(QueueStatistics::of(self))
    }

    pub fn __repr__(&self) -> String {
        let state = match (self.handle.is_closed(), self.core.is_shut_down()) {
            (true, _) => ", closed",
            (false, true) => ", shut down",
            _ => "",
        };
        let waiters = self.handle.waiters_text();
        let (name, dead) = (self.handle.label(), if self.handle.part() == LETTERS { " dead letters" } else { "" });
        format!("<Queue {name}{dead}, {} of {} queued{waiters}{state}>", self.core.depth(), self.core.capacity())
    }
}
