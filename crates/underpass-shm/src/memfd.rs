//! Memory that is no file of a space: a memfd, sealed against shrinking, which other processes reach through the one that
//! made it, by `/proc/<pid>/fd`.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

use crate::descriptor::Descriptor;
use crate::limits::Lack;
use crate::region::Region;
use crate::room::{self, Meanwhile};
use crate::{Error, Result};

/// The maker's hold on it: its one descriptor.
#[derive(Debug)]
pub struct Memfd {
    descriptor: Descriptor,
    place: Place,
    /// Bytes to map: whole pages, where they are huge.
    length: usize,
}

/// Where it is reached, and how it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The process that has it open.
    pub pid: u32,
    /// Under this number.
    pub number: u32,
    /// Its device and inode: a number is used again.
    pub file: (u64, u64),
}

/// Why it is not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// That process, or its descriptor, is gone, or not to be seen from here.
    Gone,
    /// The kernel does not let this user look into that process.
    Denied,
    /// Something else went wrong.
    Failed(Error),
}

impl Memfd {
    /// So many bytes, reserved by `meanwhile`: touching them cannot fail. Huge ones come from the machine's reserve of huge
    /// pages, in whole pages, and do not grow.
    pub fn new(size: usize, huge: bool, what: &str, meanwhile: Meanwhile<'_>) -> Result<Self> {
        let failed = |errno| Error::system("create", what, errno);
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        flags.set(MemfdFlags::HUGETLB, huge);
        let file = rustix::fs::memfd_create("underpass-region", flags).map_err(failed)?;
        let length = if huge {
            // Of such a file a block is a page.
            let page = rustix::fs::fstat(&file).map_err(failed)?.st_blksize.cast_unsigned();
            reserve_huge(&file, size as u64, page, what, meanwhile)?;
            size.next_multiple_of(page as usize)
        } else {
            reserve(&file, 0..size as u64, what, meanwhile)?;
            size
        };
        let kept = if huge { SealFlags::SHRINK | SealFlags::GROW } else { SealFlags::SHRINK };
        rustix::fs::fcntl_add_seals(&file, kept).map_err(failed)?;
        let status = rustix::fs::fstat(&file).map_err(failed)?;
        let number = file.as_raw_fd().cast_unsigned();
        let place = Place { pid: std::process::id(), number, file: (status.st_dev, status.st_ino) };
        Ok(Self { descriptor: Descriptor::new(file).map_err(failed)?, place, length })
    }

    /// Where others reach it.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Maps all of it to be written.
    pub fn map(&self, what: &str) -> Result<Arc<Region>> {
        let closed = || Error::Corrupted { what: what.into(), why: "the program has closed its descriptor".into() };
        Region::map(self.descriptor.intact().ok_or_else(closed)?, self.length, what)
    }

    /// Leaves the descriptor open until this process ends, for those who have not come yet.
    pub fn keep(self) {
        std::mem::forget(self.descriptor);
    }
}

impl Place {
    /// Opens it anew, through the process that has it open. By now the number may stand for anything, a device or a pipe, and
    /// opening that may do something: so it is only looked at until it is known to be the memory.
    pub fn reach(&self) -> std::result::Result<OwnedFd, Unreached> {
        let seen = open(&format!("/proc/{}/fd/{}", self.pid, self.number), OFlags::PATH)?;
        let status = rustix::fs::fstat(&seen).map_err(|_| Unreached::Gone)?;
        if (status.st_dev, status.st_ino) != self.file {
            return Err(Unreached::Gone);
        }
        let file = open(&format!("/proc/self/fd/{}", seen.as_raw_fd()), OFlags::RDWR)?;
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| Unreached::Gone)?;
        seals.contains(SealFlags::SHRINK).then_some(file).ok_or(Unreached::Gone)
    }
}

fn open(path: &str, access: OFlags) -> std::result::Result<OwnedFd, Unreached> {
    rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::SRCH | Errno::NOTDIR => Unreached::Gone,
        Errno::ACCESS | Errno::PERM => Unreached::Denied,
        _ => Unreached::Failed(Error::system("open", path, errno)),
    })
}

/// How long the memory is: all of it can be mapped.
pub fn length(file: impl AsFd, what: &str) -> Result<usize> {
    let status = rustix::fs::fstat(file).map_err(|errno| Error::system("stat", what, errno))?;
    Ok(usize::try_from(status.st_size).unwrap_or(0))
}

/// Finds room for more bytes behind those that are there, by `meanwhile`.
pub fn grow(file: impl AsFd, bytes: Range<u64>, what: &str, meanwhile: Meanwhile<'_>) -> Result<()> {
    reserve(file, bytes, what, meanwhile)
}

/// From now on nobody maps it to write, and it keeps its length. Whoever has it mapped goes on writing. Again does no harm.
pub fn seal(file: impl AsFd, what: &str) -> Result<()> {
    let failed = |errno| Error::system("seal", what, errno);
    let wanted = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    match rustix::fs::fcntl_add_seals(&file, wanted) {
        Err(Errno::PERM) if rustix::fs::fcntl_get_seals(&file).map_err(failed)?.contains(wanted) => Ok(()),
        sealed => sealed.map_err(failed),
    }
}

/// Why it was not mapped to be written.
#[must_use]
pub fn is_sealed(errno: Errno) -> bool {
    errno == Errno::PERM
}

/// The file system of memfds has no limit of its own, and the kernel would kill processes for room: so it is asked first.
fn reserve(file: impl AsFd, bytes: Range<u64>, what: &str, meanwhile: Meanwhile<'_>) -> Result<()> {
    let need = bytes.end.saturating_sub(bytes.start);
    let lacking = |lack| Error::OutOfSpace { what: what.into(), lack };
    if let Some(lack) = Lack::of_memory(need) {
        return Err(lacking(lack));
    }
    room::find(file, bytes, meanwhile).map_err(|errno| match errno {
        Errno::NOSPC | Errno::NOMEM | Errno::FBIG => lacking(Lack::of_refused_memory(need, errno)),
        _ => Error::system("reserve", what, errno),
    })
}

fn reserve_huge(file: impl AsFd, size: u64, page: u64, what: &str, meanwhile: Meanwhile<'_>) -> Result<()> {
    let pages = size.div_ceil(page);
    room::find(file, 0..pages.saturating_mul(page), meanwhile).map_err(|errno| match errno {
        Errno::NOSPC | Errno::NOMEM | Errno::FBIG => {
            Error::OutOfSpace { what: what.into(), lack: Lack::of_huge_pages(pages, page, errno) }
        }
        _ => Error::system("reserve huge pages of", what, errno),
    })
}
