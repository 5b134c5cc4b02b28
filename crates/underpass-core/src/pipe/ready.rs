//! A pipe as one of many that are waited for: for so many bytes, and for room for so many.

use std::sync::Arc;

use underpass_shm::sync::AtomicU32;

use super::Pipe;
use crate::Result;
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::since::Resets;
use crate::wait::Sleepers;

impl Pipe {
    /// A read of so many bytes would not wait.
    fn is_readable<'a>(&'a self, kernel: &dyn Kernel, least: usize, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let is_there = || self.depth() as usize >= least;
        if is_there() {
            return Ok(true);
        }
        let me = kernel.me()?;
        match watch {
            None => self.reap(kernel, me, |_| ())?,
            Some(watch) => self.announce_reader(kernel, me, watch)?,
        }
        Ok(is_there() || self.ending(least).is_some())
    }
}

impl Ready for Pipe {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.words
    }

    /// A byte is there, or none will come any more.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        self.is_readable(kernel, 1, watch)
    }
}

/// A pipe as those see it who read so many bytes at once.
#[derive(Debug, Clone)]
pub struct ForReading {
    /// Of which.
    pub pipe: Arc<Pipe>,
    /// Bytes.
    pub least: usize,
}

impl Ready for ForReading {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.pipe.words
    }

    /// So many are there, or will not come any more.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        self.pipe.is_readable(kernel, self.least, watch)
    }
}

impl Resets for ForReading {
    fn resets(&self) -> &AtomicU32 {
        &self.pipe.words.resets
    }
}

/// A pipe as those see it who write so many bytes at once.
#[derive(Debug, Clone)]
pub struct ForWriting {
    /// Of which.
    pub pipe: Arc<Pipe>,
    /// Bytes.
    pub least: usize,
}

impl Ready for ForWriting {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.pipe.words
    }

    /// There is room for so many, or it was shut down.
    fn is_ready<'a>(&'a self, _kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let has_room = || self.pipe.room() >= self.least || self.pipe.is_shut_down();
        if has_room() {
            return Ok(true);
        }
        if let Some(watch) = watch {
            self.pipe.announce(watch, &self.pipe.words.taken);
        }
        Ok(has_room())
    }
}

impl Resets for ForWriting {
    fn resets(&self) -> &AtomicU32 {
        &self.pipe.words.resets
    }
}
