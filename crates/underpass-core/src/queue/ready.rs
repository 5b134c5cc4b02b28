//! A queue as one of many that are waited for: for getting, and for putting.

use std::sync::Arc;

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::queue::JOINERS;
use underpass_shm::sync::AtomicU32;

use super::Queue;
use crate::Result;
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::since::Resets;
use crate::wait::Sleepers;

impl Ready for Queue {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.room.words
    }

    /// A get would not wait: a message is queued, or none will come any more.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let has_line = |queue: &Self| queue.lines.as_ref().is_some_and(|lines| !lines.getting.is_empty());
        if self.depth() > 0 && !has_line(self) {
            return Ok(true);
        }
        let me = kernel.me()?;
        let mut watch = watch;
        match watch.as_deref_mut() {
            None => self.reap(kernel, me, |_| ())?,
            Some(watch) => {
                self.room.announce_sleeper(watch, &self.room.words.tail, SLEEPERS);
                self.reap(kernel, me, |life| watch.life(life))?;
            }
        }
        if self.depth() > 0 {
            return self.may_pass_getters(kernel, me, watch);
        }
        Ok(self.ending(kernel, me)?.is_some())
    }
}

/// A queue as those see it who put.
#[derive(Debug, Clone)]
pub struct ForPutting(pub Arc<Queue>);

impl Ready for ForPutting {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.0.room.words
    }

    /// A put would not wait: a slot is to be had, or the queue was shut down.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let (queue, words) = (&*self.0, &self.0.room.words);
        let has_line = || queue.lines.as_ref().is_some_and(|lines| !lines.putting.is_empty());
        if queue.is_shut_down() || queue.has_room() && !has_line() {
            return Ok(true);
        }
        let me = kernel.me()?;
        let mut watch = watch;
        match watch.as_deref_mut() {
            None => queue.reap(kernel, me, |_| ())?,
            Some(watch) => {
                queue.room.announce_sleeper(watch, &words.freed, SLEEPERS);
                queue.reap(kernel, me, |life| watch.life(life))?;
            }
        }
        Ok(queue.is_shut_down() || queue.has_room() && queue.may_pass_putters(kernel, me, watch)?)
    }
}

impl Resets for ForPutting {
    fn resets(&self) -> &AtomicU32 {
        &self.0.room.words.purges
    }
}

/// A queue as those see it who join it.
#[derive(Debug, Clone)]
pub struct ForJoining(pub Arc<Queue>);

impl Ready for ForJoining {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.0.room.words
    }

    /// Nothing is queued or leased.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let room = &self.0.room;
        if room.drained() {
            return Ok(true);
        }
        let me = kernel.me()?;
        match watch {
            None => self.0.reap(kernel, me, |_| ())?,
            Some(watch) => {
                room.announce_sleeper(watch, &room.words.freed, JOINERS);
                self.0.reap(kernel, me, |life| watch.life(life))?;
            }
        }
        Ok(room.drained())
    }
}
