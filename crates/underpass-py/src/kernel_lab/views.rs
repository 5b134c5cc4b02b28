//! Views in the lab of bytes that another process holds. Its processes share their Python objects, so one gets at another's lease
//! or loan as a forked child does; only the lab sees both.

use std::sync::{Mutex, MutexGuard, PoisonError};

use underpass_core::kernel::Kernel as _;
use underpass_shm::life::Life;

use super::LabKernel;

/// Bytes that a process holds under a lease or a loan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBytes {
    pub start: usize,
    /// Which lease or loan of these bytes it is.
    pub number: u32,
    pub holder: Life,
}

/// Who views bytes that are another's, as often as there are views.
#[derive(Debug, Default)]
pub struct Views(Mutex<Vec<(HeldBytes, Life)>>);

impl Views {
    fn all(&self) -> MutexGuard<'_, Vec<(HeldBytes, Life)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A view is given.
    pub fn add(&self, bytes: HeldBytes, viewer: Life) {
        self.all().push((bytes, viewer));
    }

    /// A view has ended; one of a schedule before this one is known no more.
    pub fn remove(&self, bytes: HeldBytes, viewer: Life) {
        let mut all = self.all();
        if let Some(place) = all.iter().position(|view| *view == (bytes, viewer)) {
            all.swap_remove(place);
        }
    }

    /// Nobody views anything.
    pub fn clear(&self) {
        self.all().clear();
    }
}

impl LabKernel {
    /// The process that runs, if it is a simulated one and these bytes are not its own.
    pub fn stranger_to(&self, bytes: HeldBytes) -> Option<Life> {
        self.simulated().filter(|running| *running != bytes.holder)
    }

    /// A process that views these bytes of another's; the dead look no more.
    pub fn viewer_of(&self, bytes: HeldBytes) -> Option<Life> {
        let all = self.views.all();
        all.iter().find(|(viewed, viewer)| *viewed == bytes && self.alive(*viewer)).map(|(_, viewer)| *viewer)
    }
}
