//! Names in the lab: which are taken, and who waits for one, alone or beside others.

use std::sync::atomic::AtomicU32 as Word;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, OnceLock};

use underpass_core::kernel::{Kernel, Parked, Watch};
use underpass_core::many::Ready;
use underpass_core::wait::Sleepers;
use underpass_core::{Error, Result};
use underpass_lab::choice::Point;
use underpass_lab::record::{Manner, Thing};
use underpass_shm::header::Kind;
use underpass_shm::layout::bell::WatchersWords;
use underpass_shm::place::Placed;
use underpass_shm::region::{Extent, Region};
use underpass_shm::sync::AtomicU32;

use super::objects::Made;
use super::{LabKernel, address, locked};
use crate::handle::is_taken_over;

/// The words of those who wait for names.
#[derive(Debug, Default)]
pub struct Names {
    /// How many have come.
    count: Word,
    /// Nobody owes a wake for a name without making it.
    baton: Word,
    /// Who is rung when one comes; made when somebody first asks for it.
    watchers: OnceLock<Placed<WatchersWords>>,
}

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
        watch.word(&self.names.count, seen);
        self.park(&watch, &[], until)
    }

    /// How many names have appeared.
    pub fn names(&self) -> u32 {
        self.schedule().tie(Thing::Word(address(&raw const self.names.count)), Manner::Look);
        self.names.count.load(SeqCst)
    }

    /// A name has appeared: on Linux the directory tells those who listen in the same instant, whoever dies.
    pub(super) fn announce(&self) {
        let count = address(&raw const self.names.count);
        self.names.count.fetch_add(1, SeqCst);
        self.schedule().tie(Thing::Word(count), Manner::Change);
        let woken = self.schedule().wake(count, u32::MAX);
        let rung = self.names.watchers.get().map_or(0, |watchers| self.ring_for(watchers, NewNames::NONCE));
        if woken + rung > 0 {
            self.quiet_point(Point::Woke, None);
        }
    }

    /// Nobody waits for a name any more.
    pub(super) fn clear_names(&self) {
        let bells = self.names.watchers.get().into_iter().flat_map(|watchers| watchers.bells.iter());
        bells.for_each(|bells| bells.store(0, Relaxed));
    }
}

/// Names that come, as something that is waited for beside others: ready while one has come of which no notice was taken.
#[derive(Debug)]
pub struct NewNames {
    lab: Arc<LabKernel>,
    seen: Word,
}

impl NewNames {
    /// What they are called.
    pub const TITLE: &str = "names of the lab";
    /// By what they are rung for.
    pub const NONCE: u64 = u64::MAX;

    /// Of all that have come by now notice was taken.
    pub fn from_now_on(lab: Arc<LabKernel>) -> Result<Self> {
        let names = Self { lab, seen: Word::new(0) };
        names.take().map(|()| names)
    }

    /// Takes notice of all that have come: others may make one between a look for a name and this.
    pub fn take(&self) -> Result<()> {
        self.lab.point(Point::Operation, None)?;
        self.seen.store(self.lab.names(), Relaxed);
        Ok(())
    }

    /// Their world.
    pub fn kernel(&self) -> &LabKernel {
        &self.lab
    }

    /// Who is rung for them: who asks is about to be one of those.
    pub fn watchers(&self) -> Result<Placed<WatchersWords>> {
        self.lab.schedule().tie(Thing::Word(address(&raw const self.lab.names.count)), Manner::Change);
        let watchers = &self.lab.names.watchers;
        if let Some(watchers) = watchers.get() {
            return Ok(watchers.clone());
        }
        let region = Region::anonymous(Extent::whole(size_of::<WatchersWords>()))?;
        let words = Placed::at(&region, 0).ok_or_else(|| Error::Corrupted("too few bytes".into()))?;
        Ok(watchers.get_or_init(|| words).clone())
    }
}

impl Ready for NewNames {
    fn sleepers(&self) -> &dyn Sleepers {
        self
    }

    fn is_ready<'a>(&'a self, _kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let (seen, now) = (self.seen.load(Relaxed), self.lab.names());
        if let Some(watch) = watch {
            watch.word(&self.lab.names.count, seen);
        }
        Ok(now != seen)
    }
}

impl Sleepers for NewNames {
    fn baton(&self) -> &AtomicU32 {
        &self.lab.names.baton
    }

    fn recall(&self, _kernel: &dyn Kernel) {}
}
