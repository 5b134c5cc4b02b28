//! Memory that is no file of a space: a memfd, sealed against shrinking, which other processes reach through the one that
//! made it, by `/proc/<pid>/fd`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

use crate::descriptor::Descriptor;
use crate::limits::Lack;
use crate::{Error, Result};

/// The maker's hold on it: its one descriptor.
#[derive(Debug)]
pub struct Memfd {
    descriptor: Descriptor,
    place: Place,
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
    /// So many bytes, reserved: touching them cannot fail. Huge ones come from the machine's reserve of huge pages, in
    /// whole pages, and do not grow.
    pub fn new(size: usize, huge: bool, what: &str) -> Result<Self> {
        let failed = |errno| Error::system("create", what, errno);
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        flags.set(MemfdFlags::HUGETLB, huge);
        let file = rustix::fs::memfd_create("underpass-region", flags).map_err(failed)?;
        let length = if huge {
            // Of such a file a block is a page.
            let page = rustix::fs::fstat(&file).map_err(failed)?.st_blksize.cast_unsigned();
            reserve_huge(&file, size as u64, page, what)?;
            size.next_multiple_of(page as usize)
        } else {
            reserve(&file, 0, size as u64, what)?;
            size
        };
        let kept = if huge { SealFlags::SHRINK | SealFlags::GROW } else { SealFlags::SHRINK };
        rustix::fs::fcntl_add_seals(&file, kept).map_err(failed)?;
        let status = rustix::fs::fstat(&file).map_err(failed)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&file).cast_unsigned();
        let place = Place { pid: std::process::id(), number, file: (status.st_dev, status.st_ino) };
        Ok(Self { descriptor: Descriptor::new(file).map_err(failed)?, place, length })
    }

    /// Where others reach it.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Bytes to map: whole pages, where they are huge.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Leaves the descriptor open until this process ends, for those who have not come yet.
    pub fn keep(self) {
        std::mem::forget(self.descriptor);
    }
}

impl Place {
    /// Opens it anew, through the process that has it open.
    pub fn reach(&self) -> std::result::Result<OwnedFd, Unreached> {
        let path = format!("/proc/{}/fd/{}", self.pid, self.number);
        let file =
            rustix::fs::open(path.as_str(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(
                |errno| match errno {
                    Errno::NOENT | Errno::SRCH | Errno::NXIO | Errno::NOTDIR | Errno::ISDIR | Errno::TXTBSY => {
                        Unreached::Gone
                    }
                    Errno::ACCESS | Errno::PERM => Unreached::Denied,
                    _ => Unreached::Failed(Error::system("open", path.as_str(), errno)),
                },
            )?;
        let status = rustix::fs::fstat(&file).map_err(|_| Unreached::Gone)?;
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| Unreached::Gone)?;
        let same = (status.st_dev, status.st_ino) == self.file && seals.contains(SealFlags::SHRINK);
        same.then_some(file).ok_or(Unreached::Gone)
    }
}

/// How long the memory is: all of it can be mapped.
pub fn length(file: impl AsFd, what: &str) -> Result<usize> {
    let status = rustix::fs::fstat(file).map_err(|errno| Error::system("stat", what, errno))?;
    Ok(usize::try_from(status.st_size).unwrap_or(0))
}

/// Finds room for more bytes; what is there stays.
pub fn grow(file: impl AsFd, before: u64, size: u64, what: &str) -> Result<()> {
    reserve(file, before, size, what)
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
fn reserve(file: impl AsFd, before: u64, size: u64, what: &str) -> Result<()> {
    let need = size.saturating_sub(before);
    let lacking = |lack| Error::OutOfSpace { what: what.into(), lack };
    if let Some(lack) = Lack::of_memory(need) {
        return Err(lacking(lack));
    }
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size).map_err(|errno| match errno {
        Errno::NOSPC | Errno::NOMEM | Errno::FBIG => lacking(Lack::of_refused_memory(need, errno)),
        _ => Error::system("reserve", what, errno),
    })
}

fn reserve_huge(file: impl AsFd, size: u64, page: u64, what: &str) -> Result<()> {
    let pages = size.div_ceil(page);
    let room = rustix::fs::fallocate(file, FallocateFlags::empty(), 0, pages.saturating_mul(page));
    room.map_err(|errno| match errno {
        Errno::NOSPC | Errno::NOMEM | Errno::FBIG => {
            Error::OutOfSpace { what: what.into(), lack: Lack::of_huge_pages(pages, page, errno) }
        }
        _ => Error::system("reserve huge pages of", what, errno),
    })
}
