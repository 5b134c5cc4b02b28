//! What runs out on a machine: how much was needed, how much there is, and what makes room.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Resource;

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

    /// The memory of the machine, if it has not so much to spare.
    #[must_use]
    pub fn of_memory(need: u64) -> Option<Self> {
        let [total, available, swap] = meminfo(["MemTotal", "MemAvailable", "SwapFree"]).map(|kib| kib * 1024);
        let free = available + swap;
        if total == 0 || need <= free {
            return None;
        }
        let remedy = "close regions that are not used, or end processes that take much memory".into();
        Some(Self { unit: "bytes of memory", need, free, limit: total, remedy, errno: Errno::NOMEM })
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
