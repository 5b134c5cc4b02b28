//! The readers' side of a pipe.

use underpass_shm::layout::queue::{CLOSED, COUNT, PUTTERS_DIED, PUTTERS_LEFT, PUTTERS_PRESENT};
use underpass_shm::life::Me;
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{Acquire, Relaxed};

use super::{Bytes, Pipe};
use crate::error::Phase;
use crate::kernel::{Kernel, Watch};
use crate::queue::roster;
use crate::wait::{Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// How many bytes a read takes in one exchange.
#[derive(Debug, Clone, Copy)]
struct Amount {
    least: usize,
    most: usize,
}

impl Pipe {
    /// Fills `out`, waiting for the bytes; how many there are in it, and why not all. As many as the pipe can hold are read
    /// at once or not at all if that may not wait. Who came before knows how many resets there had been: `since`.
    pub fn read(
        &self,
        kernel: &dyn Kernel,
        out: &mut [u8],
        deadline: Deadline,
        since: Option<u32>,
    ) -> (usize, Result<()>) {
        let mut done = 0;
        let result = (|| {
            let me = kernel.me()?;
            let resets = self.resets(since);
            let at_once = deadline == Deadline::NoWait && out.len() <= self.capacity as usize;
            let whole = self.is_one_piece(out.len()) || at_once;
            while done < out.len() {
                let left = out.len() - done;
                let amount = if whole {
                    Amount { least: left, most: left }
                } else {
                    Amount { least: 1, most: left.min(self.chunk()) }
                };
                done += self.read_part(kernel, me, resets, amount, deadline, &mut |bytes| {
                    bytes.copy_to(&mut out[done..done + bytes.length]);
                    Ok(())
                })?;
            }
            Ok(())
        })();
        (done, result)
    }

    /// Hands what is there to `sink`, up to `limit` bytes and at least one, waiting for it; how many. If the sink refuses,
    /// they stay. Who came before knows how many resets there had been: `since`.
    pub fn read_some(
        &self,
        kernel: &dyn Kernel,
        limit: usize,
        deadline: Deadline,
        since: Option<u32>,
        sink: &mut dyn FnMut(Bytes<'_>) -> Result<()>,
    ) -> Result<usize> {
        let me = kernel.me()?;
        self.read_part(kernel, me, self.resets(since), Amount { least: 1, most: limit }, deadline, sink)
    }

    fn read_part(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        resets: u32,
        amount: Amount,
        deadline: Deadline,
        sink: &mut dyn FnMut(Bytes<'_>) -> Result<()>,
    ) -> Result<usize> {
        if let Some(read) = self.try_read(kernel, me, resets, amount, sink)? {
            return Ok(read);
        }
        if deadline == Deadline::NoWait {
            self.reap(kernel, me, |_| ())?;
            return Err(self.ending(amount.least).unwrap_or(Error::WouldBlock));
        }
        let words = &self.words;
        let ready = || self.depth() as usize >= amount.least || self.is_shut_down();
        let (mine, partner) = (kernel.cpus(), words.write.cpus.load(Relaxed));
        words.read.cpus.store(mine, Relaxed);
        let (patience, operation) = (&self.reading, Operation::Read);
        let waiting = Waiting { sleepers: Some(&**words), deadline, patience, partner, operation };
        wait_until(kernel, waiting, ready, |watch, _| {
            let sleeps = watch.is_some();
            if let Some(watch) = watch {
                self.announce_reader(kernel, me, watch)?;
            }
            if let Some(read) = self.try_read(kernel, me, resets, amount, sink)? {
                return Ok(Some(read));
            }
            match self.ending(amount.least) {
                Some(error) if sleeps => Err(error),
                _ => Ok(None),
            }
        })
    }

    /// Announces a reader that is about to sleep, and has it watch the registered writers.
    pub(super) fn announce_reader<'a>(&'a self, kernel: &dyn Kernel, me: Me, watch: &mut Watch<'a>) -> Result<()> {
        self.announce(watch, &self.words.written);
        self.reap(kernel, me, |life| watch.life(life))
    }

    fn try_read(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        resets: u32,
        amount: Amount,
        sink: &mut dyn FnMut(Bytes<'_>) -> Result<()>,
    ) -> Result<Option<usize>> {
        let _side = self.read_side(kernel, me)?;
        if self.words.resets.load(Acquire) != resets {
            return Err(Error::Reset);
        }
        let depth = self.depth_inside()? as usize;
        if depth < amount.least {
            return Ok(None);
        }
        let length = depth.min(amount.most);
        sink(Bytes { pipe: self, start: self.words.taken.word.load(Relaxed) & COUNT, length })?;
        self.advance(kernel, &self.words.taken, length as u32)?;
        Ok(Some(length))
    }

    /// Why no further bytes will come, if so, and there are fewer than `least`.
    pub(super) fn ending(&self, least: usize) -> Option<Error> {
        let words = &self.words;
        // SYNC(pipe-3): pairs with `join_writers`: a successor on an entry already passed has raised it before the one that it
        // follows is found gone.
        let calls = words.calls.load(Acquire);
        let before = words.write.registered.load(Acquire);
        let nobody = roster::members(&words.writers).next().is_none();
        // Who leaves has written before: what it wrote is seen after this.
        let registered = words.write.registered.load(Acquire);
        // The last one may have died between its leaving and its saying so.
        let left =
            nobody && (before, registered) == (PUTTERS_PRESENT, PUTTERS_PRESENT) && words.calls.load(Acquire) == calls;
        let closed = words.written.word.load(Acquire) & CLOSED != 0;
        if self.depth() as usize >= least {
            return None;
        }
        match registered {
            _ if closed || left => Some(Error::EndOfStream),
            PUTTERS_LEFT => Some(Error::EndOfStream),
            PUTTERS_DIED => Some(Error::PeerDied { pid: words.write.died_pid.load(Relaxed), phase: Phase::Wait }),
            _ => None,
        }
    }
}
