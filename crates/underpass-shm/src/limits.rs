//! What runs out on a machine: how much was needed, how much there is, and what makes room.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Resource;

use crate::groups::{self, Group};

/// Mappings that a process may need beyond those counted, while they are counted.
const SLACK: u64 = 8;

/// A limit that was reached. In bytes, files, mappings or descriptors: `unit` says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What is counted.
    pub unit: &'static str,
    /// How many were needed.
    pub need: u64,
    /// How many were free.
    pub free: u64,
    /// How many there can be.
    pub limit: u64,
    /// What makes room.
    pub remedy: String,
    /// What the kernel said.
    pub errno: Errno,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { need, free, limit, remedy, .. } = self;
        let unit = if *need == 1 { singular(self.unit) } else { self.unit.into() };
        write!(text, "needs {need} {unit}, and ")?;
        // Of what is not counted as a whole, it is known that nothing is left.
        if *limit == 0 {
            write!(text, "none is free: {remedy}")
        } else {
            write!(text, "{free} of {limit} are free: {remedy}")
        }
    }
}

/// How a tmpfs is made larger; containers begin with 64 MB.
const LARGER: &str = "mount -o remount,size=...; of a container: docker run --shm-size=...";

impl Lack {
    /// The bytes of the file system that holds a file or directory.
    #[must_use]
    pub fn of_bytes(place: impl AsFd, need: u64) -> Self {
        let (free, limit) = rustix::fs::fstatvfs(place)
            .map_or((0, 0), |status| (status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize));
        let remedy = format!("unlink what is not used there, or put UNDERPASS_DIR on a larger tmpfs ({LARGER})");
        Self { unit: "bytes", need, free, limit, remedy, errno: Errno::NOSPC }
    }

    /// The file system that holds an object, as far as its mapping can tell, or the memory of its control group.
    #[must_use]
    pub fn of_a_hole(need: usize) -> Self {
        let remedy = format!("unlink what is not used on the tmpfs of the space, or give it more ({LARGER})");
        Self { unit: "bytes", need: need as u64, free: 0, limit: 0, remedy, errno: Errno::NOSPC }
    }

    /// A simulated space that has not so many bytes left.
    #[must_use]
    pub fn of_simulated_bytes(need: u64, remedy: impl Into<String>) -> Self {
        Self { unit: "bytes", need, free: 0, limit: 0, remedy: remedy.into(), errno: Errno::NOSPC }
    }

    /// The memory of the machine, or of a control group that this process is in, if it has not so much to spare.
    #[must_use]
    pub fn of_memory(need: u64) -> Option<Self> {
        Self::of_machine(need).or_else(|| Self::of_groups(need, &groups::of_this_process("memory")))
    }

    fn of_machine(need: u64) -> Option<Self> {
        let [total, available, swap] = meminfo(["MemTotal", "MemAvailable", "SwapFree"]).map(|kib| kib * 1024);
        let free = available + swap;
        if total == 0 || need <= free {
            return None;
        }
        let remedy = "close regions that are not used, or end processes that take much memory".into();
        Some(Self { unit: "bytes of memory", need, free, limit: total, remedy, errno: Errno::NOMEM })
    }

    /// Beyond its limit a group loses its cache of files, then what can be swapped, and then a process.
    fn of_groups(need: u64, groups: &[Group]) -> Option<Self> {
        let [swap] = meminfo(["SwapFree"]).map(|kib| kib * 1024);
        groups.iter().find_map(|group| {
            let (limit, used, cache) = if group.is_unified {
                ("memory.max", "memory.current", ["inactive_file", "active_file"])
            } else {
                ("memory.limit_in_bytes", "memory.usage_in_bytes", ["total_inactive_file", "total_active_file"])
            };
            let (limit, used) = (group.number(limit)?, group.number(used)?);
            let statistics = group.read("memory.stat")?;
            let values = statistics.lines().filter_map(|line| line.split_once(' '));
            let cache: u64 =
                values.filter(|(name, _)| cache.contains(name)).filter_map(|(_, value)| value.parse::<u64>().ok()).sum();
            let free = limit.saturating_sub(used.saturating_sub(cache)).saturating_add(swap);
            let remedy = "close regions that are not used, or raise what the control group may have (memory.max; of a container: \
                          docker run --memory=...)";
            (need > free).then(|| Self {
                unit: "bytes of its group's memory",
                need,
                free,
                limit,
                remedy: remedy.into(),
                errno: Errno::NOMEM,
            })
        })
    }

    /// Memory that the kernel did not give.
    #[must_use]
    pub fn of_refused_memory(need: u64, errno: Errno) -> Self {
        let remedy =
            "close regions that are not used, or raise the limit (ulimit -f, or the group's memory.max)".into();
        Self { unit: "bytes of memory", need, free: 0, limit: 0, remedy, errno }
    }

    /// The machine's reserve of huge pages of that many bytes.
    #[must_use]
    pub fn of_huge_pages(need: u64, page: u64, errno: Errno) -> Self {
        let [limit, free] = meminfo(["HugePages_Total", "HugePages_Free"]);
        let remedy = format!(
            "reserve some (sysctl vm.nr_hugepages={}, of {} KiB each), or do without: huge=False",
            limit + need.saturating_sub(free),
            page / 1024
        );
        Self { unit: "huge pages", need, free, limit, remedy, errno }
    }

    /// The file system that holds a directory has no room for one more file: no bytes for it, or no number.
    #[must_use]
    pub fn of_files(directory: impl AsFd) -> Self {
        let status = rustix::fs::fstatvfs(&directory).ok();
        let (free, limit) = status.map_or((0, 0), |status| (status.f_favail, status.f_files));
        if free > 0 {
            return Self::of_bytes(directory, rustix::param::page_size() as u64);
        }
        let remedy = "unlink what is not used there, or put UNDERPASS_DIR on a tmpfs of more files (mount -o remount,nr_inodes=...)";
        Self { unit: "files", need: 1, free, limit, remedy: remedy.into(), errno: Errno::NOSPC }
    }

    /// This process, or the machine, has opened as many files as it may.
    #[must_use]
    pub fn of_descriptors(errno: Errno) -> Self {
        if errno == Errno::NFILE {
            let limit = number("/proc/sys/fs/file-max");
            let remedy = "close files in some process, or raise fs.file-max (sysctl)".into();
            return Self { unit: "open files of the machine", need: 1, free: 0, limit, remedy, errno };
        }
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let most = limit.maximum.map_or_else(|| "any number".into(), |most| most.to_string());
        let remedy = format!("close files, or raise the limit: ulimit -n (up to {most})");
        Self { unit: "descriptors", need: 1, free: 0, limit: limit.current.unwrap_or(0), remedy, errno }
    }

    /// A limit of inotify, with which names are waited for. None if the descriptors are what is lacking.
    #[must_use]
    pub fn of_watches(errno: Errno, directory: BorrowedFd<'_>) -> Option<Self> {
        let setting = match errno {
            Errno::MFILE if rustix::io::fcntl_dupfd_cloexec(directory, 0).is_ok() => "max_user_instances",
            Errno::NOSPC => "max_user_watches",
            _ => return None,
        };
        let limit = number(&format!("/proc/sys/fs/inotify/{setting}"));
        let remedy = format!("raise fs.inotify.{setting} (sysctl)");
        Some(Self { unit: "inotify watches of this user", need: 1, free: 0, limit, remedy, errno })
    }

    /// The kernel has no memory for a mapping of that many bytes: mostly because the process has too many of them.
    #[must_use]
    pub fn of_mappings(length: usize) -> Self {
        let limit = number("/proc/sys/vm/max_map_count");
        let used = mappings();
        let free = limit.saturating_sub(used);
        // A file that cannot be read for lack of mappings says nothing either.
        if limit == 0 || used == 0 || free <= SLACK {
            let remedy = "close objects that are not used, or raise vm.max_map_count (sysctl)".into();
            return Self { unit: "mappings of this process", need: 1, free, limit, remedy, errno: Errno::NOMEM };
        }
        let limit = rustix::process::getrlimit(Resource::As).current.unwrap_or(0);
        let pages = std::fs::read_to_string("/proc/self/statm").ok();
        let pages = pages.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
        let free = limit.saturating_sub(pages * rustix::param::page_size() as u64);
        let remedy = "close objects that are not used, or raise the limit: ulimit -v".into();
        Self { unit: "bytes of address space", need: length as u64, free, limit, remedy, errno: Errno::NOMEM }
    }
}

/// One of a unit: of `open files of the machine` it is an open file of the machine.
fn singular(unit: &str) -> String {
    let (units, of) = unit.find(" of ").map_or((unit, ""), |end| unit.split_at(end));
    let one = if units.ends_with("ches") || units.ends_with("sses") { units.strip_suffix("es") } else { None };
    format!("{}{of}", one.or_else(|| units.strip_suffix('s')).unwrap_or(units))
}

/// The mappings of this process; 0 if they cannot be counted. Without memory for their list: there may be none.
fn mappings() -> u64 {
    let Ok(maps) = std::fs::File::open("/proc/self/maps") else { return 0 };
    std::io::BufReader::new(maps).split(b'\n').map_while(std::io::Result::ok).count() as u64
}

/// Lines of `/proc/meminfo`; 0 for what it has not.
fn meminfo<const N: usize>(names: [&str; N]) -> [u64; N] {
    let lines = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    names.map(|name| {
        let value = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    })
}

fn number(path: &str) -> u64 {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Lack, meminfo};
    use crate::groups;

    const MIB: u64 = 1 << 20;

    #[test]
    fn test_a_group_lacks_memory_that_the_machine_has() {
        let root = std::env::temp_dir().join(format!("underpass-limits-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/memory.max", &format!("{}\n", 64 * MIB));
        write("a/memory.current", &format!("{}\n", 24 * MIB));
        write("a/memory.stat", &format!("anon {}\ninactive_file {}\nactive_file {MIB}\n", 20 * MIB, 3 * MIB));
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "0\n");
        write("memory/c/memory.limit_in_bytes", &format!("{}\n", 32 * MIB));
        write("memory/c/memory.usage_in_bytes", "0\n");
        write("memory/c/memory.stat", "total_inactive_file 0\n");
        let swap = meminfo(["SwapFree"])[0] * 1024;
        let lack = |lines: &str, need| Lack::of_groups(need + swap, &groups::all(lines, &root, "memory"));
        assert_eq!(lack("0::/a/b\n", 44 * MIB), None);
        let lacking = lack("0::/a/b\n", 44 * MIB + 1).unwrap();
        assert_eq!((lacking.free, lacking.limit), (44 * MIB + swap, 64 * MIB));
        assert_eq!(lack("4:memory:/c\n", 32 * MIB), None);
        assert_eq!(lack("4:memory:/c\n", 33 * MIB).unwrap().limit, 32 * MIB);
        assert_eq!(lack("4:cpu:/c\n", 33 * MIB), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}
