//! A stream of bytes between any number of writers and readers.
//!
//! A ring with two sides, each under its own lock, as the two-lock queue of Michael and Scott (PODC 1996): writer and reader
//! copy at the same time, and one store moves what was copied. Follows Zephyr's `k_pipe` in what it means.
//!
//! Invariant: `ring[taken, written)` are the bytes that were written and not read, at most as many as the capacity; nobody
//! holds both locks but who resets.

mod end;
#[cfg(not(loom))]
mod layout;
mod read;
mod ready;
mod write;

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::pipe::PipeWords;
use underpass_shm::layout::queue::{CLOSED, COUNT, Gauge};
#[cfg(not(loom))]
use underpass_shm::life::Life;
use underpass_shm::life::Me;
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

#[cfg(not(loom))]
pub use layout::Shape;
pub use ready::{ForReading, ForWriting};

use crate::kernel::{Kernel, Owed, Watch};
use crate::lock::{Held, Lock};
use crate::queue::roster;
use crate::wait::{Patience, Sleepers};
use crate::{Error, Result};

/// A handle of a pipe.
#[derive(Debug)]
pub struct Pipe {
    words: Placed<PipeWords>,
    /// The ring: blocks of one byte, a power of two of them.
    bytes: Blocks,
    ring: u32,
    capacity: u32,
    writing: Patience,
    reading: Patience,
    locking: Patience,
}

/// Bytes that are being copied out.
#[derive(Debug)]
pub struct Bytes<'a> {
    pipe: &'a Pipe,
    start: u32,
    /// How many.
    pub length: usize,
}

impl Bytes<'_> {
    /// Copies them.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn copy_to(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.length);
        let (start, ring) = ((self.start & (self.pipe.ring - 1)) as usize, self.pipe.ring as usize);
        let (first, second) = out.split_at_mut(self.length.min(ring - start));
        self.pipe.bytes.read_across(start, first);
        self.pipe.bytes.read_across(0, second);
    }
}

impl Pipe {
    /// A handle over zeroed words, or those of a pipe. The ring is `capacity` rounded up to a power of two.
    #[must_use]
    pub fn new(words: Placed<PipeWords>, bytes: Blocks, capacity: u32) -> Self {
        let (writing, reading, locking) = (Patience::new(), Patience::new(), Patience::new());
        Self { words, bytes, ring: capacity.next_power_of_two(), capacity, writing, reading, locking }
    }

    /// Bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Bytes in it now: exact at some instant of the call.
    #[must_use]
    pub fn depth(&self) -> u32 {
        let words = &self.words;
        loop {
            let taken = words.taken.word.load(Acquire) & COUNT;
            let written = words.written.word.load(Acquire) & COUNT;
            if words.taken.word.load(Acquire) & COUNT == taken {
                return minus(written, taken).min(self.capacity);
            }
        }
    }

    /// Processes registered as writers; the dead among them until somebody notices.
    #[must_use]
    pub fn writers(&self) -> usize {
        roster::members(&self.words.writers).count()
    }

    /// Who they are.
    #[cfg(not(loom))]
    pub(crate) fn registered(&self) -> impl Iterator<Item = Life> + '_ {
        roster::members(&self.words.writers)
    }

    /// True once it was shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.words.written.word.load(Acquire) & CLOSED != 0
    }

    /// After how many resets an operation comes: it leaves once there is another.
    fn resets(&self, since: Option<u32>) -> u32 {
        since.unwrap_or_else(|| self.words.resets.load(Acquire))
    }

    /// A write or a read of so many bytes is done as a whole or not at all: two of these cannot keep each other waiting.
    fn is_one_piece(&self, size: usize) -> bool {
        size <= self.capacity as usize / 2
    }

    /// Most bytes of a stream that one exchange moves: so that the other side copies while this one does.
    fn chunk(&self) -> usize {
        (self.capacity as usize / 4).max(1)
    }

    /// Bytes between the counts. Under either lock.
    fn depth_inside(&self) -> Result<u32> {
        // SYNC(pipe-1): pairs with `advance`: the other side has copied before it moved its count.
        let (taken, written) = (self.words.taken.word.load(Acquire), self.words.written.word.load(Acquire));
        let depth = minus(written, taken);
        if depth <= self.capacity {
            return Ok(depth);
        }
        Err(Error::Corrupted(format!("{depth} bytes in a pipe of {}", self.capacity)))
    }

    /// Enters the writers' side.
    fn write_side<'a>(&'a self, kernel: &'a dyn Kernel, me: Me) -> Result<Held<'a>> {
        let held = Lock(&self.words.write.lock, &*self.words).acquire(kernel, &self.locking, me)?;
        // Who died may have been in the middle of a reset, and who inherited this lock before may have left before it was over.
        if held.inherited || self.words.resets.load(Acquire) & 1 != 0 {
            drop(self.read_side(kernel, me)?);
        }
        Ok(held)
    }

    /// Enters the readers' side; a reset that somebody left half done is completed.
    fn read_side<'a>(&'a self, kernel: &'a dyn Kernel, me: Me) -> Result<Held<'a>> {
        let held = Lock(&self.words.read.lock, &*self.words).acquire(kernel, &self.locking, me)?;
        self.settle_reset(kernel)?;
        Ok(held)
    }

    /// Moves a count by so many bytes that were copied: the commit, and the wake that it owes to all on the other side.
    fn advance(&self, kernel: &dyn Kernel, gauge: &Gauge, bytes: u32) -> Result<()> {
        let mut word = gauge.word.load(Relaxed);
        let mut owed = None;
        loop {
            if word & CLOSED != 0 {
                return Err(Error::EndOfStream);
            }
            if word & SLEEPERS != 0 && owed.is_none() {
                owed = Some(Owed::name(kernel, &self.words.baton));
            }
            let next = word & !(COUNT | SLEEPERS) | (word.wrapping_add(bytes) & COUNT);
            // SYNC(pipe-1): pairs with `depth_inside`.
            match gauge.word.compare_exchange(word, next, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(other) => word = other,
            }
        }
        if word & SLEEPERS != 0 {
            kernel.wake(&gauge.word, u32::MAX);
        }
        Ok(())
    }

    /// Says that somebody is about to sleep at a gauge. Before it looks at anything: whoever changes that afterwards moves
    /// one of the two words.
    fn announce<'a>(&'a self, watch: &mut Watch<'a>, gauge: &'a Gauge) {
        // SYNC(pipe-2): pairs with `call`, which comes after the change.
        watch.word(&self.words.calls, self.words.calls.load(Acquire));
        watch.word(&gauge.word, gauge.word.fetch_or(SLEEPERS, AcqRel) | SLEEPERS);
    }

    /// Has everybody look who sleeps here or is about to: something changed that no count tells.
    fn call(&self, kernel: &dyn Kernel) {
        call(&self.words, kernel);
    }
}

/// The difference of two counts.
fn minus(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b) & COUNT
}

fn call(words: &PipeWords, kernel: &dyn Kernel) {
    let _owed = Owed::name(kernel, &words.baton);
    // SYNC(pipe-2): pairs with `announce`.
    words.calls.fetch_add(1, AcqRel);
    kernel.wake(&words.calls, u32::MAX);
}

/// All who sleep in a pipe: at a gauge, or for one of the two locks.
impl Sleepers for PipeWords {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        call(self, kernel);
        for lock in [&self.write.lock.word, &self.read.lock.word] {
            lock.fetch_and(!SLEEPERS, AcqRel);
            kernel.wake(lock, u32::MAX);
        }
    }
}
