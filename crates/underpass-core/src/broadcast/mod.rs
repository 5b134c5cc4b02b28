//! A broadcast: one writes and never waits, any number read, and each is told exactly what it lost.
//!
//! Zephyr's winstream (`include/zephyr/sys/winstream.h`), which counts bytes, with a count of messages and a writer that
//! can die; readers notice that they were lapped as those of a seqlock do (Boehm, MSPC 2012).
//!
//! Invariant: between `start` and the end of message `count` lie whole records, numbered without a gap; `start` is past
//! whatever is being overwritten before it is. Readers have no word here but a bit that says that somebody sleeps.

#[cfg(not(loom))]
mod layout;
mod reader;
mod ring;

use underpass_shm::layout::broadcast::{BroadcastWords, CHANGES, CLOSED, ENDS};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::life::{Life, Me};
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use underpass_shm::sync::{AtomicU32, AtomicU64, fence};

use self::ring::{Header, Ring};
use crate::kernel::{Kernel, Owed};
use crate::lock::{Held, Lock};
use crate::wait::{Patience, Sleepers};
use crate::{Error, Result};

#[cfg(not(loom))]
pub use layout::{LEAST, MOST, Shape};
pub use reader::{Message, Reader, Start};

/// Looks at words that a writer changes meanwhile, before one gives up.
const LOOKS: u32 = 1_000;

/// A handle of a broadcast.
#[derive(Debug, Clone)]
pub struct Broadcast {
    words: Placed<BroadcastWords>,
    ring: Ring,
    locking: Patience,
}

/// How far the writer has come, at one instant.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Messages published.
    count: u64,
    /// Where the last of them ends.
    end: u64,
    /// Where it starts, a filler in front of it included.
    last: u64,
}

impl Broadcast {
    /// A handle over zeroed words, or those that others use; of the ring a multiple of two, eight at least.
    #[must_use]
    pub fn new(words: Placed<BroadcastWords>, ring: PlacedSlice<AtomicU64>) -> Self {
        Self { words, ring: Ring::new(ring), locking: Patience::new() }
    }

    /// Bytes of its ring.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.ring.capacity()
    }

    /// Bytes of the longest message.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.ring.longest() as usize
    }

    /// Messages published.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u64 {
        // SYNC(broadcast-1): pairs with `commit`: who sees the count sees the record, unless it was overwritten since.
        self.words.count.load(Acquire)
    }

    /// Messages that are still there: a peek, not a promise.
    pub fn kept(&self) -> Result<u64> {
        let (_, oldest) = self.oldest()?;
        Ok(self.count().saturating_sub(oldest))
    }

    /// Nothing more will be published.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.words.news.load(Acquire) & CLOSED != 0
    }

    /// The process that may publish, dead or alive: a peek, not a promise.
    #[must_use]
    pub fn writer(&self) -> Life {
        Life(self.words.writer.load(Acquire))
    }

    /// Publishes a message: the oldest make room for it, and all who wait are woken.
    pub fn publish(&self, kernel: &dyn Kernel, data: &[u8]) -> Result<()> {
        let (size, limit) = (data.len(), self.longest());
        if size > limit {
            return Err(Error::TooLong { size, limit });
        }
        let me = kernel.me()?;
        // Whoever sleeps by the time of the store is told, also if this thread dies right after it.
        let _owed = Owed::name(kernel, &self.words.baton);
        let turn = self.turn(kernel, me)?;
        self.put(data)?;
        drop(turn);
        self.tell(kernel);
        Ok(())
    }

    /// Ends it: readers come to the end of what is there.
    pub fn shutdown(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let _owed = Owed::name(kernel, &self.words.baton);
        match self.turn(kernel, me) {
            // In the turn: another thread of the writer's would publish what those who have come to the end never get.
            Ok(_turn) => self.words.news.fetch_or(CLOSED, AcqRel),
            // It was ended before.
            Err(Error::EndOfStream) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.tell(kernel);
        Ok(())
    }

    /// The turn of a thread of the writer's; whoever comes while there is none becomes it.
    fn turn<'a>(&'a self, kernel: &'a dyn Kernel, me: Me) -> Result<Held<'a>> {
        let words = &*self.words;
        // Before the lock too: who is refused does not wait for the writer, which may be stopped in the middle of a message.
        self.is_mine(kernel, me)?;
        let turn = Lock(&words.lock, words).acquire(kernel, &self.locking, me)?;
        if !self.is_mine(kernel, me)? {
            words.writer.store(me.process.0, Release);
            // All who sleep have to watch this one.
            self.tell(kernel);
        }
        if self.is_closed() { Err(Error::EndOfStream) } else { Ok(turn) }
    }

    /// Whether this process is the writer; an error if another is, and lives.
    fn is_mine(&self, kernel: &dyn Kernel, me: Me) -> Result<bool> {
        let writer = self.writer();
        if writer == me.process {
            return Ok(true);
        }
        if writer == Life::NOBODY || !kernel.alive(writer) {
            return Ok(false);
        }
        Err(Error::Misuse(format!(
            "pid {} publishes here, and a broadcast has one writer at a time: the next may begin when that process has ended",
            kernel.pid(writer)
        )))
    }

    /// Writes a record behind the last one. In the writer's turn.
    fn put(&self, data: &[u8]) -> Result<()> {
        let words = &*self.words;
        let count = words.count.load(Relaxed);
        let end = Ring::check(words.ends[place(count)].load(Relaxed))?;
        let size = ring::size(data.len() as u64);
        let rest = self.ring.rest(end);
        let first = if rest < size { end + rest } else { end };
        self.give_up(end, first + size)?;
        if first != end {
            self.ring.set_header(end, Header { length: None, number: count });
        }
        self.ring.set_header(first, Header { length: Some(data.len() as u64), number: count });
        self.ring.write(first, data);
        // SYNC(broadcast-2): pairs with `progress`, which sees by the count that this end is a later one.
        words.ends[place(count.wrapping_add(1))].store(first + size, Release);
        // SYNC(broadcast-1): the commit.
        words.count.store(count.wrapping_add(1), Release);
        Ok(())
    }

    /// Gives up the oldest records, as many as the bytes up to `until` will overwrite; `end` is where the last one ends.
    fn give_up(&self, end: u64, until: u64) -> Result<()> {
        let words = &*self.words;
        let before = Ring::check(words.start.load(Relaxed))?;
        let wrong = |start| Error::Corrupted(format!("its oldest record at {start}, and the last one ends at {end}"));
        if end.checked_sub(before).is_none_or(|there| there > self.ring.capacity()) {
            return Err(wrong(before));
        }
        let mut start = before;
        while start + self.ring.capacity() < until {
            start += self.ring.extent(start, self.ring.header(start))?;
        }
        if start > end {
            return Err(wrong(start));
        }
        // Also where it stays: a writer that has died may have raised it, and published nothing since.
        words.start.store(start, Release);
        // SYNC(broadcast-3): pairs with `is_whole`: who has read a byte that is written after this sees the new start.
        fence(Release);
        Ok(())
    }

    /// Nothing of what was read from that position on was overwritten before.
    #[inline]
    fn is_whole(&self, position: u64) -> bool {
        // SYNC(broadcast-3)
        fence(Acquire);
        self.words.start.load(Relaxed) <= position
    }

    fn progress(&self) -> Result<Progress> {
        let words = &*self.words;
        for _ in 0..LOOKS {
            let count = self.count();
            // SYNC(broadcast-2)
            let end = words.ends[place(count)].load(Acquire);
            let last = words.ends[place(count.wrapping_sub(1))].load(Acquire);
            // The end before the last is written again when the count is about to be three more.
            if words.count.load(Relaxed).wrapping_sub(count) < 2 {
                return Ok(Progress { count, end: Ring::check(end)?, last: Ring::check(last)? });
            }
        }
        Err(Error::Corrupted("its count does not stand still".into()))
    }

    /// Wakes all who sleep, after a change.
    fn tell(&self, kernel: &dyn Kernel) {
        // SYNC(broadcast-4): pairs with `announce`: it sees the change, or is seen.
        fence(SeqCst);
        if self.words.news.load(Relaxed) & SLEEPERS != 0 {
            call(&self.words.news);
            kernel.wake(&self.words.news, u32::MAX);
        }
    }
}

/// Where it stands how far message `number` goes.
fn place(number: u64) -> usize {
    (number % ENDS as u64) as usize
}

/// Has everybody look again who has announced itself, whether it sleeps already or not yet.
fn call(news: &AtomicU32) {
    let mut word = news.load(Relaxed);
    loop {
        let next = word & CLOSED | word.wrapping_add(1) & CHANGES;
        match news.compare_exchange_weak(word, next, AcqRel, Relaxed) {
            Ok(_) => return,
            Err(other) => word = other,
        }
    }
}

impl Sleepers for BroadcastWords {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, &self.baton);
        call(&self.news);
        kernel.wake(&self.news, u32::MAX);
        self.lock.word.fetch_and(!SLEEPERS, AcqRel);
        kernel.wake(&self.lock.word, u32::MAX);
    }
}
