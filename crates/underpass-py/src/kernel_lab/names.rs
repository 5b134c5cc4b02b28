//! Names in the lab: which are taken, and who waits for one.

use std::sync::atomic::Ordering::SeqCst;

use underpass_core::kernel::{Kernel as _, Parked, Watch};
use underpass_lab::choice::Point;
use underpass_lab::record::{Manner, Thing};
use underpass_shm::header::Kind;

use super::objects::Made;
use super::{LabKernel, address, locked};
use crate::handle::is_taken_over;

impl LabKernel {
    /// Some object has that name, and whoever makes one of this kind does not take it over.
    pub(super) fn is_taken(&self, file: &str, kind: Kind) -> bool {
        let linked = |made: &&Made| made.linked && made.file == file;
        let there =
            locked(&self.objects).made.iter().find(linked).map(|made| (made.region.clone(), made.header.clone()));
        there.is_some_and(|(region, header)| !is_taken_over(self, kind, &region, &header))
    }

    /// Sleeps until a name appears, or the time comes.
    pub fn await_name(&self, seen: u32, until: Option<u64>) -> Parked {
        let mut watch = Watch::new();
        watch.word(&self.names, seen);
        // Nobody owes a wake for a name without making it.
        self.park(&watch, &[], until)
    }

    /// How many names have appeared.
    pub fn names(&self) -> u32 {
        self.schedule().tie(Thing::Word(address(&raw const self.names)), Manner::Look);
        self.names.load(SeqCst)
    }

    /// A name has appeared: on Linux the directory tells those who listen in the same instant, whoever dies.
    pub(super) fn announce(&self) {
        let names = address(&raw const self.names);
        self.names.fetch_add(1, SeqCst);
        self.schedule().tie(Thing::Word(names), Manner::Change);
        let woken = self.schedule().wake(names, u32::MAX);
        if woken > 0 {
            self.quiet_point(Point::Woke, None);
        }
    }
}
