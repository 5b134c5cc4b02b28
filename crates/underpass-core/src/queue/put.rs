//! The putters' side of a queue: messages, loans, registrations.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::{CLOSED, COUNT, PUTTERS_LEFT, PUTTERS_PRESENT, ROSTER};
use underpass_shm::life::Me;
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use super::line::{Line, Stand};
use super::room::order::End;
use super::{CHUNK, MOST_URGENT, Queue, Ticket, WhenFull, roster};
use crate::kernel::{Kernel, Owed, Watch};
use crate::wait::{Waiting, wait_until};
use crate::{Deadline, Error, Result};

impl Queue {
    /// Puts one message, waiting for room. The priority counts where the order is by priority.
    #[inline]
    pub fn put(&self, kernel: &dyn Kernel, data: &[u8], priority: u32, deadline: Deadline) -> Result<()> {
        self.check(data.len())?;
        let me = kernel.me()?;
        if self.try_put(kernel, me, &[data], priority, None, &mut Stand::default())? == 1 {
            return Ok(());
        }
        if self.when_full != WhenFull::Wait {
            return self.put_or_drop(kernel, me, data, priority);
        }
        self.for_room(kernel, me, None, deadline, |since, stand| {
            Ok((self.try_put(kernel, me, &[data], priority, since, stand)? == 1).then_some(()))
        })
    }

    /// Puts one message for which who came before so many purges has waited, if there is room; `Reset` if there was another.
    pub fn put_since(&self, kernel: &dyn Kernel, data: &[u8], priority: u32, since: u32) -> Result<()> {
        self.check(data.len())?;
        let me = kernel.me()?;
        let attempt = || self.try_put(kernel, me, &[data], priority, Some(since), &mut Stand::default());
        if attempt()? == 1 {
            return Ok(());
        }
        self.reap(kernel, me, |_| ())?;
        let _ = self.may_pass_putters(kernel, me, None)?;
        if attempt()? == 1 { Ok(()) } else { Err(Error::WouldBlock) }
    }

    /// Ends a loan with a message in front of its equals: so one is put there. If it is refused, the slot stays lent: the
    /// caller abandons it.
    pub fn commit_front(&self, kernel: &dyn Kernel, ticket: &Ticket, data: &[u8], priority: u32) -> Result<()> {
        self.check(data.len())?;
        let me = kernel.me()?;
        self.owned(me, ticket)?;
        self.room.write(ticket.slot, data, priority);
        let _side = self.room.getters(kernel, &self.locking, me)?;
        self.owned(me, ticket)?;
        if self.is_shut_down() {
            return Err(Error::EndOfStream);
        }
        self.room.return_owned(ticket.slot, End::Front)?;
        self.tell_of_returns(kernel, 1);
        Ok(())
    }

    /// Puts several messages, waiting for room; how many were put, and why not all. Of who has waited elsewhere, since so many purges,
    /// none is put after another.
    pub fn put_many(
        &self,
        kernel: &dyn Kernel,
        items: &[&[u8]],
        priority: u32,
        since: Option<u32>,
        deadline: Deadline,
    ) -> (usize, Result<()>) {
        let mut done = 0;
        let result = (|| {
            for item in items {
                self.check(item.len())?;
            }
            let me = kernel.me()?;
            while done < items.len() {
                done += self.try_put(kernel, me, &items[done..], priority, since, &mut Stand::default())?;
                if done < items.len() && self.when_full != WhenFull::Wait {
                    self.put_or_drop(kernel, me, items[done], priority)?;
                    done += 1;
                } else if done < items.len() {
                    done += self.for_room(kernel, me, since, deadline, |since, stand| {
                        let put = self.try_put(kernel, me, &items[done..], priority, since, stand)?;
                        Ok((put > 0).then_some(put))
                    })?;
                }
            }
            Ok(())
        })();
        (done, result)
    }

    /// Lends a slot to write a message of that priority in place, waiting for one; to who has waited elsewhere, since so many purges, none
    /// after another.
    pub fn loan(
        &self,
        kernel: &dyn Kernel,
        size: usize,
        priority: u32,
        since: Option<u32>,
        deadline: Deadline,
    ) -> Result<Ticket> {
        self.lend(kernel, size, [priority, MOST_URGENT], since, deadline)
    }

    /// The same for a message that will be put in front; none: it was dropped.
    pub fn loan_in_front(
        &self,
        kernel: &dyn Kernel,
        size: usize,
        priority: u32,
        since: Option<u32>,
        deadline: Deadline,
    ) -> Result<Option<Ticket>> {
        if self.when_full == WhenFull::Wait {
            return self.loan(kernel, size, priority, since, deadline).map(Some);
        }
        match self.lend(kernel, size, [priority; 2], since, Deadline::NoWait) {
            Err(Error::WouldBlock) => {
                self.decline();
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Lends a slot for a message of that priority, which may cost one that is no more urgent than `urgency`.
    fn lend(
        &self,
        kernel: &dyn Kernel,
        size: usize,
        [priority, urgency]: [u32; 2],
        since: Option<u32>,
        deadline: Deadline,
    ) -> Result<Ticket> {
        self.check(size)?;
        let me = kernel.me()?;
        let listed = self.list_holder(kernel, me)?;
        let attempt = |since: Option<u32>, stand: &mut Stand| {
            let _sides = self.sides_of_puts(kernel, me)?;
            self.judge(since)?;
            let line = self.lines.as_ref().map(|lines| &lines.putting);
            if !self.may_put(kernel, line, stand)? {
                return Ok(None);
            }
            let Some(slot) = self.slot_or_drop(kernel, urgency)? else { return Ok(None) };
            let number = self.room.number();
            self.room.lend_slot(kernel, slot, me.process, number);
            self.note_holder(listed);
            self.has_put(kernel, line, stand);
            Ok(Some(Ticket { slot, number, delivery: 0, length: size, priority, process: me.process }))
        };
        match attempt(since, &mut Stand::default())? {
            Some(ticket) => Ok(ticket),
            None => self.for_room(kernel, me, since, deadline, attempt),
        }
    }

    /// Registers this process as a putter: getters are told when the last one leaves or dies.
    pub fn join_putters(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let words = &self.room.words;
        let _side = self.room.putters(kernel, &self.locking, me)?;
        // Sleeping getters do not watch this process yet: should it die before it has told them, the kernel does.
        let _owed = Owed::name(kernel, &words.baton);
        match roster::register(&words.putters, me.process) {
            None => Err(Error::Misuse(format!("{ROSTER} processes are registered as putters, and no more fit"))),
            Some(new) => {
                words.put.putters.store(PUTTERS_PRESENT, Release);
                if new {
                    // Sleeping getters have to watch this process from now on.
                    // SYNC(queue-7): pairs with `ending`. Under the lock, so before another leaves.
                    self.room.tell_all_getters(kernel);
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
            self.room.tell_all_getters(kernel);
        }
        Ok(())
    }

    #[inline]
    fn check(&self, size: usize) -> Result<()> {
        let limit = self.message_size();
        if size <= limit { Ok(()) } else { Err(Error::TooLong { size, limit }) }
    }

    /// An error if there was another purge since who puts has waited. The putters' side is taken, and who purges takes it to say so.
    fn judge(&self, since: Option<u32>) -> Result<()> {
        match since {
            Some(since) if self.room.words.purges.load(Acquire) != since => Err(Error::Reset),
            _ => Ok(()),
        }
    }

    /// Puts as many of the messages as there is room for now; of who has waited, none if there was another purge since.
    fn try_put(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        items: &[&[u8]],
        priority: u32,
        since: Option<u32>,
        stand: &mut Stand,
    ) -> Result<usize> {
        if self.puts_from.load(Relaxed) != me.thread.0 {
            // Where its partner runs tells a getter whether spinning pays.
            self.puts_from.store(me.thread.0, Relaxed);
            self.room.words.put.cpus.store(kernel.cpus(), Relaxed);
        }
        let _side = self.room.putters(kernel, &self.locking, me)?;
        self.judge(since)?;
        let line = self.line_of_puts();
        if !self.may_put(kernel, line, stand)? {
            return Ok(0);
        }
        let mut done = 0;
        for chunk in items.chunks(CHUNK) {
            let put = self.put_chunk(kernel, chunk, priority);
            match put {
                Ok(put) => done += put,
                // What was put before is there: the next attempt fails.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
            if put != Ok(chunk.len()) {
                break;
            }
        }
        if done > 0 {
            self.has_put(kernel, line, stand);
        }
        Ok(done)
    }

    /// The line of those who put: where messages are dropped only who lends waits, and who puts passes.
    fn line_of_puts(&self) -> Option<&Line> {
        self.lines.as_ref().filter(|_| self.when_full == WhenFull::Wait).map(|lines| &lines.putting)
    }

    /// Whether one who stands so may use a slot, if one is to be had. Under the putters' lock.
    #[inline]
    fn may_put(&self, kernel: &dyn Kernel, line: Option<&Line>, stand: &mut Stand) -> Result<bool> {
        let Some(line) = line else { return Ok(true) };
        // Nobody has a turn any more: also who is not the first is to hear of it.
        if self.is_shut_down() {
            return Err(Error::EndOfStream);
        }
        // First whether there is one: who passes by uses what was free while nobody waited, and what comes after this look is the first's.
        let there = self.has_room();
        Ok(line.admits(kernel, &self.room, stand, there)? && there)
    }

    /// It has used one. Under the putters' lock.
    #[inline]
    fn has_put(&self, kernel: &dyn Kernel, line: Option<&Line>, stand: &mut Stand) {
        if let Some(line) = line {
            line.served(kernel, &self.room, &self.room.words.freed, stand, self.has_room());
        }
    }

    /// Whether nobody stands in line for room before those that do not: the dead leave it, and the first is watched.
    pub(super) fn may_pass_putters<'a>(
        &'a self,
        kernel: &dyn Kernel,
        me: Me,
        watch: Option<&mut Watch<'a>>,
    ) -> Result<bool> {
        match &self.lines {
            Some(lines) if !lines.putting.is_empty() => {
                let _side = self.room.putters(kernel, &self.locking, me)?;
                Ok(lines.putting.is_open(kernel, &self.room, watch))
            }
            _ => Ok(true),
        }
    }

    /// Puts the messages for which there is room, all at once.
    #[inline]
    fn put_chunk(&self, kernel: &dyn Kernel, chunk: &[&[u8]], priority: u32) -> Result<usize> {
        let mut ready = 0;
        for data in chunk {
            let Some(slot) = self.open_slot(ready)? else { break };
            self.room.write(slot, data, priority);
            self.room.place(slot, ready);
            ready += 1;
        }
        if ready > 0 {
            self.room.arrive(kernel, ready, true)?;
        }
        Ok(ready as usize)
    }

    /// The free slot at `index` of a queue that is not shut down.
    #[inline]
    pub(super) fn open_slot(&self, index: u32) -> Result<Option<usize>> {
        if self.room.words.tail.word.load(Relaxed) & CLOSED != 0 {
            return Err(Error::EndOfStream);
        }
        self.room.free_slot(index)
    }

    /// Waits on the putters' side until `attempt`, which is told how many purges there were before, if it has waited, here or elsewhere, has
    /// found room.
    #[cold]
    fn for_room<'a, T>(
        &'a self,
        kernel: &dyn Kernel,
        me: Me,
        since: Option<u32>,
        deadline: Deadline,
        mut attempt: impl FnMut(Option<u32>, &mut Stand) -> Result<Option<T>>,
    ) -> Result<T> {
        if deadline == Deadline::NoWait {
            self.reap(kernel, me, |_| ())?;
            let _ = self.may_pass_putters(kernel, me, None)?;
            return attempt(since, &mut Stand::default())?.ok_or(Error::WouldBlock);
        }
        let words = &self.room.words;
        let purges = since.unwrap_or_else(|| words.purges.load(Acquire));
        let before = words.freed.word.load(Relaxed) & COUNT;
        let ready = || words.freed.word.load(Relaxed) & COUNT != before;
        let (mine, partner) = (kernel.cpus(), words.get.cpus.load(Relaxed));
        words.put.cpus.store(mine, Relaxed);
        let waiting =
            Waiting { sleepers: Some(&**words), deadline, patience: &self.putting, partner, operation: Operation::Put };
        let (mut known, mut stand) = (None, Stand::default());
        let urgency = self.lines.as_ref().map(|_| kernel.priority());
        let ended = wait_until(kernel, waiting, ready, |watch: Option<&mut Watch<'a>>, slept| {
            if words.purges.load(Acquire) != purges {
                return Err(Error::Reset);
            }
            let Some(watch) = watch else { return attempt(Some(purges), &mut stand) };
            stand.waits = urgency;
            // Announced before the look at the rosters and the attempt, which then see whatever came without a wake.
            let before = known.replace(self.room.announce_sleeper(watch, &words.freed, SLEEPERS));
            // Who purges may die before it calls anybody.
            watch.word(&words.purges, purges);
            self.reap(kernel, me, |life| watch.life(life))?;
            let done = attempt(Some(purges), &mut stand)?;
            if let (true, true, Some(before)) = (done.is_some(), slept, before) {
                self.room.pass_on(kernel, &words.freed, before, self.lines.is_none() && self.has_room());
            }
            if let (Some(lines), None) = (&self.lines, &done) {
                lines.putting.watch(&stand, watch);
            }
            Ok(done)
        });
        if let (Some(lines), Err(_)) = (&self.lines, &ended) {
            lines.putting.leave(kernel, &self.room, &words.freed, &mut stand);
        }
        ended
    }

    /// A slot is to be had: a free one, or that of a message which is dropped for it.
    pub(super) fn has_room(&self) -> bool {
        let words = &self.room.words;
        let taken = words.tail.word.load(Acquire).wrapping_add(words.put.extra.load(Acquire)) & COUNT;
        words.freed.word.load(Acquire) & COUNT != taken || self.when_full == WhenFull::DropOldest && self.depth() > 0
    }
}
