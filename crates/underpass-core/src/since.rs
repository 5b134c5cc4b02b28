//! A wait that a reset ends, for those who sleep elsewhere and take their turn there: the tasks of an event loop.
//!
//! A thread that comes reads how often the object was reset, and leaves once that has changed; so do these. All tasks of a
//! loop that came since the same reset have one place among what their loop waits for: it is told of them together.
//!
//! Invariant: it is ready once the object is, and for good once that was reset since they came.

use std::sync::Arc;

use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::Acquire;

use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::wait::Sleepers;
use crate::{Error, Result};

/// What can be reset: whoever waits then leaves with an error.
pub trait Resets: Ready {
    /// Raised by every reset.
    fn resets(&self) -> &AtomicU32;
}

/// An object, as those wait for it who came since a certain reset.
#[derive(Debug)]
pub struct Since {
    object: Arc<dyn Resets + Send + Sync>,
    resets: u32,
}

impl Since {
    /// For those who come now.
    #[must_use]
    pub fn now(object: Arc<dyn Resets + Send + Sync>) -> Self {
        let resets = object.resets().load(Acquire);
        Self { object, resets }
    }

    /// After how many resets they came.
    #[must_use]
    pub fn resets(&self) -> u32 {
        self.resets
    }

    /// An error if it was reset since.
    pub fn judge(&self) -> Result<()> {
        if self.object.resets().load(Acquire) == self.resets { Ok(()) } else { Err(Error::Reset) }
    }
}

impl Ready for Since {
    fn sleepers(&self) -> &dyn Sleepers {
        self.object.sleepers()
    }

    /// The object is, or was reset since.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, mut watch: Option<&mut Watch<'a>>) -> Result<bool> {
        if self.judge().is_err() || self.object.is_ready(kernel, watch.as_deref_mut())? {
            return Ok(true);
        }
        // Who resets finds nobody announced until then, and wakes nobody.
        if let Some(watch) = watch {
            watch.word(self.object.resets(), self.resets);
        }
        Ok(false)
    }
}
