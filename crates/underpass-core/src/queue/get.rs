//! The getters' side of a queue: messages, leases, and what is seen when none will come any more.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::{CLOSED, COUNT, JOINERS, PUTTERS_DIED, PUTTERS_LEFT, PUTTERS_PRESENT};
use underpass_shm::life::Me;
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use super::line::Stand;
use super::{CHUNK, Message, Queue, Ticket, roster};
use crate::error::Phase;
use crate::kernel::{Kernel, Owed, Watch};
use crate::planted::{Fault, planted};
use crate::wait::{Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// Who gets that many messages without waiting looks whether a holder has died.
const REAP_EVERY: u32 = 64;

impl Queue {
    /// Hands the front message to `sink` and ends it, waiting for one. If the sink refuses, the message stays.
    #[inline]
    pub fn get(
        &self,
        kernel: &dyn Kernel,
        deadline: Deadline,
        mut sink: impl FnMut(Message<'_>) -> Result<()>,
    ) -> Result<()> {
        self.get_many(kernel, 1, deadline, &mut sink).map(drop)
    }

    /// Hands at least one message to `sink`, then those that were there beside it, up to `limit`; how many.
    #[inline]
    pub fn get_many(
        &self,
        kernel: &dyn Kernel,
        limit: usize,
        deadline: Deadline,
        sink: &mut dyn FnMut(Message<'_>) -> Result<()>,
    ) -> Result<usize> {
        let me = kernel.me()?;
        self.reap_in_turn(kernel, me)?;
        match self.try_get(kernel, me, limit, sink, &mut Stand::default())? {
            0 => self.for_message(kernel, me, deadline, |stand| {
                let got = self.try_get(kernel, me, limit, sink, stand)?;
                Ok((got > 0).then_some(got))
            }),
            got => Ok(got),
        }
    }

    /// Leases the front message, waiting for one.
    pub fn take(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Ticket> {
        let me = kernel.me()?;
        let listed = self.list_holder(kernel, me)?;
        self.reap_in_turn(kernel, me)?;
        let attempt = |stand: &mut Stand| {
            let _side = self.room.getters(kernel, &self.locking, me)?;
            if !self.may_get(kernel, stand)? {
                return Ok(None);
            }
            let Some(slot) = self.room.front(0)? else { return Ok(None) };
            let length = self.room.length(slot)?;
            let delivery = self.room.slots[slot].returns.load(Relaxed) + 1;
            let number = self.room.lease_front(kernel, slot, me.process, delivery);
            self.note_holder(listed);
            self.has_got(kernel, stand);
            Ok(Some(Ticket { slot, number, delivery, length, priority: 0, process: me.process }))
        };
        match attempt(&mut Stand::default())? {
            Some(ticket) => Ok(ticket),
            None => self.for_message(kernel, me, deadline, attempt),
        }
    }

    /// Hands the message at `index` from the front to `sink` and leaves it there; `None` if there is none.
    pub fn peek<T>(&self, kernel: &dyn Kernel, index: u32, sink: impl FnOnce(Message<'_>) -> T) -> Result<Option<T>> {
        let me = kernel.me()?;
        let _side = self.room.getters(kernel, &self.locking, me)?;
        Ok(self.message(index)?.map(sink))
    }

    /// Looks after the dead now and then, even while messages never run out.
    #[inline]
    fn reap_in_turn(&self, kernel: &dyn Kernel, me: Me) -> Result<()> {
        let turn = self.turns.load(Relaxed).wrapping_add(1);
        self.turns.store(turn, Relaxed);
        if turn.is_multiple_of(REAP_EVERY) { self.reap(kernel, me, |_| ()) } else { Ok(()) }
    }

    fn try_get(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        limit: usize,
        sink: &mut dyn FnMut(Message<'_>) -> Result<()>,
        stand: &mut Stand,
    ) -> Result<usize> {
        let _side = self.room.getters(kernel, &self.locking, me)?;
        if !self.may_get(kernel, stand)? {
            return Ok(0);
        }
        // Putters go on, and as fast as this one may: what comes from now on is the next one's.
        let limit = if limit > 1 { limit.min(self.depth().max(1) as usize) } else { limit };
        let together = if self.room.shelf.is_some() { 1 } else { CHUNK };
        let mut got = 0;
        while got < limit {
            let mut copied = 0;
            let mut stopped = Ok(());
            while copied < together.min(limit - got) && stopped.is_ok() {
                stopped = match self.message(copied as u32) {
                    Ok(Some(message)) => sink(message),
                    Ok(None) => break,
                    Err(error) => Err(error),
                };
                copied += usize::from(stopped.is_ok());
            }
            if copied > 0 {
                self.room.drop_front(kernel, copied as u32);
                got += copied;
            }
            match stopped {
                Ok(()) if copied == together => {}
                // What was handed over before is gone from the queue, so it has to be returned.
                Err(error) if got == 0 => return Err(error),
                _ => break,
            }
        }
        if got > 0 {
            self.has_got(kernel, stand);
        }
        Ok(got)
    }

    /// Whether one who stands so may get a message, if there is one. Under the getters' lock.
    #[inline]
    fn may_get(&self, kernel: &dyn Kernel, stand: &mut Stand) -> Result<bool> {
        let Some(lines) = &self.lines else { return Ok(true) };
        // First whether there is one: who passes by gets what was there while nobody waited, and what comes after this look is the first's.
        let there = self.room.front(0)?.is_some();
        Ok(lines.getting.admits(kernel, &self.room, stand, there)? && there)
    }

    /// It has got one. Under the getters' lock.
    #[inline]
    fn has_got(&self, kernel: &dyn Kernel, stand: &mut Stand) {
        if let Some(lines) = &self.lines {
            lines.getting.served(kernel, &self.room, &self.room.words.tail, stand, self.depth() > 0);
        }
    }

    /// Whether no getter stands in line before those that do not: the dead among them leave it, and the first is watched.
    pub(super) fn may_pass_getters<'a>(
        &'a self,
        kernel: &dyn Kernel,
        me: Me,
        watch: Option<&mut Watch<'a>>,
    ) -> Result<bool> {
        match &self.lines {
            Some(lines) if !lines.getting.is_empty() => {
                let _side = self.room.getters(kernel, &self.locking, me)?;
                Ok(lines.getting.is_open(kernel, &self.room, watch))
            }
            _ => Ok(true),
        }
    }

    /// Sends away the getter that is the first of those that wait, with `Reset`; false: none waits.
    pub fn cancel_wait(&self, kernel: &dyn Kernel) -> Result<bool> {
        let Some(lines) = &self.lines else {
            let why = "of its getters none is the first: make it with fairness='arrival' or 'priority'";
            return Err(Error::Misuse(why.into()));
        };
        let _owed = Owed::name(kernel, &self.room.words.baton);
        let _side = self.room.getters(kernel, &self.locking, kernel.me()?)?;
        Ok(lines.getting.cancel(kernel, &self.room))
    }

    /// The message at `index` from the front, if there is one. Under the getters' lock.
    #[inline]
    fn message(&self, index: u32) -> Result<Option<Message<'_>>> {
        self.room.front(index)?.map(|slot| self.message_in(slot)).transpose()
    }

    pub(super) fn message_in(&self, slot: usize) -> Result<Message<'_>> {
        Ok(Message { blocks: &self.room.blocks, slot, length: self.room.length(slot)? })
    }

    /// Waits on the getters' side until `attempt` has found a message, or nothing can come any more.
    #[cold]
    fn for_message<'a, T>(
        &'a self,
        kernel: &dyn Kernel,
        me: Me,
        deadline: Deadline,
        mut attempt: impl FnMut(&mut Stand) -> Result<Option<T>>,
    ) -> Result<T> {
        if deadline == Deadline::NoWait {
            self.reap(kernel, me, |_| ())?;
            let _ = self.may_pass_getters(kernel, me, None)?;
            if let Some(done) = attempt(&mut Stand::default())? {
                return Ok(done);
            }
            return Err(self.ending(kernel, me)?.unwrap_or(Error::WouldBlock));
        }
        let words = &self.room.words;
        let ready = || {
            let word = words.tail.word.load(Relaxed);
            word & COUNT != words.get.head.load(Relaxed) || word & CLOSED != 0
        };
        let (mine, partner) = (kernel.cpus(), words.put.cpus.load(Relaxed));
        words.get.cpus.store(mine, Relaxed);
        let waiting =
            Waiting { sleepers: Some(&**words), deadline, patience: &self.getting, partner, operation: Operation::Get };
        let (mut known, mut stand) = (None, Stand::default());
        let urgency = self.lines.as_ref().map(|_| kernel.priority());
        let ended = wait_until(kernel, waiting, ready, |watch: Option<&mut Watch<'a>>, slept| {
            let Some(watch) = watch else { return attempt(&mut stand) };
            stand.waits = urgency;
            // Announced before the look at the rosters and the attempt, which then see whatever came without a wake.
            let before = known.replace(self.room.announce_sleeper(watch, &words.tail, SLEEPERS));
            self.reap(kernel, me, |life| watch.life(life))?;
            if let Some(done) = attempt(&mut stand)? {
                if let (true, Some(before)) = (slept, before) {
                    let more = self.lines.is_none() && self.depth() > 0;
                    self.room.pass_on(kernel, &words.tail, before, more);
                }
                return Ok(Some(done));
            }
            if let Some(error) = self.ending(kernel, me)? {
                return Err(error);
            }
            if let Some(lines) = &self.lines {
                lines.getting.watch(&stand, watch);
            }
            Ok(None)
        });
        if let (Some(lines), Err(_)) = (&self.lines, &ended) {
            lines.getting.leave(kernel, &self.room, &words.tail, &mut stand);
        }
        ended
    }

    /// Why no message will come any more, if so: asked when none is queued.
    pub(super) fn ending(&self, kernel: &dyn Kernel, me: Me) -> Result<Option<Error>> {
        let words = &self.room.words;
        let closed = words.tail.word.load(Acquire) & CLOSED != 0;
        if closed && words.freed.word.load(Acquire) & CLOSED == 0 {
            // Who shut the queue down died in between: from here on the end of a lease tells the getters.
            let _side = self.room.getters(kernel, &self.locking, me)?;
            words.freed.word.fetch_or(CLOSED, AcqRel);
        }
        // SYNC(queue-7): pairs with `join_putters`: a successor on an entry already passed has raised it before the one that it
        // follows is found gone.
        let calls = words.calls.load(Acquire);
        let before = words.put.putters.load(Acquire);
        let nobody = roster::members(&words.putters).next().is_none();
        let putters = words.put.putters.load(Acquire);
        // The last one may have died between its leaving and its saying so.
        let left =
            nobody && (before, putters) == (PUTTERS_PRESENT, PUTTERS_PRESENT) && words.calls.load(Acquire) == calls;
        if (left || putters >= PUTTERS_LEFT) && !closed {
            // The end of a lease has to tell the getters then, too.
            words.freed.word.fetch_or(JOINERS, AcqRel);
        }
        let over = self.room.drained() || planted(Fault::EarlyEndOfStream) && self.depth() == 0;
        if !over {
            return Ok(None);
        }
        Ok(match putters {
            _ if closed || left => Some(Error::EndOfStream),
            PUTTERS_LEFT => Some(Error::EndOfStream),
            PUTTERS_DIED => Some(Error::PeerDied { pid: words.put.died_pid.load(Relaxed), phase: Phase::Wait }),
            _ => None,
        })
    }
}
