//! `underpass.PoolStatistics`: what is out, who has it, and how well it fits.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use pyo3::prelude::*;
use underpass_core::pool::Size;

use super::Pool;

/// The blocks of one size.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug, Clone)]
pub struct SizeStatistics {
    /// Bytes of each.
    pub block_size: u64,
    /// How many there are.
    pub blocks: usize,
    /// How many are free; those of the dead are, too.
    pub free: usize,
    /// The most that were out at once.
    pub high_water: usize,
    /// Of the bytes of the blocks that are out, the part that was not asked for: 0 to 1; 0 while none is out.
    pub fragmentation: f64,
}

#[pymethods]
impl SizeStatistics {
    fn __repr__(&self) -> String {
        format!(
            "SizeStatistics(block_size={}, blocks={}, free={}, high_water={}, fragmentation={:.2})",
            self.block_size, self.blocks, self.free, self.high_water, self.fragmentation
        )
    }
}

/// A snapshot of a pool.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct PoolStatistics {
    /// Of each size, the smallest first.
    pub sizes: Vec<SizeStatistics>,
    /// How many blocks each living process has, by its pid; those that it has handed on and nobody has received, too.
    pub holders: BTreeMap<u32, usize>,
    /// Blocks that no process has, since their messages lie in an `ObjectQueue`.
    pub queued: usize,
    /// Threads that sleep here, wherever they are.
    waiters: usize,
}

impl PoolStatistics {
    pub fn of(pool: &Pool) -> Self {
        let Pool { core, handle } = pool;
        let kernel = handle.kernel();
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        let owned: Vec<_> = core.owned().collect();
        for (_, process) in &owned {
            *counts.entry(*process).or_default() += 1;
        }
        counts.retain(|process, _| kernel.alive(*process));
        let queued: Vec<_> = core.queued().collect();
        let living = owned.into_iter().filter(|(_, process)| counts.contains_key(process)).map(|(at, _)| at);
        let out: Vec<_> = living.chain(queued.iter().copied()).collect();
        let of_size = |size: &Size| {
            let mine: Vec<_> = out.iter().filter(|block| size.numbers().contains(block)).collect();
            let asked: u64 = mine.iter().map(|block| core.asked(**block).min(size.bytes)).sum();
            SizeStatistics {
                block_size: size.bytes,
                blocks: size.count,
                free: size.count - mine.len(),
                high_water: core.high_water(size),
                fragmentation: unused(asked, size.bytes * mine.len() as u64),
            }
        };
        let holders = counts.into_iter().map(|(process, count)| (kernel.pid(process), count)).collect();
        Self {
            sizes: core.sizes().iter().map(of_size).collect(),
            holders,
            queued: queued.len(),
            waiters: handle.waiters(),
        }
    }

    /// How many blocks are free, and who has most, for who got none: at one look at each block.
    pub fn in_the_way(pool: &Pool) -> String {
        let Pool { core, handle } = pool;
        let (kernel, mut counts) = (handle.kernel(), HashMap::new());
        core.owned().for_each(|(_, process)| *counts.entry(process).or_insert(0_usize) += 1);
        counts.retain(|process, _| kernel.alive(*process));
        let all: usize = core.sizes().iter().map(|size| size.count).sum();
        let mut told = format!(
            "{} of its {all} blocks are free",
            all.saturating_sub(counts.values().sum::<usize>() + core.queued().count())
        );
        if let Some((process, count)) = counts.into_iter().max_by_key(|(process, count)| (*count, process.0)) {
            let _ = write!(told, ", pid {} has {count}", kernel.pid(process));
        }
        told
    }

    /// Free blocks of all sizes.
    pub fn free(&self) -> usize {
        self.sizes.iter().map(|size| size.free).sum()
    }
}

/// The part that is not used of what there is.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
fn unused(used: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { 1.0 - used as f64 / all as f64 }
}

#[pymethods]
impl PoolStatistics {
    fn __repr__(&self) -> String {
        let sizes: Vec<_> = self.sizes.iter().map(SizeStatistics::__repr__).collect();
        let holders: Vec<_> = self.holders.iter().map(|(pid, count)| format!("{pid}: {count}")).collect();
        let (sizes, holders) = (sizes.join(", "), holders.join(", "));
        format!(
            "PoolStatistics(sizes=[{sizes}], holders={{{holders}}}, queued={}, waiters={})",
            self.queued, self.waiters
        )
    }
}
