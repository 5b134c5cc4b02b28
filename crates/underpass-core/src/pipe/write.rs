//! The writers' side of a pipe: pieces, streams, registrations.

use underpass_shm::layout::queue::{CLOSED, PUTTERS_DIED, PUTTERS_LEFT, PUTTERS_PRESENT, ROSTER};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use super::Pipe;
use crate::kernel::{Kernel, Owed};
use crate::queue::roster;
use crate::wait::{Waiting, wait_until};
use crate::{Deadline, Error, Result};

impl Pipe {
    /// Writes all the bytes, waiting for room; how many were written, and why not all. As many as the pipe can hold are
    /// written at once or not at all if that may not wait. Who came before knows how many resets there had been: `since`.
    pub fn write(
        &self,
        kernel: &dyn Kernel,
        data: &[u8],
        deadline: Deadline,
        since: Option<u32>,
    ) -> (usize, Result<()>) {
        let mut done = 0;
        let result = (|| {
            let me = kernel.me()?;
            let resets = self.resets(since);
            let at_once = deadline == Deadline::NoWait && data.len() <= self.capacity as usize;
            if self.is_one_piece(data.len()) || at_once {
                done = self.write_part(kernel, me, resets, data, data.len(), deadline)?;
            }
            while done < data.len() {
                let end = data.len().min(done + self.chunk());
                done += self.write_part(kernel, me, resets, &data[done..end], 1, deadline)?;
            }
            Ok(())
        })();
        (done, result)
    }

    /// Writes what there is room for, at least so much, waiting for it.
    fn write_part(
        &self,
        kernel: &dyn Kernel,
        me: Me,
        resets: u32,
        data: &[u8],
        least: usize,
        deadline: Deadline,
    ) -> Result<usize> {
        let attempt = || self.try_write(kernel, me, resets, data, least);
        if let Some(written) = attempt()? {
            return Ok(written);
        }
        if deadline == Deadline::NoWait {
            return Err(Error::WouldBlock);
        }
        let words = &self.words;
        let ready = || self.room() >= least;
        let (mine, partner) = (kernel.cpus(), words.read.cpus.load(Relaxed));
        words.write.cpus.store(mine, Relaxed);
        let (patience, operation) = (&self.writing, Operation::Write);
        let waiting = Waiting { sleepers: Some(&*self.words), deadline, patience, partner, operation };
        wait_until(kernel, waiting, ready, |watch, _| {
            if let Some(watch) = watch {
                self.announce(watch, &words.taken);
            }
            attempt()
        })
    }

    fn try_write(&self, kernel: &dyn Kernel, me: Me, resets: u32, data: &[u8], least: usize) -> Result<Option<usize>> {
        let _side = self.write_side(kernel, me)?;
        let words = &self.words;
        if words.resets.load(Acquire) != resets {
            return Err(Error::Reset);
        }
        let start = words.written.word.load(Relaxed);
        if start & CLOSED != 0 {
            return Err(Error::EndOfStream);
        }
        let room = (self.capacity - self.depth_inside()?) as usize;
        if room < least {
            return Ok(None);
        }
        let count = room.min(data.len());
        self.copy_in(start, &data[..count]);
        self.advance(kernel, &words.written, count as u32)?;
        Ok(Some(count))
    }

    /// Copies bytes into the free part of the ring.
    fn copy_in(&self, start: u32, data: &[u8]) {
        let start = (start & (self.ring - 1)) as usize;
        let (first, second) = data.split_at(data.len().min(self.ring as usize - start));
        self.bytes.write_across(start, first);
        self.bytes.write_across(0, second);
    }

    /// Bytes that there is room for: a peek.
    pub(super) fn room(&self) -> usize {
        (self.capacity - self.depth()) as usize
    }

    /// Registers this process as a writer: readers are told when the last one leaves or dies.
    pub fn join_writers(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let words = &self.words;
        let _side = self.write_side(kernel, me)?;
        // Sleeping readers do not watch this process yet: should it die before it has told them, the kernel does.
        let _owed = Owed::name(kernel, &words.baton);
        match roster::register(&words.writers, me.process) {
            None => Err(Error::Misuse(format!("{ROSTER} processes are registered as writers, and no more fit"))),
            Some(new) => {
                words.write.registered.store(PUTTERS_PRESENT, Release);
                if new {
                    // SYNC(pipe-3): pairs with `ending`. Under the lock, so before another leaves.
                    self.call(kernel);
                }
                Ok(())
            }
        }
    }

    /// Takes one registration back.
    pub fn leave_writers(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let words = &self.words;
        let _side = self.write_side(kernel, me)?;
        let _owed = Owed::name(kernel, &words.baton);
        let gone = roster::unregister(&words.writers, me.process);
        // Who died before this one left was not the last: nobody has to be told of a death.
        for dead in roster::members(&words.writers).filter(|process| *process != me.process && !kernel.alive(*process))
        {
            roster::strike(&words.writers, dead);
        }
        if gone && roster::members(&words.writers).next().is_none() {
            words.write.registered.store(PUTTERS_LEFT, Release);
            self.call(kernel);
        }
        Ok(())
    }

    /// Looks who of the registered writers has died; `living` is told of the others.
    pub(super) fn reap(&self, kernel: &dyn Kernel, me: Me, mut living: impl FnMut(Life)) -> Result<()> {
        for process in roster::members(&self.words.writers).filter(|process| *process != me.process) {
            if kernel.alive(process) {
                living(process);
            } else {
                self.reap_writer(kernel, me, process)?;
            }
        }
        Ok(())
    }

    /// A registered writer died. If it was the last, the readers are told when nothing is left.
    fn reap_writer(&self, kernel: &dyn Kernel, me: Me, dead: Life) -> Result<()> {
        let words = &self.words;
        let _side = self.write_side(kernel, me)?;
        if !roster::members(&words.writers).any(|process| process == dead) {
            return Ok(());
        }
        words.write.died_pid.store(kernel.pid(dead), Relaxed);
        if roster::members(&words.writers).all(|process| process == dead) {
            words.write.registered.store(PUTTERS_DIED, Release);
        }
        roster::strike(&words.writers, dead);
        self.call(kernel);
        Ok(())
    }
}
