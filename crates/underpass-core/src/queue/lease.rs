//! Slots that a process owns: leases of messages, loans of space, and what becomes of them when it dies.

use underpass_shm::layout::queue::PUTTERS_DIED;
use underpass_shm::life::{Life, Me};
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::room::order::End;
use super::{Queue, roster};
use crate::kernel::Kernel;
use crate::lock::Lock;
use crate::planted::{Fault, planted};
use crate::{Error, Result};

/// The right to one slot, until it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Which slot.
    pub slot: usize,
    /// The number of the lease or loan.
    pub number: u32,
    /// 1 for a first delivery; 0 for a loan.
    pub delivery: u32,
    /// Bytes of the message.
    pub length: usize,
    /// How urgent the message of a loan will be.
    pub priority: u32,
    /// The owner.
    pub process: Life,
}

/// A lease or loan as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Who holds it.
    pub process: Life,
    /// The number of the lease or loan.
    pub number: u32,
    /// 1 for a first delivery; 0 for a loan.
    pub delivery: u32,
    /// When it began.
    pub since: u64,
}

impl Queue {
    /// Ends a lease: the message is done with.
    pub fn done(&self, kernel: &dyn Kernel, ticket: &Ticket) -> Result<()> {
        let me = kernel.me()?;
        let _side = self.room.getters(kernel, &self.locking, me)?;
        self.owned(me, ticket)?;
        self.room.end_owned(kernel, ticket.slot);
        Ok(())
    }

    /// Ends a lease: somebody gets the message again, next or after all others. One that was delivered
    /// `max_deliveries` times becomes a dead letter.
    pub fn put_back(&self, kernel: &dyn Kernel, ticket: &Ticket, front: bool) -> Result<()> {
        let me = kernel.me()?;
        if front || self.exhausted(ticket.slot) {
            let _side = self.room.getters(kernel, &self.locking, me)?;
            self.owned(me, ticket)?;
            if self.give_back(kernel, me, ticket.slot)? {
                self.tell_of_returns(kernel, 1);
            }
            return Ok(());
        }
        if self.room.shelf.is_some() {
            let _side = self.room.getters(kernel, &self.locking, me)?;
            self.owned(me, ticket)?;
            self.room.return_owned(ticket.slot, End::Back)?;
            self.tell_of_returns(kernel, 1);
            return Ok(());
        }
        let _side = self.room.putters(kernel, &self.locking, me)?;
        self.owned(me, ticket)?;
        let words = &self.room.slots[ticket.slot];
        words.returns.store(words.delivery.load(Relaxed), Relaxed);
        self.room.append_owned(kernel, ticket.slot, false)?;
        self.tell_who_lends(kernel);
        Ok(())
    }

    /// Ends a loan: its first `length` bytes are a message.
    pub fn commit(&self, kernel: &dyn Kernel, ticket: &Ticket, length: usize) -> Result<()> {
        let me = kernel.me()?;
        let _side = self.room.putters(kernel, &self.locking, me)?;
        self.owned(me, ticket)?;
        self.room.describe(ticket.slot, length, ticket.priority);
        self.room.append_owned(kernel, ticket.slot, true)?;
        self.tell_who_lends(kernel);
        Ok(())
    }

    /// Ends a loan without a message.
    pub fn abandon(&self, kernel: &dyn Kernel, ticket: &Ticket) -> Result<()> {
        self.done(kernel, ticket)
    }

    /// Who holds which slots, oldest first: a snapshot.
    #[must_use]
    pub fn holdings(&self) -> Vec<Holding> {
        let mut holdings: Vec<_> = self
            .room
            .slots
            .iter()
            .map(|words| Holding {
                process: Life(words.owner.load(Acquire)),
                number: words.lease.load(Relaxed),
                delivery: words.delivery.load(Relaxed),
                since: words.since.load(Relaxed),
            })
            .filter(|holding| holding.process != Life::NOBODY)
            .collect();
        holdings.sort_by_key(|holding| holding.since);
        holdings
    }

    /// Names this process as a holder of slots, before it holds the first: then whoever sleeps watches it. False if the
    /// roster is full.
    pub(super) fn list_holder(&self, kernel: &dyn Kernel, me: Me) -> Result<bool> {
        if self.listed.load(Relaxed) == me.process.0 {
            return Ok(true);
        }
        let _side = self.room.getters(kernel, &self.locking, me)?;
        let listed = roster::register(&self.room.words.holders, me.process);
        if listed.is_some() {
            self.listed.store(me.process.0, Relaxed);
        }
        if listed == Some(true) {
            self.room.tell_all(kernel);
        }
        Ok(listed.is_some())
    }

    /// After a slot was leased or lent: one whose owner is not on the roster is looked for at each re-check.
    pub(super) fn note_holder(&self, listed: bool) {
        if !listed {
            // SYNC(queue-3): pairs with `reap_unlisted`, which then finds the owner.
            self.room.words.get.overflow.swap(1, AcqRel);
        }
    }

    /// Takes back what the dead held, and tells whom a sleeper has to watch from now on.
    pub(super) fn reap(&self, kernel: &dyn Kernel, me: Me, mut living: impl FnMut(Life)) -> Result<()> {
        let words = &self.room.words;
        // A getter that saw nobody asleep names no baton before its first store: who falls asleep meanwhile watches it.
        let getter = Lock(&words.get.lock, &**words).owner();
        if getter != Life::NOBODY && !kernel.alive(getter) {
            drop(self.room.getters(kernel, &self.locking, me)?);
        } else if getter != me.thread {
            living(getter);
        }
        if Lock(&words.put.lock, &**words).owner_died(kernel) {
            drop(self.room.putters(kernel, &self.locking, me)?);
        }
        for process in roster::members(&words.holders).filter(|process| *process != me.process) {
            if kernel.alive(process) {
                living(process);
            } else if !planted(Fault::LeaseOfTheDead) {
                self.reap_holder(kernel, me, process)?;
            }
        }
        if words.get.overflow.load(Relaxed) != 0 {
            self.reap_unlisted(kernel, me)?;
        }
        for process in roster::members(&words.putters).filter(|process| *process != me.process) {
            if kernel.alive(process) {
                living(process);
            } else {
                self.reap_putter(kernel, me, process)?;
            }
        }
        Ok(())
    }

    /// Looks after the holders for whom the roster had no place: who lives gets one if there is one by now.
    fn reap_unlisted(&self, kernel: &dyn Kernel, me: Me) -> Result<()> {
        let words = &self.room.words;
        // SYNC(queue-3): pairs with `note_holder`.
        words.get.overflow.swap(0, AcqRel);
        for process in self.holdings().into_iter().map(|holding| holding.process) {
            if roster::members(&words.holders).any(|member| member == process) {
                continue;
            }
            if kernel.alive(process) {
                let _side = self.room.getters(kernel, &self.locking, me)?;
                match roster::register(&words.holders, process) {
                    None => words.get.overflow.store(1, Release),
                    Some(_) => self.room.tell_all(kernel),
                }
            } else {
                self.reap_holder(kernel, me, process)?;
            }
        }
        Ok(())
    }

    /// A dead process's loans become free, its leased messages go back to the front in the order they were taken.
    fn reap_holder(&self, kernel: &dyn Kernel, me: Me, dead: Life) -> Result<()> {
        // Settles first what it was doing on the putters' side, where owners change too.
        drop(self.room.putters(kernel, &self.locking, me)?);
        let _side = self.room.getters(kernel, &self.locking, me)?;
        let mut leased = Vec::new();
        for (slot, words) in self.room.slots.iter().enumerate() {
            if words.owner.load(Acquire) != dead.0 {
                continue;
            }
            if words.delivery.load(Relaxed) == 0 {
                self.room.end_owned(kernel, slot);
            } else {
                leased.push((words.lease.load(Relaxed), slot));
            }
        }
        // The last one taken goes back first, so that the first one stands in front.
        leased.sort_unstable_by(|(a, _), (b, _)| (b.wrapping_sub(*a).cast_signed()).cmp(&0));
        let mut returned = 0;
        for (_, slot) in leased {
            returned += u32::from(self.give_back(kernel, me, slot)?);
        }
        roster::strike(&self.room.words.holders, dead);
        if returned > 0 {
            self.room.tell_getters(kernel, returned);
        }
        self.room.tell_all(kernel);
        Ok(())
    }

    /// A registered putter died. If it was the last, the getters are told when nothing is left.
    fn reap_putter(&self, kernel: &dyn Kernel, me: Me, dead: Life) -> Result<()> {
        let words = &self.room.words;
        let _side = self.room.putters(kernel, &self.locking, me)?;
        if !roster::members(&words.putters).any(|process| process == dead) {
            return Ok(());
        }
        words.put.died_pid.store(kernel.pid(dead), Relaxed);
        if roster::members(&words.putters).all(|process| process == dead) {
            words.put.putters.store(PUTTERS_DIED, Release);
        }
        roster::strike(&words.putters, dead);
        self.room.tell_all_getters(kernel);
        Ok(())
    }

    /// A leased message goes back to the front (true), or to the dead letters. Under the getters' lock.
    fn give_back(&self, kernel: &dyn Kernel, me: Me, slot: usize) -> Result<bool> {
        if self.exhausted(slot) && self.bury(kernel, me, slot)? {
            self.room.end_owned(kernel, slot);
            return Ok(false);
        }
        self.room.return_owned(slot, End::Front)?;
        Ok(true)
    }

    fn exhausted(&self, slot: usize) -> bool {
        self.max_deliveries.is_some_and(|most| self.room.slots[slot].delivery.load(Relaxed) >= most)
    }

    /// Copies a message to the dead letters, once even if a death makes it happen twice: a letter's slot keeps the number
    /// of the lease that it was until it is used again. False if they are full.
    fn bury(&self, kernel: &dyn Kernel, me: Me, slot: usize) -> Result<bool> {
        let Some(letters) = &self.letters else { return Ok(false) };
        let words = &self.room.slots[slot];
        let origin = words.lease.load(Relaxed);
        let length = self.room.length(slot)?;
        let mut message = vec![0; length];
        self.room.blocks.read(slot, &mut message);
        let _side = letters.putters(kernel, &self.locking, me)?;
        let grave = letters.free_slot(0)?;
        // The next free slot tells of a burial that somebody began and did not end.
        let mut graves = letters.slots.iter().enumerate().filter(|(letter, _)| Some(*letter) != grave);
        if graves.any(|(_, letter)| letter.origin.load(Relaxed) == origin) {
            return Ok(true);
        }
        let Some(grave) = grave else { return Ok(false) };
        letters.blocks.write(grave, &message);
        letters.slots[grave].length.store(length as u32, Relaxed);
        letters.slots[grave].returns.store(words.delivery.load(Relaxed), Relaxed);
        letters.slots[grave].origin.store(origin, Relaxed);
        letters.place(grave, 0);
        match letters.arrive(kernel, 1, true) {
            // Somebody shut the dead letters down: as if they were full.
            Err(Error::EndOfStream) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Refuses a ticket that was settled, or that a fork copied.
    pub(super) fn owned(&self, me: Me, ticket: &Ticket) -> Result<()> {
        let words = &self.room.slots[ticket.slot];
        let mine = ticket.process == me.process
            && words.owner.load(Acquire) == me.process.0
            && words.lease.load(Relaxed) == ticket.number;
        if mine {
            return Ok(());
        }
        Err(Error::Misuse("it was settled before, or belongs to the process that this one was forked from".into()))
    }
}
