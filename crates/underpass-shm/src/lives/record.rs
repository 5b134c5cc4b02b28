//! Record locks of the table's bytes: one for each process that lives, and one for who makes the table grow.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

fn record(byte: i64, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

pub(super) fn lock_byte(file: BorrowedFd<'_>, byte: i64, command: i32) -> bool {
    let lock = record(byte, libc::F_WRLCK);
    loop {
        // SAFETY: S4, the kernel only reads the record.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const lock) } == 0 {
            return true;
        }
        if command != libc::F_SETLKW || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return false;
        }
    }
}

pub(super) fn unlock_byte(file: BorrowedFd<'_>, byte: i64) {
    let lock = record(byte, libc::F_UNLCK);
    // SAFETY: S4.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
}

/// None: the question could not be asked.
pub(super) fn locked_by_another(file: RawFd, byte: i64) -> Option<bool> {
    let mut lock = record(byte, libc::F_WRLCK);
    // SAFETY: S4, the kernel writes the record it is given.
    let code = unsafe { libc::fcntl(file, libc::F_GETLK, &raw mut lock) };
    (code == 0).then_some(i32::from(lock.l_type) != libc::F_UNLCK)
}
