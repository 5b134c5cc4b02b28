//! Room in files, found before it is used, so that touching it later cannot fail. It is found piece by piece: a signal ends the
//! system's search and undoes it, and those who search long let others run.

use std::cell::Cell;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::limits::Lack;
use crate::{Error, Result};

/// One call finds no more: what a signal undoes is soon found again.
const PIECE: u64 = 64 << 20;
/// Where signals come so fast that none is found in between, pieces become as small as this.
const SMALLEST: u64 = 1 << 16;
/// To find as much takes so long that others should run meanwhile.
const LONG: u64 = 1 << 20;

/// Does the work that it is given, while others run, and then runs signal handlers; true if one raised.
pub type Meanwhile<'a> = &'a dyn Fn(&mut dyn FnMut()) -> bool;

/// Nobody else runs meanwhile, and no handlers: for a little room, and for those who hold what a handler may want.
pub(crate) fn alone(work: &mut dyn FnMut()) -> bool {
    work();
    false
}

/// Has the system find room for these bytes of a file; `INTR` if a handler raised. What was found until then stays with the
/// file, and is found at once by who comes again.
pub(crate) fn find(file: impl AsFd, bytes: Range<u64>, meanwhile: Meanwhile<'_>) -> std::result::Result<(), Errno> {
    let is_short = bytes.end.saturating_sub(bytes.start) < LONG;
    let (mut start, mut piece) = (bytes.start, PIECE);
    while start < bytes.end {
        let length = (bytes.end - start).min(piece);
        let found = Cell::new(Err(Errno::INTR));
        let mut attempt = || found.set(rustix::fs::fallocate(&file, FallocateFlags::empty(), start, length));
        if is_short {
            attempt();
        }
        if found.get() == Err(Errno::INTR) && meanwhile(&mut attempt) {
            return Err(Errno::INTR);
        }
        match found.get() {
            Ok(()) => {
                start += length;
                piece = (2 * piece).min(PIECE);
            }
            Err(Errno::INTR) => piece = (length / 2).max(SMALLEST),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Reserves bytes of a file of a space, or of a socket's memory.
pub(crate) fn reserve(file: impl AsFd, bytes: Range<u64>, what: &str, meanwhile: Meanwhile<'_>) -> Result<()> {
    let need = bytes.end.saturating_sub(bytes.start);
    let lacking = || Error::OutOfSpace { what: what.into(), lack: Lack::of_bytes(&file, need) };
    // The system undoes one piece that it has no room for, and not those before it.
    if need > PIECE && is_lacking(&file, &bytes) {
        return Err(lacking());
    }
    find(&file, bytes, meanwhile).map_err(|errno| match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => lacking(),
        _ => Error::system("reserve", what, errno),
    })
}

/// The file system surely has too little; what the file has found before is not asked for again.
fn is_lacking(file: impl AsFd, bytes: &Range<u64>) -> bool {
    let (Ok(status), Ok(system)) = (rustix::fs::fstat(&file), rustix::fs::fstatvfs(&file)) else { return false };
    let there = status.st_blocks.cast_unsigned() * 512;
    let missing = bytes.end.saturating_sub(there.max(bytes.start));
    // A file system without a limit tells of no blocks.
    system.f_blocks > 0 && missing > system.f_bfree * system.f_frsize
}
