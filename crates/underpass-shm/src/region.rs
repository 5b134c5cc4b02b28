//! A mapping of shared bytes, unmapped when the last view of it goes.

use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::limits::Lack;
use crate::{Error, Result};

/// Small objects are mapped with their pages present, so that their first use takes no fault.
const POPULATE_BELOW: usize = 1 << 16;

/// How long an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Its bytes.
    pub length: usize,
    /// So many at its end take no room until they are furnished: see [`Region::furnish`].
    pub hole: usize,
}

impl Extent {
    /// All of it is there from the beginning.
    #[must_use]
    pub const fn whole(length: usize) -> Self {
        Self { length, hole: 0 }
    }

    /// What is there from the beginning.
    #[must_use]
    pub const fn reserved(self) -> usize {
        self.length - self.hole
    }
}

/// Shared memory of a fixed length. Its views hold it; nobody unmaps it under them.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    length: usize,
    /// Bytes behind which nothing was written as long as nothing was furnished.
    reserved: usize,
    furnished: AtomicBool,
}

// SAFETY: S2, a region gives out nothing but pointers; what is shared behind them is atomic or copied.
unsafe impl Send for Region {}
// SAFETY: S2.
unsafe impl Sync for Region {}

impl Region {
    /// Maps the first `length` bytes of a file, shared and writable.
    pub fn map(file: impl AsFd, length: usize, what: &str) -> Result<Arc<Self>> {
        Self::map_for(file, length, ProtFlags::READ | ProtFlags::WRITE, what)
    }

    /// Maps the first `length` bytes of a file to be read only: its views may load, and nothing else.
    pub fn map_to_read(file: impl AsFd, length: usize, what: &str) -> Result<Arc<Self>> {
        Self::map_for(file, length, ProtFlags::READ, what)
    }

    fn map_for(file: impl AsFd, length: usize, access: ProtFlags, what: &str) -> Result<Arc<Self>> {
        let mut flags = MapFlags::SHARED;
        if length <= POPULATE_BELOW {
            flags |= MapFlags::POPULATE;
        }
        // SAFETY: S2, a new mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, access, flags, file, 0) };
        Self::new(start.map_err(|errno| refused(what, length, errno))?, Extent::whole(length))
    }

    /// Another mapping of the same file from its beginning, as long as it is by now: for that neither a descriptor nor a name is
    /// needed. It may be written if this one may, unless it is asked for to be read.
    pub fn again(&self, length: usize, to_read: bool, what: &str) -> Result<Arc<Self>> {
        use rustix::mm::{MprotectFlags, MremapFlags};
        // SAFETY: S2, with an old length of 0 the mapping stays where it is, and a second one of its pages is made elsewhere.
        let start = unsafe { rustix::mm::mremap(self.start.as_ptr().cast(), 0, length, MremapFlags::MAYMOVE) };
        let start = start.map_err(|errno| refused(what, length, errno))?;
        let again = Self::new(start, Extent::whole(length))?;
        if to_read {
            // SAFETY: S2, nobody has a view of it yet.
            let protected = unsafe { rustix::mm::mprotect(start, length, MprotectFlags::READ) };
            protected.map_err(|errno| Error::system("protect", what, errno))?;
        }
        again.reaches_its_end(what)?;
        Ok(again)
    }

    /// Refuses a mapping of more than there is of the file: its last bytes would be SIGBUS.
    fn reaches_its_end(&self, what: &str) -> Result<()> {
        let page = rustix::param::page_size();
        let last = (self.length - 1) / page * page;
        // SAFETY: S2, inside the mapping, whose bytes stay what they are.
        let there =
            unsafe { rustix::mm::madvise(self.start.add(last).as_ptr().cast(), page, Advice::LinuxPopulateRead) };
        there.map_err(|errno| match errno {
            Errno::FAULT => Error::Corrupted {
                what: what.into(),
                why: format!("its file has fewer than the {} bytes that its words say", self.length),
            },
            _ => Error::system("read", what, errno),
        })
    }

    /// Zeroed memory that children of this process share: for the lab and for tests.
    pub fn anonymous(extent: Extent) -> Result<Arc<Self>> {
        let length = extent.length;
        // SAFETY: S2.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )
        };
        Self::new(start.map_err(|errno| refused("anonymous memory", length, errno))?, extent)
    }

    fn new(start: *mut libc::c_void, extent: Extent) -> Result<Arc<Self>> {
        let start = NonNull::new(start.cast())
            .ok_or_else(|| Error::Corrupted { what: "a mapping".into(), why: "the kernel mapped address 0".into() })?;
        let furnished = AtomicBool::new(extent.hole == 0);
        Ok(Arc::new(Self { start, length: extent.length, reserved: extent.reserved(), furnished }))
    }

    /// Bytes mapped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// The same, with the hole that it began with.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent { length: self.length, hole: self.length - self.reserved }
    }

    /// Never: a mapping has at least a page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The addresses of its bytes.
    #[must_use]
    pub fn addresses(&self) -> std::ops::Range<usize> {
        let start = self.start.addr().get();
        start..start + self.length
    }

    /// Makes it all zero again: for whoever has the only view.
    pub fn clear(&mut self) {
        let used = if self.furnished.load(Relaxed) { self.length } else { self.reserved };
        // SAFETY: S2, inside the mapping, and nobody else has a view of this one.
        unsafe { self.start.write_bytes(0, used) };
    }

    /// Has the system find room for bytes that lie in a hole, so that touching them cannot fail: once is enough for all
    /// who map the file, and more often does no harm. `what` is told of where there is none.
    pub(crate) fn furnish(&self, bytes: Range<usize>, what: &str) -> Result<()> {
        assert!(bytes.start <= bytes.end && bytes.end <= self.length);
        self.furnished.store(true, Relaxed);
        let page = rustix::param::page_size();
        let (first, end) = (bytes.start - bytes.start % page, bytes.end.next_multiple_of(page));
        // SAFETY: S2, inside the mapping, whose bytes stay what they are.
        let found = unsafe {
            let start = self.start.add(first).as_ptr().cast();
            rustix::mm::madvise(start, bytes.end - first, Advice::LinuxPopulateWrite)
        };
        found.map_err(|errno| match errno {
            // So it says that the file system is full, and that a group of processes may have no more memory.
            Errno::FAULT | Errno::NOMEM => Error::OutOfSpace { what: what.into(), lack: Lack::of_a_hole(end - first) },
            _ => Error::system("find room for", what, errno),
        })
    }

    /// Where the bytes behind `offset` start, for a buffer that Python reads or writes in place while it holds the region.
    ///
    /// # Panics
    /// If the region is shorter than that.
    #[must_use]
    pub fn bytes(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.length));
        self.pointer(offset).as_ptr()
    }

    /// The address of a byte; callers have checked the offset.
    pub(crate) fn pointer(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.length);
        // SAFETY: S2, inside the mapping or one past its end.
        unsafe { self.start.add(offset) }
    }
}

fn refused(what: &str, length: usize, errno: Errno) -> Error {
    match errno {
        Errno::NOMEM => Error::OutOfSpace { what: what.into(), lack: Lack::of_mappings(length) },
        Errno::MFILE | Errno::NFILE => Error::system("map", what, errno),
        _ => Error::MapFailed { what: what.into(), errno },
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: S2, the last view is gone, so nobody points into it.
        let result = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(result.is_ok(), "munmap of our own mapping: {result:?}");
    }
}
