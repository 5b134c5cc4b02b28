//! A reader of a broadcast: its place, and what it has lost, are its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, SeqCst};
use underpass_shm::sync::fence;

use super::ring::Ring;
use super::{Broadcast, LOOKS};
use crate::error::Phase;
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// How often one is lapped in one attempt before it goes to wait, and comes back at once.
const ATTEMPTS: u32 = 64;

/// With which message a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The next one.
    Now,
    /// The oldest that is still there.
    Oldest,
}

/// A message that is being copied out. What is copied may turn out to be overwritten: then the next attempt follows.
#[derive(Debug)]
pub struct Message<'a> {
    ring: &'a Ring,
    position: u64,
    /// Bytes.
    pub length: usize,
}

impl Message<'_> {
    /// Copies the start of the message.
    ///
    /// # Panics
    /// If `out` is longer than the message.
    pub fn copy_to(&self, out: &mut [u8]) {
        assert!(out.len() <= self.length);
        self.ring.read(self.position, out);
    }
}

/// Where a reader is.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: u64,
    /// The number of the message that it expects there.
    next: u64,
    /// Messages that were overwritten before it came to them.
    lost: u64,
    /// The dead writer of which it was told.
    told: Life,
}

/// Why nothing more will come.
#[derive(Debug)]
struct End {
    error: Error,
    /// It was a death, which is told once.
    death: Option<Death>,
}

/// A writer that died.
#[derive(Debug, Clone, Copy)]
struct Death {
    writer: Life,
    /// The one of which this reader was told last before.
    told: Life,
}

/// A handle of a reader.
#[derive(Debug)]
pub struct Reader {
    broadcast: Broadcast,
    /// Held for one attempt, and never across a sleep.
    place: Mutex<Place>,
    patience: Patience,
}

impl Reader {
    /// One that begins there.
    pub fn new(broadcast: &Broadcast, start: Start) -> Result<Self> {
        let (position, next) = match start {
            Start::Now => broadcast.progress().map(|now| (now.end, now.count))?,
            Start::Oldest => broadcast.oldest()?,
        };
        let place = Mutex::new(Place { position, next, lost: 0, told: Life::NOBODY });
        Ok(Self { broadcast: broadcast.clone(), place, patience: Patience::new() })
    }

    /// Messages that were overwritten before this reader came to them, so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.place().lost
    }

    /// Messages that were published and not got yet; some of them may be lost.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.broadcast.count().saturating_sub(self.place().next)
    }

    /// Hands the next message to `sink`, waiting for one. If the sink refuses, the message is the next again.
    pub fn get(
        &self,
        kernel: &dyn Kernel,
        deadline: Deadline,
        mut sink: impl FnMut(Message<'_>) -> Result<()>,
    ) -> Result<()> {
        if self.attempt(&mut sink)?.is_some() {
            return Ok(());
        }
        self.get_slow(kernel, deadline, &mut sink)
    }

    #[cold]
    fn get_slow(
        &self,
        kernel: &dyn Kernel,
        deadline: Deadline,
        sink: &mut dyn FnMut(Message<'_>) -> Result<()>,
    ) -> Result<()> {
        if deadline == Deadline::NoWait {
            return self.attempt_or_end(kernel, sink)?.ok_or(Error::WouldBlock);
        }
        let waiting = Waiting {
            sleepers: Some(self.sleepers()),
            deadline,
            patience: &self.patience,
            partner: 0,
            operation: Operation::Get,
        };
        wait_until(
            kernel,
            waiting,
            || self.behind() > 0,
            |watch, _slept| {
                let Some(watch) = watch else { return self.attempt(sink) };
                self.announce(watch);
                self.attempt_or_end(kernel, sink)
            },
        )
    }

    /// The next message, or why none will come: a writer's death is told once.
    fn attempt_or_end(
        &self,
        kernel: &dyn Kernel,
        sink: &mut dyn FnMut(Message<'_>) -> Result<()>,
    ) -> Result<Option<()>> {
        // Asked first: what was published before the end is there by then.
        let end = self.end(kernel);
        if let Some(done) = self.attempt(sink)? {
            return Ok(Some(done));
        }
        match end {
            // Another thread that shares this reader has told of it meanwhile.
            Some(End { death: Some(death), .. }) if !self.tells(death) => Ok(None),
            Some(End { error, .. }) => Err(error),
            None => Ok(None),
        }
    }

    /// Why nothing more will come.
    fn end(&self, kernel: &dyn Kernel) -> Option<End> {
        let (writer, told) = (self.broadcast.writer(), self.place().told);
        if self.broadcast.is_closed() {
            Some(End { error: Error::EndOfStream, death: None })
        } else if writer != Life::NOBODY && writer != told && !kernel.alive(writer) {
            let error = Error::PeerDied { pid: kernel.pid(writer), phase: Phase::Wait };
            Some(End { error, death: Some(Death { writer, told }) })
        } else {
            None
        }
    }

    /// Says that a death is told here and now; false: the one before it is no longer the last that was.
    fn tells(&self, Death { writer, told }: Death) -> bool {
        let place = &mut *self.place();
        let is_first = place.told == told;
        if is_first {
            place.told = writer;
        }
        is_first
    }

    /// Says that somebody is about to sleep, and for what. Before it looks for the last time.
    fn announce<'a>(&'a self, watch: &mut Watch<'a>) {
        let words = &*self.broadcast.words;
        watch.word(&words.news, words.news.fetch_or(SLEEPERS, AcqRel) | SLEEPERS);
        // SYNC(broadcast-4): pairs with `tell`.
        fence(SeqCst);
        let writer = self.broadcast.writer();
        // One of whose death it was told would not let it sleep.
        if writer != self.place().told {
            watch.life(writer);
        }
        // What is published after this is not slept through; a deadline passes whatever is there.
        watch.wide = Some((&words.count, self.broadcast.count()));
    }

    /// Hands the next message over, if there is one; not, too, where the writer has lapped this one time and again.
    fn attempt(&self, sink: &mut dyn FnMut(Message<'_>) -> Result<()>) -> Result<Option<()>> {
        let place = &mut *self.place();
        for lapped in 0..ATTEMPTS {
            let count = self.broadcast.count();
            if count == place.next {
                return Ok(None);
            }
            if count < place.next {
                return Err(Error::Corrupted(format!("{count} messages, where there were {} before", place.next)));
            }
            if let Some(next) = self.broadcast.read(place.position, place.next, sink)? {
                place.position = next;
                place.next += 1;
                return Ok(Some(()));
            }
            let (oldest, now) = (self.broadcast.oldest()?, self.broadcast.progress()?);
            let newest = (now.last, now.count.wrapping_sub(1));
            // The oldest is the next to be overwritten. There may be none: the next message is as long as all the others.
            let (position, next) = if lapped == 0 || oldest.1 > newest.1 { oldest } else { newest };
            let lost = next.checked_sub(place.next);
            place.lost += lost.ok_or_else(|| Error::Corrupted(format!("message {next} after {}", place.next)))?;
            (place.position, place.next) = (position, next);
        }
        Ok(None)
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broadcast {
    /// Hands the message of that number to `sink`, which starts at that position; where the next one starts. None: it was
    /// overwritten meanwhile, and what the sink got is worth nothing.
    fn read(&self, position: u64, number: u64, sink: &mut dyn FnMut(Message<'_>) -> Result<()>) -> Result<Option<u64>> {
        let mut first = position;
        let mut header = self.ring.header(first);
        if header.length.is_none() {
            first += self.ring.rest(first);
            header = self.ring.header(first);
        }
        if !self.is_whole(position) {
            return Ok(None);
        }
        let (Some(length), true) = (header.length, header.number == number) else {
            return Err(Error::Corrupted(format!("message {} where {number} should be", header.number)));
        };
        let extent = self.ring.extent(first, header)?;
        let kept = sink(Message { ring: &self.ring, position: first, length: length as usize });
        if kept == Err(Error::Refused) {
            // Why is kept elsewhere, and would meet the next attempt there.
            return Err(Error::Refused);
        }
        if !self.is_whole(position) {
            return Ok(None);
        }
        kept.map(|()| Some(first + extent))
    }

    /// The oldest record: its position, and its number. Those of the next one, if there is none.
    pub(super) fn oldest(&self) -> Result<(u64, u64)> {
        for _ in 0..LOOKS {
            let start = Ring::check(self.words.start.load(Acquire))?;
            let now = self.progress()?;
            if start == now.end {
                return Ok((now.end, now.count));
            }
            let header = self.ring.header(start);
            if self.is_whole(start) {
                return if start < now.end && header.number < now.count {
                    Ok((start, header.number))
                } else {
                    Err(Error::Corrupted(format!("message {} at {start}, of {}", header.number, now.count)))
                };
            }
        }
        Err(Error::Corrupted("its oldest message does not stay".into()))
    }
}

impl Ready for Reader {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.broadcast.words
    }

    /// A get would not wait: a message was published, or there is something to be told of the writer.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        if self.behind() > 0 {
            return Ok(true);
        }
        if let Some(watch) = watch {
            self.announce(watch);
        }
        Ok(self.end(kernel).is_some() || self.behind() > 0)
    }
}
