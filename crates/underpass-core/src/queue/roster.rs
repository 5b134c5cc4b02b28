//! Rosters: which processes hold slots, and which are registered as putters. Whoever sleeps watches them.

use underpass_shm::layout::queue::RosterEntry;
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

/// One registration more for `process`. True if it was not there before; `None` if the roster is full. Under a lock.
pub fn register(roster: &[RosterEntry], process: Life) -> Option<bool> {
    if let Some(entry) = find(roster, process) {
        entry.count.store(entry.count.load(Relaxed) + 1, Relaxed);
        return Some(false);
    }
    let entry = roster.iter().find(|entry| entry.process.load(Relaxed) == 0)?;
    entry.count.store(1, Relaxed);
    entry.process.store(process.0, Release);
    Some(true)
}

/// One registration less. True if it was the last one of that process. Under a lock.
pub fn unregister(roster: &[RosterEntry], process: Life) -> bool {
    let Some(entry) = find(roster, process) else { return false };
    let count = entry.count.load(Relaxed).saturating_sub(1);
    entry.count.store(count, Relaxed);
    if count == 0 {
        entry.process.store(0, Release);
    }
    count == 0
}

/// Strikes a process out. Under a lock.
pub fn strike(roster: &[RosterEntry], process: Life) {
    if let Some(entry) = find(roster, process) {
        entry.count.store(0, Relaxed);
        entry.process.store(0, Release);
    }
}

/// Who stands there.
pub fn members(roster: &[RosterEntry]) -> impl Iterator<Item = Life> + '_ {
    roster.iter().map(|entry| Life(entry.process.load(Acquire))).filter(|life| *life != Life::NOBODY)
}

fn find(roster: &[RosterEntry], process: Life) -> Option<&RosterEntry> {
    roster.iter().find(|entry| entry.process.load(Relaxed) == process.0)
}
