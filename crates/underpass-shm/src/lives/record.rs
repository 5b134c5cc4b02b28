//! Record locks of the table's bytes: one for each process that lives, and one for who makes the table grow.

use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

fn record(bytes: Range<i64>, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: bytes.start,
        l_len: bytes.end - bytes.start,
        l_pid: 0,
    }
}

pub(super) fn lock_byte(file: BorrowedFd<'_>, byte: i64, command: i32) -> bool {
    let lock = record(byte..byte + 1, libc::F_WRLCK);
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
    let lock = record(byte..byte + 1, libc::F_UNLCK);
    // SAFETY: S4.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
}

/// Those of these bytes that one lock of another process covers: any such lock, not the first. None: the question could not
/// be asked.
pub(super) fn locked_by_another(file: RawFd, bytes: Range<u32>) -> Option<Range<u32>> {
    let (start, end) = (i64::from(bytes.start), i64::from(bytes.end));
    let mut lock = record(start..end, libc::F_WRLCK);
    // SAFETY: S4, the kernel writes the record it is given.
    if unsafe { libc::fcntl(file, libc::F_GETLK, &raw mut lock) } != 0 {
        return None;
    }
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Some(bytes.start..bytes.start);
    }
    // A length of 0 is to the end of the file, and beyond.
    let locked_end = if lock.l_len == 0 { end } else { lock.l_start.saturating_add(lock.l_len) };
    let clipped = |byte: i64| byte.clamp(start, end).cast_unsigned() as u32;
    Some(clipped(lock.l_start)..clipped(locked_end))
}
