//! `underpass.Pool`.

mod block;
mod making;
mod room;
mod statistics;

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use underpass_core::Error;
use underpass_core::kernel::Kernel;
use underpass_core::pool as core;

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::lease::Lease;
use crate::number::{Whole, mode, whole};
use crate::object::{self, SharedObject};
use crate::space::Space;
use crate::timeout::Timeout;
pub use block::{Block, Reference};
use making::create;
pub use making::{invalid, shape};
pub use room::PoolRoom;
pub use statistics::{PoolStatistics, SizeStatistics};

/// Blocks of memory of one or a few sizes, which processes write and read in place and hand to each other.
///
/// A `Block` belongs to one process at a time, and is a writable buffer there. What hands it on is a reference of 24 bytes, whatever its
/// size, which goes through a `Queue`, say: who receives it has the block from then on. A pickled block brings its pool along. The
/// blocks of a process that has died are free again: whoever finds none free takes them back, and whoever waits is told.
///
/// Each block is taken and given back by one atomic exchange of its own word: no lock, no list that a death could tear. Of the smallest
/// size that fits and has one free, the first is taken, so that memory that was never used stays so. Follows Zephyr's ``k_mem_slab``.
///
/// Args:
///     blocks: How many there are of ``block_size``; of all sizes together at most 2**24.
///     block_size: Bytes of each; up to 2**40. A block starts at a multiple of 64.
///     more: Up to three further sizes: a mapping from their bytes to how many of each there are.
///
/// Raises:
///     ValueError: A parameter is out of range.
///     OutOfSpaceError: The space has not that many bytes left.
///
/// Example:
///     >>> import underpass
///     >>> pool, frames = underpass.Pool(4, 1 << 20), underpass.Queue()
///     >>> block = pool.alloc(6)
///     >>> block[:] = b"pixels"
///     >>> frames.put(block.hand_on())
///     >>> with pool.receive(frames.get()) as frame:
///     ...     frame[:]
///     b'pixels'
///     >>> pool.free
///     4
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Pool {
    pub handle: Arc<Handle>,
    pub core: Arc<core::Pool>,
}

impl Pool {
    pub fn kernel(&self) -> &dyn Kernel {
        self.handle.kernel()
    }

    fn failed(&self, py: Python<'_>, failed: &str, error: Error) -> PyErr {
        raise(py, &Context::of(&self.handle.title, failed), error)
    }

    /// So many bytes; by default a whole one of the largest blocks.
    fn length(&self, size: Option<Whole>) -> PyResult<usize> {
        size.map_or(Ok(self.core.largest()), |size| size.size("size"))
    }

    /// Who has what, for the one who got none.
    #[cold]
    pub fn late(&self, py: Python<'_>, length: usize, timeout: Timeout, error: Error) -> PyErr {
        let detail = PoolStatistics::in_the_way(self);
        let failed = format!("gave no block of {length} bytes");
        raise(py, &Context { object: &self.handle.title, failed: &failed, time: timeout.text(), detail }, error)
    }

    fn alloc_for(slf: &Bound<'_, Self>, size: Option<Whole>, timeout: Timeout) -> PyResult<Block> {
        let (py, this) = (slf.py(), slf.get());
        this.handle.check(py)?;
        let length = this.length(size)?;
        match timeout.within("alloc", |deadline| this.core.alloc(this.kernel(), length, deadline)) {
            Ok(ticket) => Ok(Block::new(slf, ticket)),
            Err(error) => Err(this.late(py, length, timeout, error)),
        }
    }
}

#[pymethods]
impl Pool {
    #[new]
    #[pyo3(signature = (blocks, block_size, *, more=None))]
    fn new(
        py: Python<'_>,
        #[pyo3(from_py_with = whole)] blocks: i64,
        #[pyo3(from_py_with = whole)] block_size: i64,
        more: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, &shape(blocks, block_size, more)?)
    }

    /// Make a named pool. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, blocks, block_size, *, more=None, space=None, mode=None))]
    #[expect(clippy::similar_names, reason = "the arguments' own names")]
    fn create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] blocks: i64,
        #[pyo3(from_py_with = whole)] block_size: i64,
        more: Option<&Bound<'_, PyAny>>,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space.map(Bound::get), Some(name), mode, &shape(blocks, block_size, more)?)?)
    }

    /// Open a named pool, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the pool of that name, or make it. Raises MismatchError if it exists with other blocks.
    #[staticmethod]
    #[pyo3(signature = (name, blocks, block_size, *, more=None, space=None, mode=None))]
    #[expect(clippy::similar_names, reason = "the arguments' own names")]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        #[pyo3(from_py_with = whole)] blocks: i64,
        #[pyo3(from_py_with = whole)] block_size: i64,
        more: Option<&Bound<'_, PyAny>>,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let shape = shape(blocks, block_size, more)?;
        let create = || create(py, space.map(Bound::get), Some(name), mode, &shape);
        object::open_or_create(py, name, space, shape.parameters(), create)
    }

    /// Take a block of at least ``size`` bytes, waiting for one; None: a whole one of the largest.
    ///
    /// Its bytes are what the last owner left there. Whoever gives a block back, and the death of whoever has one, wakes all who wait, and each takes
    /// what fits: they barge.
    ///
    /// Raises:
    ///     TimedOut: None was free within ``timeout`` seconds; the text says who has most.
    ///     ValueError: No block of this pool is that large.
    #[pyo3(signature = (size=None, *, timeout=None))]
    fn alloc(slf: &Bound<'_, Self>, size: Option<Whole>, timeout: Option<f64>) -> PyResult<Block> {
        Self::alloc_for(slf, size, Timeout::new(timeout)?)
    }

    /// Take a block of at least ``size`` bytes or raise WouldBlock at once.
    #[pyo3(signature = (size=None))]
    fn alloc_nowait(slf: &Bound<'_, Self>, size: Option<Whole>) -> PyResult<Block> {
        Self::alloc_for(slf, size, Timeout::NoWait)
    }

    /// What is ready while a block of ``size`` bytes is free: for `wait_any`, beside other objects.
    #[pyo3(signature = (size=None))]
    fn room_for(slf: &Bound<'_, Self>, size: Option<Whole>) -> PyResult<PoolRoom> {
        let length = slf.get().length(size)?;
        PoolRoom::new(slf, length)
    }

    /// Blocks that are free, of all sizes; those of the dead are, too.
    #[getter]
    fn free(&self, py: Python<'_>) -> PyResult<usize> {
        self.handle.look(py)?;
        Ok(PoolStatistics::of(self).free())
    }

    /// How many blocks there are, by their bytes.
    #[getter]
    fn sizes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let sizes = PyDict::new(py);
        self.core.sizes().iter().try_for_each(|size| sizes.set_item(size.bytes, size.count))?;
        Ok(sizes)
    }

    /// A frozen snapshot: free blocks, the most that were out, who has how many.
    fn statistics(&self, py: Python<'_>) -> PyResult<PoolStatistics> {
        self.handle.look(py)?;
        Ok(PoolStatistics::of(self))
    }

    /// Take a block over that its owner has handed on, once: ``reference`` is what `Block.hand_on` returned.
    ///
    /// Raises:
    ///     MisuseError: It was received before, given back, freed when its owner died, or is of another pool.
    ///     ValueError: Those bytes are no reference.
    fn receive(slf: &Bound<'_, Self>, reference: &[u8]) -> PyResult<Block> {
        let (py, this) = (slf.py(), slf.get());
        this.handle.check(py)?;
        let Some(Reference { nonce, block, generation, length }) = Reference::read(reference) else {
            return Err(PyValueError::new_err(format!(
                "{} bytes are no reference: pass the {} that block.hand_on() returned",
                reference.len(),
                Reference::BYTES
            )));
        };
        let received = if nonce == this.handle.header.nonce {
            this.core.receive(this.kernel(), block as usize, generation, length)
        } else {
            Err(Error::Misuse("the block is another pool's: receive it there".into()))
        };
        match received {
            Ok(ticket) => Ok(Block::new(slf, ticket)),
            Err(error) => Err(this.failed(py, &format!("did not hand block {block} on"), error)),
        }
    }

    /// The block of a message that is leased, to be read; None: the message is void.
    fn _read(slf: &Bound<'_, Self>, reference: &[u8], lease: Py<Lease>) -> PyResult<Option<Block>> {
        let (py, this) = (slf.py(), slf.get());
        let read = || {
            let Reference { nonce, block, generation, length } =
                Reference::read(reference).ok_or_else(|| Error::Corrupted("a message is no reference".into()))?;
            if nonce != this.handle.header.nonce {
                return Err(Error::Corrupted("a message refers to another pool's block".into()));
            }
            let process = this.kernel().me()?.process;
            let ticket = core::Ticket { block: block as usize, generation, process, length: length as usize };
            Ok(this.core.queue(ticket.block, generation, length)?.then_some(ticket))
        };
        match read() {
            Ok(ticket) => Ok(ticket.map(|ticket| Block::leased(slf, ticket, lease))),
            Err(error) => Err(this.failed(py, "did not tell what is in its block", error)),
        }
    }

    /// Have all look who wait for a block.
    fn _recall(&self) {
        self.core.recall(self.kernel());
    }

    fn __repr__(&self) -> String {
        let told = PoolStatistics::of(self);
        let all: usize = told.sizes.iter().map(|size| size.blocks).sum();
        let closed = if self.handle.is_closed() { ", closed" } else { "" };
        format!(
            "<Pool {}, {} of {all} blocks free{}{closed}>",
            self.handle.label(),
            told.free(),
            self.handle.waiters_text()
        )
    }
}
