//! `underpass._core.Objects`: a queue whose messages may lie in blocks; what `underpass.ObjectQueue` encodes and decodes for.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::Error;
use underpass_core::kernel::Wanted;
use underpass_core::queue::{self as core, Message, Objects as Shape};
use underpass_shm::header::Kind;
use underpass_shm::region::Extent;

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::many::{QueueDrained, QueueRoom};
use crate::number::{Whole, mode, whole};
use crate::object::{self, Object, SharedObject};
use crate::pool::{self, Block, Pool, Reference};
use crate::queue::{self, LETTERS, Queue, copied};
use crate::space::Space;
use crate::timeout::Timeout;

/// The part of a handle that is the pool of its own.
pub const BLOCKS: &str = "blocks";

/// A message that begins so is a reference: what it stands for lies in a block.
const REFERENCE: u8 = 0;

/// What an `ObjectQueue` is made of: a queue of messages, and the pool of those that are long.
#[pyclass(frozen, subclass, extends = SharedObject, module = "underpass._core")]
#[derive(Debug)]
pub struct Objects {
    pub handle: Arc<Handle>,
    pub core: Arc<core::Queue>,
    messages: Py<Queue>,
    blocks: Option<Py<Pool>>,
    /// Whose blocks they are, by its nonce; 0: its own.
    pool: u64,
}

/// What it is made with.
#[derive(FromPyObject)]
struct Made<'py> {
    #[pyo3(from_py_with = whole)]
    capacity: i64,
    #[pyo3(from_py_with = whole)]
    inline_size: i64,
    order: String,
    max_deliveries: Option<Whole>,
    #[pyo3(from_py_with = whole)]
    blocks: i64,
    #[pyo3(from_py_with = whole)]
    block_size: i64,
    pool: Option<Bound<'py, Pool>>,
}

impl Made<'_> {
    fn shape(self) -> PyResult<Shape> {
        let messages =
            queue::shape(self.capacity, self.inline_size, self.max_deliveries, &self.order, "wait", "barging")?;
        let least = 1 + Reference::BYTES;
        if messages.message_size < least {
            return Err(PyValueError::new_err(format!("inline_size={} is less than {least}", messages.message_size)));
        }
        let blocks = self.pool.is_none().then(|| pool::shape(self.blocks, self.block_size, None)).transpose()?;
        let pool = self.pool.as_ref().map_or(0, |pool| pool.get().handle.header.nonce);
        Ok(Shape { messages, blocks, pool })
    }
}

fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
    shape: &Shape,
) -> PyResult<PyClassInitializer<Objects>> {
    // Zeroed bytes are a pool whose blocks are all free.
    let format = |region: &Arc<_>| shape.messages.format(region);
    let extent = Extent::whole(shape.size().map_err(pool::invalid)?);
    let wanted =
        Wanted { name, kind: Kind::ObjectQueue, extent, parameters: shape.parameters(), mode, format: &format };
    Objects::over(py, Arc::new(Handle::create(py, space, &wanted)?))
}

impl Object for Objects {
    const KIND: Kind = Kind::ObjectQueue;
    const PARAMETERS: &'static [&'static str] =
        &["capacity", "inline_size", "max_deliveries", "order", "blocks", "block_size", "pool"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let shape = Shape::read(handle.header.parameters)
            .map_err(|error| raise(py, &Context::of(&handle.title, "not opened"), error))?;
        let messages = Py::new(py, Queue::over(py, handle.clone())?)?;
        let blocks = shape.blocks.map(|_| object::opened(py, handle.again(BLOCKS))).transpose()?;
        let core = messages.get().core.clone();
        Ok(object::base(&handle).add_subclass(Self { handle, core, messages, blocks, pool: shape.pool }))
    }
}

impl Objects {
    fn failed(&self, py: Python<'_>, failed: &str, error: Error) -> PyErr {
        raise(py, &Context::of(&self.handle.title, failed), error)
    }
}

/// What a message refers to; none: it is there itself.
fn reference(message: &Message<'_>) -> Option<Reference> {
    let mut bytes = [0; 1 + Reference::BYTES];
    if message.length != bytes.len() {
        return None;
    }
    message.copy_to(&mut bytes);
    let [REFERENCE, rest @ ..] = &bytes else { return None };
    Reference::read(rest)
}

#[pymethods]
impl Objects {
    /// A handle of a subclass, for what is open.
    #[new]
    fn new(py: Python<'_>, of: &Bound<'_, Self>) -> PyClassInitializer<Self> {
        let Self { handle, core, messages, blocks, pool } = of.get();
        let (messages, blocks) = (messages.clone_ref(py), blocks.as_ref().map(|blocks| blocks.clone_ref(py)));
        object::base(handle).add_subclass(Self {
            handle: handle.clone(),
            core: core.clone(),
            messages,
            blocks,
            pool: *pool,
        })
    }

    #[staticmethod]
    #[pyo3(signature = (parameters, name=None, space=None, mode=None))]
    fn _create(
        py: Python<'_>,
        parameters: Made<'_>,
        name: Option<&str>,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), name, mode, &parameters.shape()?)?)
    }

    #[staticmethod]
    #[pyo3(signature = (name, space, timeout))]
    fn _open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    #[staticmethod]
    #[pyo3(signature = (parameters, name, space, mode))]
    fn _open_or_create(
        py: Python<'_>,
        parameters: Made<'_>,
        name: &str,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let shape = parameters.shape()?;
        let create = || create(py, space.map(Bound::get), Some(name), mode, &shape);
        object::open_or_create(py, name, space, shape.parameters(), create)
    }

    /// The queue of the messages.
    #[getter]
    fn _messages(&self, py: Python<'_>) -> Py<Queue> {
        self.messages.clone_ref(py)
    }

    /// The pool of its own, if it has one.
    #[getter]
    fn _blocks(&self, py: Python<'_>) -> Option<Py<Pool>> {
        self.blocks.as_ref().map(|blocks| blocks.clone_ref(py))
    }

    /// Which other pool's blocks it uses, by its nonce; 0: its own.
    #[getter]
    fn _pool_nonce(&self) -> u64 {
        self.pool
    }

    /// The messages that were delivered too often.
    fn _dead_letters(&self, py: Python<'_>) -> PyResult<Py<Self>> {
        self.handle.check_look(py)?;
        if self.core.dead_letters().is_none() {
            let why = Error::Misuse("create it with max_deliveries= to have them".into());
            return Err(self.failed(py, "has no dead letters", why));
        }
        object::opened(py, self.handle.again(LETTERS))
    }

    /// A block for a message that will be put, as `Pool.alloc`; a shutdown or a purge ends that.
    #[pyo3(signature = (pool, size, timeout, *, nowait=false))]
    fn _alloc(
        &self,
        py: Python<'_>,
        pool: &Bound<'_, Pool>,
        size: usize,
        timeout: Option<f64>,
        nowait: bool,
    ) -> PyResult<Block> {
        self.handle.check(py)?;
        let timeout = if nowait { Timeout::NoWait } else { Timeout::new(timeout)? };
        let before = self.core.purges();
        let going_on = || match (self.core.is_shut_down(), self.core.purges() == before) {
            (true, _) => Err(Error::EndOfStream),
            (false, false) => Err(Error::Reset),
            (false, true) => Ok(()),
        };
        let Pool { core, handle } = pool.get();
        let allocated =
            timeout.within("alloc", |deadline| core.alloc_while(handle.kernel(), size, deadline, &going_on));
        match allocated {
            Ok(ticket) => Ok(Block::new(pool, ticket)),
            Err(error @ (Error::EndOfStream | Error::Reset)) => {
                Err(self.messages.get().late(py, "not put into", timeout, error))
            }
            Err(error) => Err(pool.get().late(py, size, timeout, error)),
        }
    }

    /// Throw away what is queued, blocks first; how many messages.
    fn _purge(&self, py: Python<'_>, pool: &Bound<'_, Pool>) -> PyResult<usize> {
        self.handle.check(py)?;
        let (pool, waiting) = (&pool.get().core, pool.get().kernel());
        let purged = self.core.purge_after(self.handle.kernel(), |depth| {
            for message in self.core.all(depth) {
                // What is no reference of this pool's is nobody's block.
                if let Some(Reference { block, generation, length, .. }) = reference(&message?) {
                    let _ = pool.end(waiting, block as usize, generation, length);
                }
            }
            Ok(())
        });
        // Who waits for a block was to put before.
        pool.recall(waiting);
        purged.map_err(|error| self.failed(py, "not purged", error))
    }

    /// A copy of the message at that place from the front, or of what it refers to; None: it is void. Raises IndexError.
    fn _peek<'py>(
        &self,
        py: Python<'py>,
        pool: &Bound<'_, Pool>,
        #[pyo3(from_py_with = whole)] index: i64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.handle.check(py)?;
        let pool = &pool.get().core;
        let at = u32::try_from(Whole(index).size("index")?).unwrap_or(u32::MAX);
        let peeked = self.core.peek(self.handle.kernel(), at, |message| {
            let Some(Reference { block, generation, length, .. }) = reference(&message) else {
                return copied(py, &message).map(Some);
            };
            if !pool.queue(block as usize, generation, length)? {
                return Ok(None);
            }
            let copy = PyBytes::new_with(py, length as usize, |out| {
                pool.read(block as usize, out);
                Ok(())
            });
            copy.map(Some).map_err(|error| {
                error.restore(py);
                Error::Refused
            })
        });
        match peeked.and_then(Option::transpose) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(pyo3::exceptions::PyIndexError::new_err(format!(
                "{} has no object at {index}: {} are queued",
                self.handle.title,
                self.core.depth()
            ))),
            Err(error) => Err(self.failed(py, "not peeked into", error)),
        }
    }

    /// For those who put: what is ready when the queue has room; a long object needs a block beside it.
    #[getter]
    fn room(&self, py: Python<'_>) -> QueueRoom {
        QueueRoom::new(self.messages.bind(py).clone())
    }

    /// This queue as those see it who join it: for `wait_any`, ready when nothing is queued or leased.
    #[getter]
    fn drained(&self) -> QueueDrained {
        QueueDrained::new(self.messages.get())
    }

    fn __repr__(&self) -> String {
        self.messages.get().__repr__().replacen("<Queue", "<ObjectQueue", 1)
    }
}
