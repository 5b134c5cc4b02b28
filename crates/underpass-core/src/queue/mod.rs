//! A queue of messages: whole once put, at work while leased, back in front if the worker dies.
//!
//! The two-lock queue of Michael and Scott (PODC 1996) over rings of slot numbers, with owners that can die; leases
//! as message brokers have them (acknowledge, redeliver, dead letters).
//!
//! Invariant: a message is in exactly one place at every instant (see [`room`]); everybody who sleeps here watches all
//! processes that hold slots, and who becomes a holder wakes all sleepers first.

#[cfg(not(loom))]
mod layout;
mod lease;
mod room;
mod roster;

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::{CLOSED, COUNT, JOINERS, PUTTERS_DIED, PUTTERS_LEFT, PUTTERS_PRESENT, ROSTER};
use underpass_shm::life::Me;
use underpass_shm::place::Blocks;
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

#[cfg(not(loom))]
pub use layout::Shape;
pub use lease::{Holding, Ticket};

pub use room::Room;

use crate::kernel::{Kernel, Watch};
use crate::wait::{Patience, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// Longest message of any queue, in bytes.
pub const MOST_BYTES: usize = 1 << 30;

/// Who gets that many messages without waiting looks whether a holder has died.
const REAP_EVERY: u32 = 64;

/// A message that is being copied out.
#[derive(Debug)]
pub struct Message<'a> {
    blocks: &'a Blocks,
    slot: usize,
    /// Bytes.
    pub length: usize,
}

impl Message<'_> {
    /// Copies the start of the message.
    ///
    /// # Panics
    /// If `out` is longer than a slot.
    pub fn copy_to(&self, out: &mut [u8]) {
        self.blocks.read(self.slot, out);
    }
}

/// A handle of a queue.
#[derive(Debug)]
pub struct Queue {
    room: Room,
    letters: Option<Room>,
    max_deliveries: Option<u32>,
    putting: Patience,
    getting: Patience,
    locking: Patience,
    /// The process that this handle has named as a holder; forgotten by a fork, since it is not the child's.
    registered: AtomicU32,
    /// Messages got through this handle, roughly.
    turns: AtomicU32,
    /// The thread that last put through this handle.
    puts_from: AtomicU32,
}

impl Queue {
    /// A handle over rooms that were formatted. `letters` is there exactly with `max_deliveries`.
    #[must_use]
    pub fn new(room: Room, letters: Option<Room>, max_deliveries: Option<u32>) -> Self {
        Self {
            room,
            letters,
            max_deliveries,
            putting: Patience::new(),
            getting: Patience::new(),
            locking: Patience::new(),
            registered: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            puts_from: AtomicU32::new(0),
        }
    }

    /// The room of the dead letters, as a queue of its own.
    #[must_use]
    pub fn dead_letters(&self) -> Option<Self> {
        self.letters.clone().map(|room| Self::new(room, None, None))
    }

    /// Slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.room.capacity()
    }

    /// Longest message.
    #[must_use]
    pub fn message_size(&self) -> usize {
        self.room.longest
    }

    /// Where messages are, for those who read or write in place.
    #[must_use]
    pub fn blocks(&self) -> &Blocks {
        &self.room.blocks
    }

    /// Messages queued now, those at work not counted.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.room.depth()
    }

    // ── putting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Puts one message, waiting for room.
    #[inline]
    pub fn put(&self, kernel: &dyn Kernel, data: &[u8], deadline: Deadline) -> Result<()> {
        self.check(data.len())?;
        let me = kernel.me()?;
        if self.try_put(kernel, me, &[data])? == 1 {
            return Ok(());
        }
        self.for_room(kernel, me, deadline, |_| Ok((self.try_put(kernel, me, &[data])? == 1).then_some(())))
    }

    /// Puts several messages, waiting for room; how many were put, and why not all.
    pub fn put_many(&self, kernel: &dyn Kernel, items: &[&[u8]], deadline: Deadline) -> (usize, Result<()>) {
        let mut done = 0;
        let result = (|| {
            for item in items {
                self.check(item.len())?;
            }
            let me = kernel.me()?;
            while done < items.len() {
                done += self.try_put(kernel, me, &items[done..])?;
                if done < items.len() {
                    done += self.for_room(kernel, me, deadline, |_| {
                        let put = self.try_put(kernel, me, &items[done..])?;
                        Ok((put > 0).then_some(put))
                    })?;
                }
            }
            Ok(())
        })();
        (done, result)
    }

    /// Lends a free slot to write in place, waiting for one.
    pub fn loan(&self, kernel: &dyn Kernel, size: usize, deadline: Deadline) -> Result<Ticket> {
        self.check(size)?;
        let me = kernel.me()?;
        self.register_holder(kernel, me)?;
        let attempt = || {
            let _side = self.room.putters(kernel, &self.locking, me)?;
            let Some(slot) = self.open_slot()? else { return Ok(None) };
            let number = self.room.number();
            self.room.lend_slot(kernel, slot, me.process, number);
            Ok(Some(Ticket { slot, number, delivery: 0, length: size, process: me.process }))
        };
        match attempt()? {
            Some(ticket) => Ok(ticket),
            None => self.for_room(kernel, me, deadline, |_| attempt()),
        }
    }

    /// Registers this process as a putter: getters are told when the last one leaves or dies.
    pub fn join_putters(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let words = &self.room.words;
        let _side = self.room.putters(kernel, &self.locking, me)?;
        match roster::register(&words.putters, me.process) {
            None => Err(Error::Misuse(format!("{ROSTER} processes are registered as putters, and no more fit"))),
            Some(new) => {
                words.put.putters.store(PUTTERS_PRESENT, Release);
                if new {
                    // Sleeping getters have to watch this process from now on.
                    self.room.tell_getters(kernel, u32::MAX);
                }
                Ok(())
            }
        }
    }

    /// Takes one registration back.
    pub fn leave_putters(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let words = &self.room.words;
        let _side = self.room.putters(kernel, &self.locking, me)?;
        let gone = roster::unregister(&words.putters, me.process);
        // Who died before this one left was not the last: nobody has to be told of a death.
        for dead in roster::members(&words.putters).filter(|process| *process != me.process && !kernel.alive(*process))
        {
            roster::strike(&words.putters, dead);
        }
        if gone && roster::members(&words.putters).next().is_none() {
            words.put.putters.store(PUTTERS_LEFT, Release);
            self.room.tell_getters(kernel, u32::MAX);
        }
        Ok(())
    }

    #[inline]
    fn check(&self, size: usize) -> Result<()> {
        let limit = self.message_size();
        if size <= limit { Ok(()) } else { Err(Error::TooLong { size, limit }) }
    }

    /// Puts as many of the messages as there is room for now.
    fn try_put(&self, kernel: &dyn Kernel, me: Me, items: &[&[u8]]) -> Result<usize> {
        if self.puts_from.load(Relaxed) != me.thread.0 {
            // Where its partner runs tells a getter whether spinning pays.
            self.puts_from.store(me.thread.0, Relaxed);
            self.room.words.put.cpus.store(kernel.cpus(), Relaxed);
        }
        let _side = self.room.putters(kernel, &self.locking, me)?;
        for (done, data) in items.iter().enumerate() {
            let Some(slot) = self.open_slot()? else { return Ok(done) };
            self.room.blocks.write(slot, data);
            self.room.slots[slot].length.store(data.len() as u32, Relaxed);
            self.room.slots[slot].returns.store(0, Relaxed);
            self.room.put_slot(kernel, slot)?;
        }
        Ok(items.len())
    }

    /// A free slot of a queue that is not shut down.
    #[inline]
    fn open_slot(&self) -> Result<Option<usize>> {
        if self.room.words.tail.word.load(Relaxed) & CLOSED != 0 {
            return Err(Error::EndOfStream);
        }
        self.room.free_slot()
    }

    /// Waits on the putters' side until `attempt` has found room.
    #[cold]
    fn for_room<'a, T>(
        &'a self,
        kernel: &dyn Kernel,
        me: Me,
        deadline: Deadline,
        mut attempt: impl FnMut(bool) -> Result<Option<T>>,
    ) -> Result<T> {
        if deadline == Deadline::NoWait {
            self.reap(kernel, me, |_| ())?;
            return attempt(false)?.ok_or(Error::WouldBlock);
        }
        let words = &self.room.words;
        let purges = words.purges.load(Acquire);
        let before = words.freed.word.load(Relaxed) & COUNT;
        let ready = || words.freed.word.load(Relaxed) & COUNT != before;
        let (mine, partner) = (kernel.cpus(), words.get.cpus.load(Relaxed));
        words.put.cpus.store(mine, Relaxed);
        let waiting = Waiting { baton: &words.freed.baton, deadline, patience: &self.putting, partner };
        wait_until(kernel, waiting, ready, |watch: Option<&mut Watch<'a>>, slept| {
            if words.purges.load(Acquire) != purges {
                return Err(Error::Reset);
            }
            let Some(watch) = watch else { return attempt(slept) };
            // Announced before the look at the rosters and the attempt, which then see whatever came without a wake.
            let word = words.freed.word.fetch_or(SLEEPERS, AcqRel) | SLEEPERS;
            self.reap(kernel, me, |life| watch.life(life))?;
            let done = attempt(slept)?;
            if done.is_none() {
                watch.word(&words.freed.word, word);
            } else if slept {
                self.pass_room_on(kernel);
            }
            Ok(done)
        })
    }

    /// A putter that slept leaves: if there is still room, the next one may come.
    fn pass_room_on(&self, kernel: &dyn Kernel) {
        let words = &self.room.words;
        let taken = words.tail.word.load(Acquire).wrapping_add(words.put.extra.load(Acquire)) & COUNT;
        if words.freed.word.load(Acquire) & COUNT != taken {
            self.room.tell_putters(kernel, 1);
        }
    }

    // ── getting ─────────────────────────────────────────────────────────────────────────────────────────────────────

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

    /// Hands at least one message to `sink`, then whatever is there, up to `limit`; how many.
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
        match self.try_get(kernel, me, limit, sink)? {
            0 => self.for_message(kernel, me, deadline, || {
                let got = self.try_get(kernel, me, limit, sink)?;
                Ok((got > 0).then_some(got))
            }),
            got => Ok(got),
        }
    }

    /// Leases the front message, waiting for one.
    pub fn take(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Ticket> {
        let me = kernel.me()?;
        self.register_holder(kernel, me)?;
        self.reap_in_turn(kernel, me)?;
        let attempt = || {
            let _side = self.room.getters(kernel, &self.locking, me)?;
            let Some(slot) = self.room.front(0)? else { return Ok(None) };
            let length = self.room.length(slot)?;
            let delivery = self.room.slots[slot].returns.load(Relaxed) + 1;
            let number = self.room.lease_front(kernel, slot, me.process, delivery);
            Ok(Some(Ticket { slot, number, delivery, length, process: me.process }))
        };
        match attempt()? {
            Some(ticket) => Ok(ticket),
            None => self.for_message(kernel, me, deadline, attempt),
        }
    }

    /// Hands the message at `index` from the front to `sink` and leaves it there; `None` if there is none.
    pub fn peek<T>(&self, kernel: &dyn Kernel, index: u32, sink: impl FnOnce(Message<'_>) -> T) -> Result<Option<T>> {
        let me = kernel.me()?;
        let _side = self.room.getters(kernel, &self.locking, me)?;
        let Some(slot) = self.room.front(index)? else { return Ok(None) };
        let length = self.room.length(slot)?;
        Ok(Some(sink(Message { blocks: &self.room.blocks, slot, length })))
    }

    /// Throws away what is queued, and how much that was. Putters that wait leave with `Reset`.
    pub fn purge(&self, kernel: &dyn Kernel) -> Result<usize> {
        let me = kernel.me()?;
        self.room.words.purges.fetch_add(1, AcqRel);
        let mut thrown = 0;
        {
            let _side = self.room.getters(kernel, &self.locking, me)?;
            let most = self.room.depth();
            while thrown < most as usize {
                let Some(slot) = self.room.front(0)? else { break };
                self.room.drop_front(kernel, slot);
                thrown += 1;
            }
        }
        self.room.tell_putters(kernel, u32::MAX);
        Ok(thrown)
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
    ) -> Result<usize> {
        let _side = self.room.getters(kernel, &self.locking, me)?;
        let mut got = 0;
        while got < limit {
            let Some(slot) = self.room.front(0)? else { break };
            let length = self.room.length(slot)?;
            match sink(Message { blocks: &self.room.blocks, slot, length }) {
                Ok(()) => {}
                // What was handed over before is gone from the queue, so it has to be returned.
                Err(_) if got > 0 => break,
                Err(error) => return Err(error),
            }
            self.room.drop_front(kernel, slot);
            got += 1;
        }
        Ok(got)
    }

    /// Waits on the getters' side until `attempt` has found a message, or nothing can come any more.
    #[cold]
    fn for_message<'a, T>(
        &'a self,
        kernel: &dyn Kernel,
        me: Me,
        deadline: Deadline,
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        if deadline == Deadline::NoWait {
            self.reap(kernel, me, |_| ())?;
            if let Some(done) = attempt()? {
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
        let waiting = Waiting { baton: &words.tail.baton, deadline, patience: &self.getting, partner };
        wait_until(kernel, waiting, ready, |watch: Option<&mut Watch<'a>>, slept| {
            let Some(watch) = watch else { return attempt() };
            // Announced before the look at the rosters and the attempt, which then see whatever came without a wake.
            let word = words.tail.word.fetch_or(SLEEPERS, AcqRel) | SLEEPERS;
            self.reap(kernel, me, |life| watch.life(life))?;
            if let Some(done) = attempt()? {
                if slept && self.depth() > 0 {
                    self.room.tell_getters(kernel, 1);
                }
                return Ok(Some(done));
            }
            if let Some(error) = self.ending(kernel, me)? {
                return Err(error);
            }
            watch.word(&words.tail.word, word);
            Ok(None)
        })
    }

    /// Why no message will come any more, if so: asked when none is queued.
    fn ending(&self, kernel: &dyn Kernel, me: Me) -> Result<Option<Error>> {
        let words = &self.room.words;
        let closed = words.tail.word.load(Acquire) & CLOSED != 0;
        let putters = words.put.putters.load(Acquire);
        if closed && words.freed.word.load(Acquire) & CLOSED == 0 {
            // Who shut the queue down died in between: from here on the end of a lease tells the getters.
            let _side = self.room.getters(kernel, &self.locking, me)?;
            words.freed.word.fetch_or(CLOSED, AcqRel);
        }
        // The last one may have died between its leaving and its saying so.
        let left = putters == PUTTERS_PRESENT && roster::members(&words.putters).next().is_none();
        if (left || putters >= PUTTERS_LEFT) && !closed {
            // The end of a lease has to tell the getters then, too.
            words.freed.word.fetch_or(JOINERS, AcqRel);
        }
        if !self.room.drained() {
            return Ok(None);
        }
        Ok(match putters {
            _ if closed || left => Some(Error::EndOfStream),
            PUTTERS_LEFT => Some(Error::EndOfStream),
            PUTTERS_DIED => Some(Error::PeerDied { pid: words.put.died_pid.load(Relaxed) }),
            _ => None,
        })
    }

    // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Nothing can be put any more; getters drain what is there.
    pub fn shutdown(&self, kernel: &dyn Kernel) {
        let words = &self.room.words;
        words.tail.word.fetch_or(CLOSED, AcqRel);
        words.freed.word.fetch_or(CLOSED, AcqRel);
        self.room.tell_all(kernel);
    }

    /// True once the queue was shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.room.words.tail.word.load(Acquire) & CLOSED != 0
    }

    /// Waits until nothing is queued or leased.
    pub fn join(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let me = kernel.me()?;
        let words = &self.room.words;
        let ready = || self.room.drained();
        if ready() {
            return Ok(());
        }
        let waiting = Waiting { baton: &words.freed.baton, deadline, patience: &self.putting, partner: 0 };
        wait_until(kernel, waiting, ready, |watch, slept| {
            if let Some(watch) = watch {
                if slept && words.freed.word.load(Relaxed) & SLEEPERS != 0 {
                    // The wake may have been meant for a putter, who sleeps on the same word.
                    self.room.tell_putters(kernel, u32::MAX);
                }
                let word = words.freed.word.fetch_or(JOINERS, AcqRel) | JOINERS;
                self.reap(kernel, me, |life| watch.life(life))?;
                watch.word(&words.freed.word, word);
            }
            Ok(self.room.drained().then_some(()))
        })
    }
}
