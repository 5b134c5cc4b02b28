//! What can go wrong down here: a system call that failed, or bytes that are not ours.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::header::Kind;
use crate::limits::Lack;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the lowest layer, with the object it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A system call failed: what was tried, on which object, and the error number.
    System {
        /// What was tried.
        doing: &'static str,
        /// On which object.
        what: String,
        /// Why not.
        errno: Errno,
    },
    /// There is no such object.
    NotFound {
        /// Its name and space.
        what: String,
        /// Its file.
        path: String,
    },
    /// A space that this process has entered was removed.
    Gone {
        /// What is not found or made there, or its directory.
        what: String,
        /// Its directory.
        path: String,
    },
    /// A space that is to be removed does not stay empty: others go on making things in it.
    Inhabited {
        /// Its directory.
        what: String,
        /// How often it was emptied.
        rounds: u32,
    },
    /// The directory in which another is to be made is not there.
    Homeless {
        /// What would be made.
        what: String,
        /// What is missing.
        parent: String,
    },
    /// There is one already.
    Exists {
        /// Its name and space.
        what: String,
        /// Its file.
        path: String,
        /// What is there, if it can be read.
        found: Option<Found>,
    },
    /// A limit of the file system, of this process or of the machine was reached.
    OutOfSpace {
        /// Which object.
        what: String,
        /// Which limit, and what helps.
        lack: Lack,
    },
    /// The kernel refuses to map an object's memory, and not for lack of room.
    MapFailed {
        /// Which object.
        what: String,
        /// Why not.
        errno: Errno,
    },
    /// The bytes are not what any version of underpass writes.
    Corrupted {
        /// Which object.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The object is of another kind, version, space or size than asked for.
    Mismatch {
        /// Which object.
        what: String,
        /// What was asked for.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// The directory or file belongs to somebody else, or others may write there.
    Foreign {
        /// Which directory or object.
        what: String,
        /// Its file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// The object that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// The pid of the process that made it.
    pub pid: u32,
    /// That process lives.
    pub alive: bool,
}

impl Error {
    /// A signal came in the middle of a system call: nothing has happened.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::System { errno: Errno::INTR, .. })
    }

    /// Wraps the error number of a system call.
    pub fn system(doing: &'static str, what: impl Into<String>, errno: Errno) -> Self {
        match errno {
            Errno::MFILE | Errno::NFILE => Self::OutOfSpace { what: what.into(), lack: Lack::of_descriptors(errno) },
            _ => Self::System { doing, what: what.into(), errno },
        }
    }

    /// Wraps the error number of a system call that makes a file or a name in `directory`.
    pub fn making(doing: &'static str, what: impl Into<String>, directory: impl AsFd, errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::OutOfSpace { what: what.into(), lack: Lack::of_files(directory) },
            _ => Self::system(doing, what, errno),
        }
    }

    /// The table of lives has no free slot.
    #[must_use]
    pub fn too_many_lives(what: &str, unit: &'static str, limit: u32) -> Self {
        let remedy = "end some that use this space, or give them spaces of their own".into();
        Self::OutOfSpace {
            what: what.into(),
            lack: Lack { unit, need: 1, free: 0, limit: limit.into(), remedy, errno: Errno::NOSPC },
        }
    }

    /// The kernel does not allow it to this user.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::System { errno: Errno::ACCESS | Errno::PERM, .. })
    }

    /// The error number that `libc` left in this thread.
    #[must_use]
    pub fn last(doing: &'static str, what: impl Into<String>) -> Self {
        let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Self::system(doing, what, Errno::from_raw_os_error(code))
    }
}
