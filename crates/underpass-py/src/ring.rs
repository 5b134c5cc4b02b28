//! `underpass.data.SpscRing` and `MpscRing`, and what both have.

mod making;
mod packet;
mod room;

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use underpass_core::kernel::Kernel;
use underpass_core::ring::{self as core, Claim};
use underpass_core::{Error, Result};
use underpass_shm::life::Life;

use crate::bytes::{LONG, RING, Source};
use crate::error::{Context, exception, raise};
use crate::handle::Handle;
use crate::loan::{Lent, Loan};
use crate::notification::describe;
use crate::number::{Whole, count};
use crate::object::SharedObject;
use crate::slot::Slot;
use crate::timeout::Timeout;
pub use making::{MpscRing, SpscRing};
pub use packet::Packet;
pub use room::RingRoom;

/// What has become of a read.
const GAVE_NONE: &str = "gave no packet";

/// What `SpscRing` and `MpscRing` have: packets of bytes for one reader, in the order in which they were claimed.
///
/// Whoever reads first is the reader, as long as its process lives; another is refused. One packet is read at a time.
#[pyclass(frozen, extends = SharedObject, subclass, module = "underpass.data")]
#[derive(Debug)]
pub struct Ring {
    pub handle: Arc<Handle>,
    pub core: core::Ring,
}

/// A snapshot of a ring.
#[pyclass(frozen, get_all, module = "underpass.data")]
#[derive(Debug)]
pub struct RingStatistics {
    /// Packets that were claimed and not freed.
    depth: usize,
    /// Those of them that are not committed yet, by the pid of who fills them.
    claimed: std::collections::BTreeMap<u32, usize>,
    /// Packets that the reader has skipped: abandoned, or of a writer that had died.
    skipped: u64,
    /// The pid of the reader; None: nobody reads who lives.
    reader: Option<u32>,
    /// Threads that sleep here, wherever they are.
    waiters: usize,
}

#[pymethods]
impl RingStatistics {
    fn __repr__(&self) -> String {
        let Self { depth, claimed, skipped, reader, waiters } = self;
        let reader = reader.map_or_else(|| "None".into(), |pid| pid.to_string());
        format!(
            "RingStatistics(depth={depth}, claimed={claimed:?}, skipped={skipped}, reader={reader}, waiters={waiters})"
        )
    }
}

/// A packet that is written in place.
#[derive(Debug)]
struct Filled {
    core: core::Ring,
    claim: Claim,
}

impl Lent for Filled {
    fn commit(&self, kernel: &dyn Kernel, size: usize) -> Result<()> {
        self.core.commit(kernel, &self.claim, size)
    }

    fn abandon(&self, kernel: &dyn Kernel) -> Result<()> {
        self.core.abandon(kernel, &self.claim)
    }
}

impl Ring {
    fn kernel(&self) -> &dyn Kernel {
        self.handle.kernel()
    }

    #[inline]
    fn write_for(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Timeout) -> PyResult<()> {
        self.handle.check(py)?;
        let source = Source::new(data, RING)?;
        let (core, kernel, data) = (&self.core, self.kernel(), source.as_slice());
        let written = timeout.within("write", |deadline| {
            if data.len() >= LONG && self.handle.is_plain() {
                py.detach(|| core.write(kernel, data, deadline))
            } else {
                core.write(kernel, data, deadline)
            }
        });
        written.map_err(|error| self.failed(py, "took no packet", timeout, error))
    }

    fn claim_for(&self, py: Python<'_>, size: Whole, timeout: Timeout) -> PyResult<Loan> {
        self.handle.check(py)?;
        let size = size.size("size")?;
        let claimed = timeout.within("claim", |deadline| self.core.claim(self.kernel(), size, deadline));
        let claim = claimed.map_err(|error| self.failed(py, "lent nothing", timeout, error))?;
        let numbers = (claim.number, claim.process);
        let slot = Slot::new(&self.handle, self.core.start_of(&claim), size, numbers, true);
        Ok(Loan::of(Filled { core: self.core.clone(), claim }, size, slot))
    }

    fn taken(&self, py: Python<'_>, timeout: Timeout) -> PyResult<core::Packet> {
        self.handle.check(py)?;
        let taken = timeout.within("take", |deadline| self.core.take(self.kernel(), deadline));
        taken.map_err(|error| self.failed(py, GAVE_NONE, timeout, error))
    }

    #[inline]
    fn read_for<'py>(&self, py: Python<'py>, timeout: Timeout) -> PyResult<Bound<'py, PyBytes>> {
        let packet = self.taken(py, timeout)?;
        let (core, kernel) = (&self.core, self.kernel());
        let bytes = PyBytes::new_with(py, packet.length, |out| {
            if out.len() >= LONG && self.handle.is_plain() {
                py.detach(|| core.copy_to(&packet, out));
            } else {
                core.copy_to(&packet, out);
            }
            Ok(())
        });
        let ended = if bytes.is_ok() { core.free_packet(kernel, &packet) } else { core.put_back(kernel, &packet) };
        ended.map_err(|error| self.failed(py, "did not end its packet", timeout, error))?;
        bytes
    }

    #[cold]
    fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let title = &self.handle.title;
        match error {
            Error::TooLong { size, limit } => {
                let remedy = format!(
                    "create it with a capacity of {} or more",
                    size.checked_next_multiple_of(8).unwrap_or(size).saturating_mul(2)
                );
                let text = format!("{title} {failed}: {size} bytes are more than half its capacity, {limit}; {remedy}");
                exception(py, "MessageTooLongError", &text, |attributes| {
                    attributes.set_item("size", size)?;
                    attributes.set_item("limit", limit)
                })
            }
            // A writer is told that there is no room, and a reader that there is nothing.
            Error::PeerDied { pid, .. } => {
                let why = if failed == GAVE_NONE {
                    format!(
                        "its writer, pid {pid}, has died, and all that it committed was read; the next process that writes takes its place"
                    )
                } else {
                    format!(
                        "it is full, and its reader, pid {pid}, has died; the next process that reads takes its place"
                    )
                };
                exception(py, "PeerDiedError", &format!("{title} {failed}: {why}"), |attributes| {
                    attributes.set_item("pid", pid)?;
                    attributes.set_item("phase", "wait")?;
                    attributes.set_item("name", self.handle.label().trim_matches('\''))
                })
            }
            Error::TimedOut(_) | Error::WouldBlock => {
                let detail = self.who_is_late();
                raise(py, &Context { object: title, failed, time: timeout.text(), detail }, error)
            }
            error => raise(py, &Context { object: title, failed, time: timeout.text(), detail: String::new() }, error),
        }
    }

    /// For whoever waited in vain.
    fn who_is_late(&self) -> String {
        let told = RingStatistics::of(self);
        let reader = told.reader.map_or_else(|| "nobody reads".into(), |pid| format!("pid {pid} reads"));
        let packets = count(told.depth, "packet");
        let fills: Vec<_> = told.claimed.iter().map(|(pid, count)| format!(", pid {pid} fills {count}")).collect();
        format!("{packets} of at most {} are there{}, {reader}", self.core.most(), fills.concat())
    }
}

impl RingStatistics {
    fn of(ring: &Ring) -> Self {
        let (core, kernel) = (&ring.core, ring.kernel());
        let mut claimed = std::collections::BTreeMap::new();
        for (_, life) in core.claimed() {
            if kernel.alive(life) {
                *claimed.entry(kernel.pid(life)).or_default() += 1;
            }
        }
        let reader = Some(core.reader().0).filter(|reader| *reader != Life::NOBODY && kernel.alive(*reader));
        Self {
            depth: core.depth(),
            claimed,
            skipped: core.skipped(),
            reader: reader.map(|reader| kernel.pid(reader)),
            waiters: ring.handle.waiters(),
        }
    }
}

#[pymethods]
impl Ring {
    /// Write a packet, waiting for room.
    ///
    /// Complete once it returns: it survives its writer. Killed inside, the packet is there whole or not at all. Writers that wait are woken by
    /// the reader that frees a packet, in no order that is promised.
    ///
    /// Raises:
    ///     TimedOut: No room within ``timeout`` seconds; the text says who reads.
    ///     PeerDiedError: There is no room, and the reader has died; another may take its place.
    ///     MessageTooLongError: More than half the capacity.
    ///     MisuseError: It is an `SpscRing`, and another process writes there, and lives.
    #[pyo3(signature = (data, *, timeout=None))]
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        self.write_for(py, data, Timeout::new(timeout)?)
    }

    /// Write a packet or raise WouldBlock at once.
    fn write_nowait(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.write_for(py, data, Timeout::NoWait)
    }

    /// Claim the next packet, of ``size`` bytes, to write it in place, waiting for room; leaving its ``with`` block commits it.
    ///
    /// The reader gets packets in the order in which they were claimed, and so waits for this one, until it is committed or abandoned, or this process
    /// ends: then it is skipped. ``commit(size)`` makes it shorter. Raises what `write` raises.
    #[pyo3(signature = (size, *, timeout=None))]
    fn claim(&self, py: Python<'_>, size: Whole, timeout: Option<f64>) -> PyResult<Loan> {
        self.claim_for(py, size, Timeout::new(timeout)?)
    }

    /// Claim the next packet or raise WouldBlock at once.
    fn claim_nowait(&self, py: Python<'_>, size: Whole) -> PyResult<Loan> {
        self.claim_for(py, size, Timeout::NoWait)
    }

    /// Read the next packet, waiting for it.
    ///
    /// What wakes the reader is a commit, or the death of the writer that fills the next packet, which is skipped then.
    ///
    /// Raises:
    ///     TimedOut: No packet within ``timeout`` seconds; the text says who fills one.
    ///     PeerDiedError: It is an `SpscRing` with nothing in it, and its writer has died; another may take its place.
    ///     MisuseError: Another process reads, and lives; or another thread of this one does, or has a packet.
    #[pyo3(signature = (*, timeout=None))]
    fn read<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_for(py, Timeout::new(timeout)?)
    }

    /// Read the next packet or raise WouldBlock at once.
    fn read_nowait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_for(py, Timeout::NoWait)
    }

    /// Take the next packet to read it in place, waiting for it. Until it is freed or put back no other can be read.
    ///
    /// Leaving its ``with`` block frees it, an exception puts it back; and so does this process's death. Raises what `read` raises.
    #[pyo3(signature = (*, timeout=None))]
    fn take(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Packet> {
        Ok(Packet::new(slf.get(), slf.get().taken(slf.py(), Timeout::new(timeout)?)?))
    }

    /// Take the next packet or raise WouldBlock at once.
    fn take_nowait(slf: &Bound<'_, Self>) -> PyResult<Packet> {
        Ok(Packet::new(slf.get(), slf.get().taken(slf.py(), Timeout::NoWait)?))
    }

    /// What is ready while a packet of ``size`` bytes finds room: for `wait_any`, beside other objects.
    fn room_for(slf: &Bound<'_, Self>, size: Whole) -> PyResult<RingRoom> {
        RingRoom::new(slf, size.size("size")?)
    }

    /// Bytes of the next packet; None: it is not there, or not committed.
    #[getter]
    fn next_size(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        self.handle.look(py)?;
        let next = self.core.next_length(self.kernel());
        next.map_err(|error| self.failed(py, "does not say what is next", Timeout::NoWait, error))
    }

    /// Packets that were claimed and not freed.
    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<usize> {
        self.handle.look(py)?;
        Ok(self.core.depth())
    }

    /// Bytes that it holds, as it was made.
    #[getter]
    fn capacity(&self) -> u64 {
        self.handle.header.parameters[0]
    }

    /// A frozen snapshot: what is there, who fills it, who reads.
    fn statistics(&self, py: Python<'_>) -> PyResult<RingStatistics> {
        self.handle.look(py)?;
        Ok(RingStatistics::of(self))
    }

    fn __repr__(&self) -> String {
        describe(&self.handle, &count(self.core.depth(), "packet"))
    }
}
