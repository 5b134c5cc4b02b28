//! `underpass.Block`: a block of a pool, as the process has it that owns it.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use underpass_core::Error;
use underpass_core::pool::Ticket;

use super::Pool;
use crate::lease::Lease;
use crate::object::Pickled;
use crate::slot::{self, Slot};

/// A block of a `Pool`: a writable buffer (``memoryview(block)``, ``numpy.frombuffer(block)``), the caller's until it is given back or handed on.
///
/// Leaving its ``with`` block gives it back, unless it was handed on; so does forgetting it, and the process's death. To pickle it hands it
/// on: this process cannot touch it any more, and who unpickles it, once, is the owner. Until then it counts as this process's, and goes with
/// it: so the process lives on until the other has it. One that nobody will unpickle is taken back by `release`. Where both have the pool
/// open, `hand_on` and `Pool.receive` do the same with 24 bytes.
///
/// Example:
///     >>> import underpass
///     >>> pool = underpass.Pool(2, 4096)
///     >>> with pool.alloc(5) as block:
///     ...     block[:] = b"hello"
///     ...     bytes(block)
///     b'hello'
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct Block {
    pool: Py<Pool>,
    ticket: Ticket,
    slot: Slot,
    handed_on: AtomicBool,
    /// Under which its message is read: as long as somebody views it. None: it is the process's own from the beginning.
    lease: Option<Py<Lease>>,
    /// What it is since it was taken over from its message.
    adopted: OnceLock<Ticket>,
}

impl Block {
    pub fn new(pool: &Bound<'_, Pool>, ticket: Ticket) -> Self {
        Self::of(pool, ticket, None)
    }

    /// One that is its message's, and read under the message's lease.
    pub fn leased(pool: &Bound<'_, Pool>, ticket: Ticket, lease: Py<Lease>) -> Self {
        Self::of(pool, ticket, Some(lease))
    }

    fn of(pool: &Bound<'_, Pool>, ticket: Ticket, lease: Option<Py<Lease>>) -> Self {
        let this = pool.get();
        let numbers = (ticket.generation, ticket.process);
        let slot = Slot::new(&this.handle, this.core.start(ticket.block), ticket.length, numbers, true);
        let (pool, handed_on) = (pool.clone().unbind(), AtomicBool::new(false));
        Self { pool, ticket, slot, handed_on, lease, adopted: OnceLock::new() }
    }

    /// What is this process's; none: it is its message's.
    fn own(&self) -> Option<Ticket> {
        if self.lease.is_none() { Some(self.ticket) } else { self.adopted.get().copied() }
    }

    fn owned(&self, py: Python<'_>) -> PyResult<Ticket> {
        let of_message = || Error::Misuse("it is its message's: end the lease".into());
        self.own().ok_or_else(|| self.pool.get().failed(py, "did not take its block back", of_message()))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let own = self.own();
        self.slot.forget(|kernel| own.map(|ticket| self.pool.get().core.release(kernel, &ticket)));
    }
}

/// What hands a block on: which pool's, which one, which of its owners hands it on, and how many bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    pub nonce: u64,
    pub block: u32,
    pub generation: u32,
    pub length: u64,
}

impl Reference {
    /// How long it is.
    pub const BYTES: usize = 24;

    fn of(ticket: &Ticket, pool: &Pool) -> Self {
        let Ticket { block, generation, length, .. } = *ticket;
        Self { nonce: pool.handle.header.nonce, block: block as u32, generation, length: length as u64 }
    }

    fn bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.nonce.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.block.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.generation.to_ne_bytes());
        bytes[16..].copy_from_slice(&self.length.to_ne_bytes());
        bytes
    }

    /// None: it is no reference.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (nonce, rest) = bytes.split_first_chunk()?;
        let (block, rest) = rest.split_first_chunk()?;
        let (generation, length) = rest.split_first_chunk()?;
        Some(Self {
            nonce: u64::from_ne_bytes(*nonce),
            block: u32::from_ne_bytes(*block),
            generation: u32::from_ne_bytes(*generation),
            length: u64::from_ne_bytes(length.try_into().ok()?),
        })
    }
}

#[pymethods]
impl Block {
    /// Give the block back; one that was handed on is taken back, if nobody has received it.
    ///
    /// Raises:
    ///     MisuseError: That was done before, another has received it, or views of it are in use.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let ticket = self.owned(py)?;
        if self.handed_on.load(Relaxed) {
            let pool = self.pool.get();
            pool.handle.point(py)?;
            let released = pool.core.release(pool.kernel(), &ticket);
            return released.map_err(|error| pool.failed(py, "did not take its block back", error));
        }
        self.slot.settle(py, "block not given back", |kernel| self.pool.get().core.release(kernel, &ticket))
    }

    /// The pool that it is of.
    #[getter]
    fn pool(&self, py: Python<'_>) -> Py<Pool> {
        self.pool.clone_ref(py)
    }

    /// Hand the block on: what this returns, 24 bytes, is for `Pool.receive` of whoever gets it, once.
    ///
    /// Until then it counts as this process's, and goes with it; `release` takes it back.
    ///
    /// Raises:
    ///     MisuseError: It was given back or handed on before, or views of it are in use.
    fn hand_on<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let (pool, ticket) = (self.pool.get(), self.owned(py)?);
        self.slot.settle(py, "block not handed on", |kernel| pool.core.is_mine(kernel, &ticket))?;
        self.handed_on.store(true, Relaxed);
        Ok(PyBytes::new(py, &Reference::of(&ticket, pool).bytes()))
    }

    /// What a message that refers to the block says; it stays this process's until `_queued`.
    fn _reference<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &Reference::of(&self.ticket, self.pool.get()).bytes())
    }

    /// The message has arrived: the block is that one's from now on.
    fn _queued(&self) {
        let Ticket { block, generation, length, .. } = self.ticket;
        // It may be, by now, of whoever got the message.
        self.slot.forget(|_| self.pool.get().core.queue(block, generation, length as u64));
    }

    /// Take the block over from its message, which is void from then on.
    fn _adopt(&self, py: Python<'_>) -> PyResult<()> {
        let (pool, Ticket { block, generation, length, .. }) = (self.pool.get(), self.ticket);
        let mine = pool.core.is_mine(pool.kernel(), &self.ticket);
        let received = mine.and_then(|()| pool.core.receive(pool.kernel(), block, generation, length as u64));
        let ticket = received.map_err(|error| pool.failed(py, "did not hand its block on", error))?;
        let _ = self.adopted.set(ticket);
        Ok(())
    }

    /// End the reading of a message that is put back. Raises MisuseError if views of it are in use.
    fn _leave(&self, py: Python<'_>) -> PyResult<()> {
        self.slot.settle(py, "lease not ended", |_| Ok(()))
    }

    /// As `hand_on`, with the pool itself beside the reference.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py, (Py<Pool>, Bound<'py, PyBytes>)>> {
        let receive = PyType::new::<Pool>(py).getattr("receive")?;
        // A pool that cannot travel says so before the block is another's to receive.
        self.pool.bind(py).call_method0("__reduce__")?;
        Ok((receive, (self.pool.clone_ref(py), self.hand_on(py)?)))
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
        if self.slot.is_settled() { Ok(()) } else { self.release(py) }
    }

    fn __setitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        slot::set_item(slf.as_any(), index, value)
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slot::item(slf.as_any(), index)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the signature that PyO3 asks for")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: S7, Python passes its own view.
        unsafe { slf.get().slot.export(slf.as_ptr(), view, flags) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: S7, Python passes a view that `__getbuffer__` filled in.
        unsafe { self.slot.unexport(view) }
    }

    fn __len__(&self) -> usize {
        self.ticket.length
    }

    fn __repr__(&self) -> String {
        let state = match (self.slot.is_settled(), self.handed_on.load(Relaxed)) {
            (_, true) => ", handed on",
            (true, _) => ", given back",
            _ => "",
        };
        format!("<Block {} of {}, {} bytes{state}>", self.ticket.block, self.slot.title(), self.ticket.length)
    }
}
