//! Bells of the lab: one for each task, in memory of its own.

use std::sync::atomic::Ordering::Relaxed;

use underpass_core::many;
use underpass_core::{Error, Result};
use underpass_lab::choice::Object;
use underpass_shm::header;
use underpass_shm::layout::bell::{BELLS, BellWords, WatchersWords};
use underpass_shm::place::PlacedSlice;
use underpass_shm::region::{Extent, Region};

use super::{LabKernel, address, locked};

impl LabKernel {
    /// All bells; made when somebody first asks for one.
    pub(super) fn bells(&self) -> Result<&[BellWords]> {
        if let Some(bells) = self.bells.get() {
            return Ok(bells);
        }
        let region = Region::anonymous(Extent::whole(BELLS * size_of::<BellWords>()))?;
        let bells = PlacedSlice::at(&region, 0, BELLS).ok_or_else(|| Error::Corrupted("too few bytes".into()))?;
        Ok(self.bells.get_or_init(|| bells))
    }

    /// Nobody has a bell any more.
    pub(super) fn clear_bells(&self) {
        let bells = self.bells.get().into_iter().flat_map(|bells| bells.iter());
        for bell in bells.filter(|bell| bell.owner.swap(0, Relaxed) != 0) {
            bell.rings.store(0, Relaxed);
            bell.ready.iter().for_each(|marks| marks.store(0, Relaxed));
        }
    }

    /// Rings for an object whose sleepers were woken; how many were asleep.
    pub(super) fn ring(&self, object: Option<Object>) -> u32 {
        let Some(object) = object else { return 0 };
        let region = locked(&self.objects).made.get(object.0 as usize).map(|made| made.region.clone());
        let watchers = region.as_ref().and_then(header::watchers);
        watchers.map_or(0, |watchers| self.ring_for(&watchers, u64::from(object.0)))
    }

    /// Rings for what those watch, which is known by `nonce`; how many were asleep.
    pub(super) fn ring_for(&self, watchers: &WatchersWords, nonce: u64) -> u32 {
        let Some(bells) = self.bells.get() else { return 0 };
        let woken = std::cell::Cell::new(0);
        let bell = |number: usize| bells.get(number).filter(|bell| bell.owner.load(Relaxed) != 0);
        let rung = |_, bell: &BellWords| {
            woken.set(woken.get() + self.schedule().wake(address(&raw const bell.rings), 1));
            self.schedule().alive(bell.owner.load(Relaxed))
        };
        many::ring(watchers, nonce, bell, rung);
        woken.get()
    }
}
