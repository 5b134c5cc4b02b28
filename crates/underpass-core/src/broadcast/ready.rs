//! A broadcast as one of many that are waited for: by its readers for a message, by its writer for room for one.

use super::{Broadcast, Reader};
use crate::Result;
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::wait::Sleepers;

impl Ready for Reader {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.broadcast.words
    }

    /// A get would not wait: a message was published, or there is something to be told of the writer.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        if self.behind() > 0 {
            return Ok(true);
        }
        if let Some(watch) = watch {
            self.announce(watch);
        }
        Ok(self.has_end(kernel) || self.behind() > 0)
    }
}

/// A broadcast as its writer sees it who publishes a message of so many bytes.
#[derive(Debug, Clone)]
pub struct ForPublishing {
    /// Of which.
    pub broadcast: Broadcast,
    /// Bytes.
    pub size: usize,
}

impl Ready for ForPublishing {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.broadcast.words
    }

    /// To publish would not wait, or be refused.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, mut watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let (it, me) = (&self.broadcast, kernel.me()?);
        if it.check_size(self.size).is_err() || it.is_mine(kernel, me).is_err() {
            return Ok(true);
        }
        if let Some(watch) = watch.as_deref_mut() {
            it.announce_writer(watch);
        }
        let before = it.overwrites(it.target(self.size)?);
        Ok(it.is_closed() || it.is_lent() || !it.places.hold_back(kernel, me, before, watch))
    }
}
