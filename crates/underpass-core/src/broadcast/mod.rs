//! A broadcast: one writes, any number read. The writer waits for nobody, and each reader is told exactly what it lost; or it waits for
//! the slowest that lives, and nothing is lost.
//!
//! Zephyr's winstream (`include/zephyr/sys/winstream.h`), which counts bytes, with a count of messages and a writer that
//! can die; readers notice that they were lapped as those of a seqlock do (Boehm, MSPC 2012).
//!
//! Invariant: between `start` and the end of message `count` lie whole records, numbered without a gap; `start` is past
//! whatever is being overwritten before it is. Readers have no word here but a bit that says that somebody sleeps, and a place each where
//! the writer waits for them.

#[cfg(not(loom))]
mod layout;
mod lease;
mod loan;
mod places;
mod reader;
mod ready;
mod ring;

use underpass_shm::layout::broadcast::{BroadcastWords, CHANGES, CLOSED, ENDS, PlaceWords};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use underpass_shm::sync::{AtomicU32, AtomicU64, fence};

use self::places::Places;
use self::ring::{Header, Ring};
use crate::kernel::{Kernel, Owed, Watch};
use crate::lock::{Held, Lock};
use crate::planted::{Fault, planted};
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

#[cfg(not(loom))]
pub use layout::{LEAST, MOST, Shape, WhenFull};
pub use lease::Taken;
pub use loan::Lent;
pub use places::Follower;
pub use reader::{Message, Reader, Start};
pub use ready::ForPublishing;

/// Looks at words that a writer changes meanwhile, before one gives up.
const LOOKS: u32 = 1_000;

/// A handle of a broadcast.
#[derive(Debug, Clone)]
pub struct Broadcast {
    words: Placed<BroadcastWords>,
    places: Places,
    ring: Ring,
    locking: Patience,
    publishing: Patience,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    /// Its number.
    number: u64,
    /// Where the last one ends.
    end: u64,
    /// Where it starts: there, or behind a filler.
    first: u64,
    /// Where it ends.
    until: u64,
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
    /// A handle over zeroed words, or those that others use; of the ring a multiple of two, eight at least. Without places the
    /// writer waits for nobody.
    #[must_use]
    pub fn new(words: Placed<BroadcastWords>, places: PlacedSlice<PlaceWords>, ring: PlacedSlice<AtomicU64>) -> Self {
        let (locking, publishing) = (Patience::new(), Patience::new());
        Self { words, places: Places::new(places), ring: Ring::new(ring), locking, publishing }
    }

    /// Its writer waits for its readers, and nothing is lost.
    #[inline]
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.places.are_there()
    }

    /// The readers for whom the writer waits, the slowest first: a peek.
    #[must_use]
    pub fn followers(&self, kernel: &dyn Kernel) -> Vec<Follower> {
        self.places.followers(kernel, self.count())
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

    /// Publishes a message, and wakes all who wait for one. The oldest make room for it, once those have got them for whom it waits.
    pub fn publish(&self, kernel: &dyn Kernel, data: &[u8], deadline: Deadline) -> Result<()> {
        let me = kernel.me()?;
        // Whoever sleeps by the time of the store is told, also if this thread dies right after it.
        let _owed = Owed::name(kernel, &self.words.baton);
        self.with_room(kernel, me, data.len(), deadline, |target| self.put(target, data))?;
        self.tell(kernel);
        Ok(())
    }

    /// Does something with the room for a message of that size, in the writer's turn, once there is some.
    #[inline]
    fn with_room<T>(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        size: usize,
        deadline: Deadline,
        act: impl Fn(Target) -> T,
    ) -> Result<T> {
        self.check_size(size)?;
        match self.try_with_room(kernel, me, size, None, deadline == Deadline::NoWait, &act)? {
            Some(done) => Ok(done),
            None => self.with_room_slow(kernel, me, size, deadline, &act),
        }
    }

    #[cold]
    fn with_room_slow<T>(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        size: usize,
        deadline: Deadline,
        act: &impl Fn(Target) -> T,
    ) -> Result<T> {
        if deadline == Deadline::NoWait {
            return Err(Error::WouldBlock);
        }
        let (patience, operation) = (&self.publishing, Operation::Publish);
        let waiting = Waiting { sleepers: Some(&*self.words), deadline, patience, partner: 0, operation };
        wait_until(
            kernel,
            waiting,
            || self.seems_to_have_room(size),
            |mut watch, _slept| {
                if let Some(watch) = watch.as_deref_mut() {
                    self.announce_writer(watch);
                }
                let ask = watch.is_some();
                self.try_with_room(kernel, me, size, watch, ask, act)
            },
        )
    }

    /// The same, unless a reader keeps it from that. Who asks leaves out the dead, and watches those who live.
    #[inline]
    fn try_with_room<T>(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        size: usize,
        mut watch: Option<&mut Watch<'_>>,
        ask: bool,
        act: &impl Fn(Target) -> T,
    ) -> Result<Option<T>> {
        let _turn = self.turn(kernel, me)?;
        self.is_not_lent()?;
        let target = self.target(size)?;
        let before = self.overwrites(target);
        let mut is_held = || {
            if ask {
                self.places.hold_back(kernel, me, before, watch.as_deref_mut())
            } else {
                self.places.seem_to_hold(before)
            }
        };
        if is_held() {
            return Ok(None);
        }
        self.give_up(target)?;
        if self.is_lossless() {
            // SYNC(broadcast-6): pairs with `Places::claim`: who came meanwhile is seen, or sees the new start.
            fence(SeqCst);
            if is_held() {
                return Ok(None);
            }
        }
        Ok(Some(act(target)))
    }

    fn check_size(&self, size: usize) -> Result<()> {
        let limit = self.longest();
        if size > limit { Err(Error::TooLong { size, limit }) } else { Ok(()) }
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
        // Threads that wait for room to publish what nobody will get.
        self.tell_of_room(kernel);
        Ok(())
    }

    /// The turn of a thread of the writer's; whoever comes while there is none becomes it.
    fn turn<'a>(&'a self, kernel: &'a dyn Kernel, me: Me) -> Result<Held<'a>> {
        let words = &*self.words;
        // Before the lock too: who is refused does not wait for the writer, which may be stopped in the middle of a message.
        self.is_mine(kernel, me)?;
        let turn = Lock(&words.lock, words).acquire(kernel, &self.locking, me)?;
        if !self.is_mine(kernel, me)? {
            self.end_loan_of_the_dead();
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

    /// Where a message of that size goes: behind the last one. In the writer's turn, or a peek.
    fn target(&self, size: usize) -> Result<Target> {
        let number = self.words.count.load(Relaxed);
        let end = Ring::check(self.words.ends[place(number)].load(Relaxed))?;
        let (size, rest) = (ring::size(size as u64), self.ring.rest(end));
        let first = if rest < size { end + rest } else { end };
        Ok(Target { number, end, first, until: first + size })
    }

    /// What lies in front of that position is overwritten by such a message.
    fn overwrites(&self, target: Target) -> u64 {
        target.until.saturating_sub(self.ring.capacity())
    }

    /// No reader seems to keep a message of that size from being published: a peek.
    fn seems_to_have_room(&self, size: usize) -> bool {
        self.target(size).map_or(true, |target| !self.places.seem_to_hold(self.overwrites(target)))
    }

    /// Writes a record. In the writer's turn.
    #[inline]
    fn put(&self, target: Target, data: &[u8]) {
        self.ring.write(target.first, data);
        self.add(target, data.len());
    }

    /// Has so many bytes be a message that were written where it goes. In the writer's turn.
    #[inline]
    fn add(&self, Target { number, end, first, until }: Target, length: usize) {
        if first != end {
            self.ring.set_header(end, Header { length: None, number });
        }
        self.ring.set_header(first, Header { length: Some(length as u64), number });
        let next = number.wrapping_add(1);
        // SYNC(broadcast-2): pairs with `progress`, which sees by the count that this end is a later one.
        self.words.ends[place(next)].store(until, Release);
        // SYNC(broadcast-1): the commit.
        self.words.count.store(next, Release);
    }

    /// Gives up the oldest records, as many as will be overwritten.
    fn give_up(&self, target: Target) -> Result<()> {
        let (words, end) = (&*self.words, target.end);
        let before = Ring::check(words.start.load(Relaxed))?;
        let wrong = |start| Error::Corrupted(format!("its oldest record at {start}, and the last one ends at {end}"));
        if end.checked_sub(before).is_none_or(|there| there > self.ring.capacity()) {
            return Err(wrong(before));
        }
        let mut start = before;
        while start < self.overwrites(target) {
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

    /// Says that a thread is about to sleep until readers go on. Before it looks for the last time.
    fn announce_writer<'a>(&'a self, watch: &mut Watch<'a>) {
        let room = &self.words.room;
        watch.word(room, room.fetch_or(SLEEPERS, AcqRel) | SLEEPERS);
        // SYNC(broadcast-7): pairs with `tell_of_room`.
        fence(SeqCst);
    }

    /// Wakes the writer's threads that wait for readers, after one has gone on or left. Each watches those that keep it waiting, so none
    /// of these needs the baton.
    fn tell_of_room(&self, kernel: &dyn Kernel) {
        // SYNC(broadcast-7): pairs with `announce_writer`: it sees the place, or is seen.
        fence(SeqCst);
        if self.words.room.load(Relaxed) & SLEEPERS != 0 && !planted(Fault::UntoldRoom) {
            call(&self.words.room);
            kernel.wake(&self.words.room, u32::MAX);
        }
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

/// Has everybody look again who has announced itself in a word, whether it sleeps already or not yet.
fn call(sleepers: &AtomicU32) {
    let mut word = sleepers.load(Relaxed);
    loop {
        let next = word & CLOSED | word.wrapping_add(1) & CHANGES;
        match sleepers.compare_exchange_weak(word, next, AcqRel, Relaxed) {
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
        for word in [&self.news, &self.room] {
            call(word);
            kernel.wake(word, u32::MAX);
        }
        self.lock.word.fetch_and(!SLEEPERS, AcqRel);
        kernel.wake(&self.lock.word, u32::MAX);
    }
}
