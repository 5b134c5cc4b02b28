//! Which processors this thread may use: by affinity and by quota. Spinning pays only where the partner runs meanwhile.

use std::cell::Cell;

use crate::groups::{self, Group};

/// Affinity is asked again after so many looks: `taskset -p` on a running process takes effect.
const LOOKS: u32 = 256;

thread_local! {
    /// Looks left until the next question, and the last answer.
    static AFFINITY: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
}

/// The processors that the calling thread may run on, a bit each; beyond 64 they share bits. Never 0.
#[must_use]
pub fn mine() -> u64 {
    match AFFINITY.get() {
        (0, _) => ask(),
        (looks, mask) => {
            AFFINITY.set((looks - 1, mask));
            mask
        }
    }
}

#[cold]
fn ask() -> u64 {
    let mask = match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .fold(0, |mask, cpu| mask | 1 << (cpu % 64)),
        Err(_) => 1,
    };
    AFFINITY.set((LOOKS, mask));
    mask
}

/// True when the calling thread and a partner that may run on the processors `partner` can run at the same time. Of an
/// unknown partner (0) it is assumed that it can, if this thread leaves it a processor.
#[must_use]
pub fn together(partner: u64) -> bool {
    (mine() | partner).count_ones() > 1 && !quota_of_one()
}

/// True when a control group grants at most one processor's time. Read once: groups seldom change under a process.
fn quota_of_one() -> bool {
    static QUOTA: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *QUOTA.get_or_init(|| quota(&groups::of_this_process("cpu")).is_some_and(|cpus| cpus <= 1.0))
}

/// The least quota of groups, in processors; none if unlimited.
fn quota(groups: &[Group]) -> Option<f64> {
    let of = |group: &Group| {
        if group.is_unified {
            let text = group.read("cpu.max")?;
            let mut words = text.split_whitespace();
            ratio(words.next()?, words.next()?)
        } else {
            ratio(group.read("cpu.cfs_quota_us")?.trim(), group.read("cpu.cfs_period_us")?.trim())
        }
    };
    groups.iter().filter_map(of).min_by(f64::total_cmp)
}

/// `max` and `-1` mean no quota and do not parse as a positive number.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::quota;
    use crate::groups;

    #[test]
    fn test_quota_is_the_least_of_all_groups_and_parents() {
        let root = std::env::temp_dir().join(format!("underpass-cpus-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("cpu/c")).unwrap();
        std::fs::write(root.join("a/cpu.max"), "50000 100000\n").unwrap();
        std::fs::write(root.join("a/b/cpu.max"), "max 100000\n").unwrap();
        std::fs::write(root.join("cpu/c/cpu.cfs_quota_us"), "200000\n").unwrap();
        std::fs::write(root.join("cpu/c/cpu.cfs_period_us"), "100000\n").unwrap();
        let quota = |lines| quota(&groups::all(lines, &root, "cpu"));
        assert_eq!(quota("0::/a/b\n"), Some(0.5));
        assert_eq!(quota("3:cpu,cpuacct:/c\n"), Some(2.0));
        assert_eq!(quota("3:memory:/c\n0::/\n"), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}
