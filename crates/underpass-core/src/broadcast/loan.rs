//! A message that its writer writes in place: a publish in two turns, between which its bytes are the writer's.
//!
//! Invariant: what readers may still need of those bytes was given up before they were lent, and they lie behind the end until the
//! commit; while `lent` is 1 nobody else publishes, so the end does not move. The loan of a dead writer is over before there is another writer.

use underpass_shm::life::{Life, Me};
use underpass_shm::sync::Ordering::Relaxed;

use super::{Broadcast, Target, ring};
use crate::kernel::{Kernel, Owed};
use crate::lock::Held;
use crate::planted::{Fault, planted};
use crate::{Deadline, Error, Result};

/// In `lent`: there is a loan.
const OPEN: u32 = 1;

/// Bytes of a broadcast that its writer holds to write a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent {
    target: Target,
    /// Bytes lent.
    pub length: usize,
    /// The writer, that has them.
    pub process: Life,
}

impl Lent {
    /// The number that the message will have.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.target.number
    }
}

impl Broadcast {
    /// Lends the bytes of the next message, once those have got it for whom the writer waits that has them now.
    pub fn loan(&self, kernel: &dyn Kernel, size: usize, deadline: Deadline) -> Result<Lent> {
        let me = kernel.me()?;
        // For whom it is told that there is a writer.
        let _owed = Owed::name(kernel, &self.words.baton);
        self.with_room(kernel, me, size, deadline, |target| {
            self.words.lent.store(OPEN, Relaxed);
            Lent { target, length: size, process: me.process }
        })
    }

    /// Ends a loan: its first `length` bytes are a message, and all who wait for one are woken.
    pub fn commit(&self, kernel: &dyn Kernel, lent: &Lent, length: usize) -> Result<()> {
        let me = kernel.me()?;
        let _owed = Owed::name(kernel, &self.words.baton);
        {
            let _turn = self.lender(kernel, me, lent)?;
            let length = length.min(lent.length);
            let until = lent.target.first + ring::size(length as u64);
            self.add(Target { until, ..lent.target }, length);
            self.words.lent.store(0, Relaxed);
        }
        self.tell(kernel);
        Ok(())
    }

    /// Ends a loan without a message. What was given up for it is gone.
    pub fn abandon(&self, kernel: &dyn Kernel, lent: &Lent) -> Result<()> {
        let me = kernel.me()?;
        let _owed = Owed::name(kernel, &self.words.baton);
        match self.lender(kernel, me, lent) {
            Ok(_turn) => self.words.lent.store(0, Relaxed),
            // Nobody will publish there.
            Err(Error::EndOfStream) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Where the bytes lie.
    #[cfg(not(loom))]
    #[must_use]
    pub fn lent_bytes(&self, lent: &Lent) -> *mut u8 {
        self.ring.start(lent.target.first)
    }

    /// Writes them, for loom, which knows no bytes.
    #[cfg(loom)]
    pub fn fill(&self, lent: &Lent, data: &[u8]) {
        self.ring.write(lent.target.first, data);
    }

    /// The turn of who has the loan.
    fn lender<'a>(&'a self, kernel: &'a dyn Kernel, me: Me, lent: &Lent) -> Result<Held<'a>> {
        // Before the turn, which would make this process the writer if the other has died.
        if me.process != lent.process {
            return Err(Error::Misuse("it belongs to the process that this one was forked from".into()));
        }
        self.turn(kernel, me)
    }

    /// Refuses who would publish while there is a loan. In the writer's turn.
    #[inline]
    pub(super) fn is_not_lent(&self) -> Result<()> {
        if self.is_lent() {
            return Err(Error::Misuse(
                "a message is being written in place behind the last one: commit that loan or abandon it first".into(),
            ));
        }
        Ok(())
    }

    /// There is a loan: in the writer's turn, or a peek.
    #[inline]
    pub(super) fn is_lent(&self) -> bool {
        self.words.lent.load(Relaxed) != 0
    }

    /// Before the right is another's.
    pub(super) fn end_loan_of_the_dead(&self) {
        if !planted(Fault::LoanOfTheDead) {
            self.words.lent.store(0, Relaxed);
        }
    }
}
