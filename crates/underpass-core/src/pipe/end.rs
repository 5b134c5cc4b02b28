//! The ends of a pipe: emptied, shut down.

use underpass_shm::layout::queue::CLOSED;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Release};

use super::Pipe;
use crate::Result;
use crate::kernel::{Kernel, Owed};

impl Pipe {
    /// Throws away what is in it. Who waits, or is in the middle of a stream, leaves with `Reset`.
    pub fn reset(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        let _owed = Owed::name(kernel, &self.words.baton);
        {
            let _writers = self.write_side(kernel, me)?;
            let _readers = self.read_side(kernel, me)?;
            self.words.resets.fetch_or(1, AcqRel);
            self.settle_reset(kernel)?;
        }
        self.call(kernel);
        Ok(())
    }

    /// Nothing can be written any more; readers drain what is there.
    pub fn shutdown(&self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, &self.words.baton);
        self.words.written.word.fetch_or(CLOSED, AcqRel);
        self.call(kernel);
    }

    /// Does what is left of a reset, if one is under way. Under the readers' lock, and by or for whoever holds the writers'
    /// too, so that both counts stand still.
    pub(super) fn settle_reset(&self, kernel: &dyn Kernel) -> Result<()> {
        let resets = self.words.resets.load(Acquire);
        if resets & 1 != 0 {
            self.advance(kernel, &self.words.taken, self.depth_inside()?)?;
            self.words.resets.store(resets.wrapping_add(1), Release);
        }
        Ok(())
    }
}
