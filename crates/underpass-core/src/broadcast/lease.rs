//! A message that its reader reads where it lies.
//!
//! Invariant: where the writer waits, a reader's place shows it the first message that is read in place, so nothing from there on is
//! overwritten. Where it does not, what was seen is worth something only if `start` is not past the message by the end: a seqlock, whose
//! reader copies later, or never.

use underpass_shm::life::Life;

use super::reader::{Kept, Message, Place, Reader};
use crate::kernel::Kernel;
use crate::{Deadline, Error, Result};

/// A message that is read where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Bytes.
    pub length: usize,
    /// Its number.
    pub number: u64,
    /// The process that reads it.
    pub process: Life,
    position: u64,
}

impl Reader {
    /// Takes the next message to read it where it lies, waiting for one. A writer that waits for its readers waits until that has ended.
    pub fn take(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Taken> {
        let process = kernel.me()?.process;
        let mut taken = None;
        self.hand(kernel, deadline, &mut |Message { position, length, number, .. }| {
            taken = Some(Taken { length, number, process, position });
            Ok(Kept::InPlace)
        })?;
        taken.ok_or(Error::Refused)
    }

    /// Ends it. A message that was overwritten meanwhile is lost, and what was seen of it may be torn; none is for which the writer waits.
    pub fn done(&self, kernel: &dyn Kernel, taken: &Taken) -> Result<()> {
        if !self.broadcast.is_lossless() {
            if self.broadcast.is_whole(taken.position) {
                return Ok(());
            }
            self.place().lost += 1;
            return Err(Error::Overwritten(taken.number));
        }
        let me = kernel.me()?;
        if me.process != taken.process {
            return Err(Error::Misuse("it belongs to the process that this one was forked from".into()));
        }
        {
            let place = &mut *self.place();
            place.taken.retain(|(_, number)| *number != taken.number);
            self.pin(place, me.process);
        }
        self.broadcast.tell_of_room(kernel);
        Ok(())
    }

    /// Shows the writer what this one needs, as far as the place is that process's; gives the place back if that is nothing.
    pub(super) fn pin(&self, place: &mut Place, process: Life) {
        let places = &self.broadcast.places;
        let Some(seat) = place.seat_of(process).filter(|seat| places.is_of(*seat, process)) else { return };
        if let Some((position, next)) = place.pinned() {
            places.hold(seat, position, next);
        } else {
            places.leave(seat, process);
            place.seat = None;
        }
    }

    /// Where its bytes lie.
    #[cfg(not(loom))]
    #[must_use]
    pub fn taken_bytes(&self, taken: &Taken) -> *mut u8 {
        self.broadcast.ring.start(taken.position)
    }

    /// Reads them, for loom, which knows no bytes.
    #[cfg(loom)]
    pub fn look(&self, taken: &Taken, out: &mut [u8]) {
        self.broadcast.ring.read(taken.position, out);
    }
}
