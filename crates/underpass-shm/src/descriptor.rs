//! A descriptor that notices when the program closed it: daemons close all that they find, and numbers are used again.

use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{
    AtomicI32,
    Ordering::{Acquire, Release},
};

use rustix::io::Errno;

/// One file, by device and inode, and the number under which this process last had it open.
#[derive(Debug)]
pub(crate) struct Descriptor {
    number: AtomicI32,
    file: (u64, u64),
}

impl Descriptor {
    pub(crate) fn new(opened: OwnedFd) -> Result<Self, Errno> {
        let file = identity(rustix::fs::fstat(&opened)?);
        Ok(Self { number: AtomicI32::new(opened.into_raw_fd()), file })
    }

    /// True for the file of that status.
    pub(crate) fn is_file(&self, status: rustix::fs::Stat) -> bool {
        identity(status) == self.file
    }

    /// The number, whatever it stands for by now: for questions whose answer is judged by [`Self::intact`] afterwards.
    pub(crate) fn number(&self) -> RawFd {
        self.number.load(Acquire)
    }

    /// The descriptor, if it still is one of this file.
    pub(crate) fn intact(&self) -> Option<BorrowedFd<'_>> {
        let number = self.number();
        // SAFETY: S11, what the kernel says of the number decides whether it is ours.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::fs::fstat(borrowed).is_ok_and(|status| self.is_file(status)).then_some(borrowed)
    }

    /// From now on `opened`, another descriptor of the same file; the old number belongs to somebody else.
    pub(crate) fn replace(&self, opened: OwnedFd) {
        self.number.store(opened.into_raw_fd(), Release);
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.intact().is_some() {
            // SAFETY: S11, the number still is this file's, and nobody else closes it.
            unsafe { rustix::io::close(self.number()) };
        }
    }
}

fn identity(status: rustix::fs::Stat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}
