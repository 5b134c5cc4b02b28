//! A ring as one of many that are waited for: by its reader for a packet, by a writer for room for one.

use underpass_shm::life::Life;

use super::{Ring, Writers, announce};
use crate::Result;
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::wait::Sleepers;

impl Ready for Ring {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.words
    }

    /// To take would not wait, or be refused.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, mut watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let me = kernel.me()?.process;
        if let Some(watch) = watch.as_deref_mut() {
            announce(&self.words.news, watch);
        }
        let (reader, busy) = self.reader();
        if busy && reader == me || self.is_read_by_another(kernel, me) {
            return Ok(true);
        }
        let one = self.writers == Writers::One;
        let dead = if one { self.dead_writer(kernel, me, watch.as_deref_mut()) } else { None };
        Ok(dead.is_some() || self.peek(kernel, me, watch)?.is_some())
    }
}

impl Ring {
    fn is_read_by_another(&self, kernel: &dyn Kernel, me: Life) -> bool {
        is_another(kernel, me, self.reader().0)
    }

    fn is_written_by_another(&self, kernel: &dyn Kernel, me: Life) -> bool {
        self.writers == Writers::One && is_another(kernel, me, self.writer())
    }
}

/// Somebody else, who lives.
fn is_another(kernel: &dyn Kernel, me: Life, life: Life) -> bool {
    life != Life::NOBODY && life != me && kernel.alive(life)
}

/// A ring as those see it who claim so many bytes.
#[derive(Debug, Clone)]
pub struct ForClaim {
    /// Of which.
    pub ring: Ring,
    /// Bytes.
    pub size: usize,
}

impl Ready for ForClaim {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.ring.words
    }

    /// To claim would not wait, or be refused.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, mut watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let (ring, me) = (&self.ring, kernel.me()?.process);
        if let Some(watch) = watch.as_deref_mut() {
            announce(&ring.words.room, watch);
        }
        let refused = ring.is_written_by_another(kernel, me) || ring.dead_reader(kernel, me, watch).is_some();
        Ok(refused || ring.seems_to_have_room(self.size))
    }
}
