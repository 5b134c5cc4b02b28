//! What can go wrong down here: a system call that failed, or bytes that are not ours.

use rustix::io::Errno;

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
    /// There is one already.
    Exists {
        /// Its name and space.
        what: String,
        /// Its file.
        path: String,
    },
    /// The file system has not that many bytes left.
    OutOfSpace {
        /// Which object.
        what: String,
        /// Bytes it takes.
        need: u64,
        /// Bytes that are free.
        free: u64,
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
        /// Which directory.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The table of lives has no free slot.
    TooManyLives {
        /// Which table.
        what: String,
        /// How many it holds.
        limit: u32,
    },
}

impl Error {
    /// Wraps the error number of a system call.
    pub fn system(doing: &'static str, what: impl Into<String>, errno: Errno) -> Self {
        Self::System { doing, what: what.into(), errno }
    }

    /// The error number that `libc` left in this thread.
    #[must_use]
    pub fn last(doing: &'static str, what: impl Into<String>) -> Self {
        let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Self::system(doing, what, Errno::from_raw_os_error(code))
    }
}
