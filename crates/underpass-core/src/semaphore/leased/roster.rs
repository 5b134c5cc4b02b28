//! Who holds units, and how many each. Changed under the lock of the waiters; read without it by those who look on.
//!
//! Who has given all back stays on it, so that sleepers go on to watch it, until its entry is needed for another.

use underpass_shm::layout::semaphore::{HolderTenureWords, HolderWords};
use underpass_shm::life::Life;
use underpass_shm::place::PlacedSlice;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

use crate::kernel::Watch;
use crate::site::{Site, TOLD, Tenure};

/// The entries of one semaphore, and how many of them were ever used.
#[derive(Debug, Clone, Copy)]
pub struct Roster<'a> {
    pub entries: &'a PlacedSlice<HolderWords>,
    pub tenures: &'a PlacedSlice<HolderTenureWords>,
    pub used: &'a AtomicU32,
}

impl<'a> Roster<'a> {
    fn used(self) -> impl Iterator<Item = &'a HolderWords> {
        self.entries.iter().take(self.used.load(Acquire) as usize)
    }

    fn members(self) -> impl Iterator<Item = (Life, u32)> + 'a {
        self.used()
            .map(|entry| (Life(entry.process.load(Acquire)), entry.count.load(Acquire)))
            .filter(|(process, _)| *process != Life::NOBODY)
    }

    /// The processes that hold some.
    pub fn holders(self) -> impl Iterator<Item = (Life, u32)> + 'a {
        self.members().filter(|(_, count)| *count > 0)
    }

    /// All that is held.
    pub fn sum(self) -> u32 {
        self.used().fold(0, |sum, entry| sum.saturating_add(entry.count.load(Acquire)))
    }

    /// Where a process stands.
    pub fn find(self, process: Life) -> Option<usize> {
        self.used().position(|entry| entry.process.load(Relaxed) == process.0)
    }

    /// What an entry counts.
    pub fn count(self, entry: usize) -> u32 {
        self.entries.get(entry).map_or(0, |entry| entry.count.load(Relaxed))
    }

    /// The one store that takes a unit, or gives it back.
    pub fn set(self, entry: usize, count: u32) {
        if let (Some(entry), Some(tenure)) = (self.entries.get(entry), self.tenures.get(entry)) {
            if TOLD && entry.count.load(Relaxed) == 0 {
                Tenure::begin(tenure);
            }
            entry.count.store(count, Release);
        }
    }

    /// The processes that hold some, how many, and what is known of since when.
    pub fn told(self) -> impl Iterator<Item = (Life, u32, Tenure)> + 'a {
        let told = |(entry, tenure): (&HolderWords, &HolderTenureWords)| {
            let (process, count) = (entry.process.load(Acquire), entry.count.load(Acquire));
            let tenure = Tenure::of(tenure);
            let is_its = count > 0 && process != 0 && entry.process.load(Relaxed) == process;
            is_its.then_some((Life(process), count, tenure))
        };
        self.used().zip(self.tenures.iter()).filter_map(told)
    }

    /// One comes to wait for those who hold some.
    pub fn found(self, now: u64) {
        let holding = self.used().zip(self.tenures.iter()).filter(|(entry, _)| TOLD && entry.count.load(Relaxed) > 0);
        holding.for_each(|(_, tenure)| Tenure::found(tenure, now));
    }

    /// A process that has taken its first unit says where. Without the lock, which can mean to wait: one thread of it does.
    pub fn note(self, process: Life, site: &Site) {
        let entry = self.find(process).filter(|entry| self.count(*entry) == 1);
        if let Some(tenure) = entry.and_then(|entry| self.tenures.get(entry)) {
            site.write_first(tenure);
        }
    }

    /// An entry for a process that has none, counting nothing; none if all entries count something.
    pub fn register(self, process: Life) -> Option<usize> {
        let nobody = |entry: &HolderWords| entry.process.load(Relaxed) == 0;
        let idle = |entry: &HolderWords| entry.count.load(Relaxed) == 0;
        let used = self.used().count();
        let fresh = self.used().position(nobody).or((used < self.entries.len()).then_some(used));
        let index = fresh.or_else(|| self.used().position(idle))?;
        let entry = &self.entries[index];
        entry.count.store(0, Relaxed);
        entry.process.store(process.0, Release);
        if index == used {
            self.used.store(used as u32 + 1, Release);
        }
        Some(index)
    }

    /// Strikes processes out, with what they hold.
    pub fn strike(self, dead: impl Fn(Life) -> bool) {
        for entry in self.used() {
            let process = Life(entry.process.load(Relaxed));
            if process != Life::NOBODY && dead(process) {
                // In this order: who dies in between has left an entry of a dead process, which is struck out again.
                entry.count.store(0, Release);
                entry.process.store(0, Release);
            }
        }
    }

    /// Those whom one who sleeps has to watch: first who holds some, then who may come to.
    pub fn watch(self, me: Life, watch: &mut Watch<'_>) {
        let others = |process: &Life| *process != me;
        self.holders().map(|(process, _)| process).filter(others).for_each(|process| watch.life(process));
        self.members().map(|(process, _)| process).filter(others).for_each(|process| watch.life(process));
    }
}
