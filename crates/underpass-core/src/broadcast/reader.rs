//! A reader of a broadcast: its place, and what it has lost, are its own. The writer that waits for it sees how far it has come, and what it
//! reads in place.

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
use crate::planted::{Fault, planted};
use crate::wait::{Patience, Waiting, wait_until};
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
    pub(super) position: u64,
    /// Bytes.
    pub length: usize,
    pub(super) number: u64,
}

/// What became of a message that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It was copied.
    Copied,
    /// It is read where it lies, until that ends.
    InPlace,
}

/// Who is handed a message.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Message<'_>) -> Result<Kept>;

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
#[derive(Debug)]
pub(super) struct Place {
    position: u64,
    /// The number of the message that it expects there.
    next: u64,
    /// Messages that were overwritten before it came to them.
    pub(super) lost: u64,
    /// The dead writer of which it was told.
    told: Life,
    /// Where the writer sees this, if it waits for its readers, and the process that has come there; None, too, once the reader has left and
    /// reads nothing in place.
    pub(super) seat: Option<(usize, Life)>,
    /// It gets nothing more.
    left: bool,
    /// What is read in place where the writer waits for that: where it begins, and its number, the oldest first.
    pub(super) taken: Vec<(u64, u64)>,
}

impl Place {
    /// Where the writer sees it, if it is that process's and no forked copy: another reader of that process may have come there since.
    pub(super) fn seat_of(&self, process: Life) -> Option<usize> {
        self.seat.filter(|(_, owner)| *owner == process).map(|(seat, _)| seat)
    }

    /// There is something to get.
    fn is_behind(&self, count: u64) -> Result<bool> {
        if count < self.next {
            return Err(Error::Corrupted(format!("{count} messages, where there were {} before", self.next)));
        }
        Ok(count > self.next)
    }

    /// What the writer must leave alone: from where on, and which message begins there. None: nothing, its reader has left.
    pub(super) fn pinned(&self) -> Option<(u64, u64)> {
        let next = (!self.left).then_some((self.position, self.next));
        if planted(Fault::UnpinnedLease) { next } else { self.taken.first().copied().or(next) }
    }
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
    pub(super) broadcast: Broadcast,
    /// Held for one attempt, and never across a sleep.
    place: Mutex<Place>,
    patience: Patience,
}

impl Reader {
    /// One that begins there. The writer waits for it from now on, if it waits for anybody.
    pub fn new(broadcast: &Broadcast, kernel: &dyn Kernel, start: Start) -> Result<Self> {
        let process = kernel.me()?.process;
        let seat = broadcast.is_lossless().then(|| broadcast.places.claim(kernel)).transpose()?;
        let begin = match start {
            Start::Now => broadcast.progress().map(|now| (now.end, now.count)),
            Start::Oldest => broadcast.oldest(),
        };
        if let Some(seat) = seat {
            match begin {
                Ok((position, next)) => broadcast.places.hold(seat, position, next),
                Err(_) => _ = broadcast.places.leave(seat, process),
            }
            // Until now this one kept everything.
            broadcast.tell_of_room(kernel);
        }
        let (position, next) = begin?;
        let seat = seat.map(|seat| (seat, process));
        let place = Place { position, next, lost: 0, told: Life::NOBODY, seat, left: false, taken: Vec::new() };
        let place = Mutex::new(place);
        Ok(Self { broadcast: broadcast.clone(), place, patience: Patience::new() })
    }

    /// It gets nothing more, and the writer no longer waits for it, but for what it still reads in place. A forked copy leaves nothing:
    /// the place is its parent's.
    pub fn leave(&self, kernel: &dyn Kernel) {
        let Ok(me) = kernel.me() else { return };
        {
            let place = &mut *self.place();
            place.left = true;
            self.pin(place, me.process);
        }
        self.broadcast.tell_of_room(kernel);
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
        self.hand(kernel, deadline, &mut |message| sink(message).map(|()| Kept::Copied))
    }

    #[inline]
    pub(super) fn hand(&self, kernel: &dyn Kernel, deadline: Deadline, sink: Sink<'_>) -> Result<()> {
        if self.attempt(kernel, sink)?.is_some() {
            return Ok(());
        }
        self.hand_slow(kernel, deadline, sink)
    }

    #[cold]
    fn hand_slow(&self, kernel: &dyn Kernel, deadline: Deadline, sink: Sink<'_>) -> Result<()> {
        if deadline == Deadline::NoWait {
            return self.attempt_or_end(kernel, sink)?.ok_or(Error::WouldBlock);
        }
        let waiting = Waiting {
            sleepers: Some(&*self.broadcast.words),
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
                let Some(watch) = watch else { return self.attempt(kernel, sink) };
                self.announce(watch);
                self.attempt_or_end(kernel, sink)
            },
        )
    }

    /// The next message, or why none will come: a writer's death is told once.
    fn attempt_or_end(&self, kernel: &dyn Kernel, sink: Sink<'_>) -> Result<Option<()>> {
        // Asked first: what was published before the end is there by then.
        let end = self.end(kernel);
        if let Some(done) = self.attempt(kernel, sink)? {
            return Ok(Some(done));
        }
        match end {
            // Another thread that shares this reader has told of it meanwhile.
            Some(End { death: Some(death), .. }) if !self.tells(death) => Ok(None),
            Some(End { error, .. }) => Err(error),
            None => Ok(None),
        }
    }

    /// Nothing more will come, or a death is to be told.
    pub(super) fn has_end(&self, kernel: &dyn Kernel) -> bool {
        self.end(kernel).is_some()
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
    pub(super) fn announce<'a>(&'a self, watch: &mut Watch<'a>) {
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

    /// Hands the next message over, if there is one, and tells a writer that waits for that.
    fn attempt(&self, kernel: &dyn Kernel, sink: Sink<'_>) -> Result<Option<()>> {
        if !self.broadcast.is_lossless() {
            return self.attempt_lossy(sink);
        }
        let me = kernel.me()?;
        let done = self.attempt_lossless(me.process, sink)?;
        if done.is_some() {
            self.broadcast.tell_of_room(kernel);
        }
        Ok(done)
    }

    /// The next one lies where it is until this reader has it.
    fn attempt_lossless(&self, process: Life, sink: Sink<'_>) -> Result<Option<()>> {
        let (place, broadcast) = (&mut *self.place(), &self.broadcast);
        if place.left || place.seat_of(process).is_none_or(|seat| !broadcast.places.is_of(seat, process)) {
            return Err(Error::Misuse(
                "it was closed meanwhile, or is that of the process that this one was forked from: subscribe here"
                    .into(),
            ));
        }
        if !place.is_behind(broadcast.count())? {
            return Ok(None);
        }
        let read = broadcast.read(place.position, place.next, sink)?;
        let (kept, next) = read.ok_or_else(|| Error::Corrupted(format!("message {} was overwritten", place.next)))?;
        if kept == Kept::InPlace {
            place.taken.push((place.position, place.next));
        }
        (place.position, place.next) = (next, place.next + 1);
        self.pin(place, process);
        Ok(Some(()))
    }

    /// None, too, where the writer has lapped this one time and again.
    fn attempt_lossy(&self, sink: Sink<'_>) -> Result<Option<()>> {
        let place = &mut *self.place();
        for lapped in 0..ATTEMPTS {
            if !place.is_behind(self.broadcast.count())? {
                return Ok(None);
            }
            if let Some((_, next)) = self.broadcast.read(place.position, place.next, sink)? {
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

    pub(super) fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broadcast {
    /// Hands the message of that number to `sink`, which starts at that position; what became of it, and where the next one starts. None:
    /// it was overwritten meanwhile, and what the sink got is worth nothing.
    fn read(&self, position: u64, number: u64, sink: Sink<'_>) -> Result<Option<(Kept, u64)>> {
        let mut first = position;
        let mut header = self.ring.header(first);
        if header.length.is_none() {
            first += self.ring.rest(first);
            header = self.ring.header(first);
        }
        if self.is_lapped(position) {
            return Ok(None);
        }
        let (Some(length), true) = (header.length, header.number == number) else {
            return Err(Error::Corrupted(format!("message {} where {number} should be", header.number)));
        };
        let extent = self.ring.extent(first, header)?;
        let message = Message { ring: &self.ring, position: first, length: length as usize, number };
        let kept = sink(message);
        if kept == Err(Error::Refused) {
            // Why is kept elsewhere, and would meet the next attempt there.
            return Err(Error::Refused);
        }
        if self.is_lapped(position) {
            return Ok(None);
        }
        kept.map(|kept| Some((kept, first + extent)))
    }

    /// What was read from that position on may have been overwritten before: never, where the writer waits for who reads it.
    #[inline]
    fn is_lapped(&self, position: u64) -> bool {
        !self.is_lossless() && !self.is_whole(position)
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
