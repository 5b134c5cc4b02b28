//! How an operation can end otherwise than well. The bindings put the object's name in front.

#[cfg(not(loom))]
use underpass_shm::Error as Shm;

use crate::barrier::Break;
use crate::mutex::Death;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// In which part of a call it ended: the time ran out, or the partner died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for an object.
    Wait,
    /// The server has not taken the call: nothing happened.
    Send,
    /// The server has it and may have acted.
    Receive,
}

/// Why an operation did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It would have to wait.
    WouldBlock,
    /// The deadline passed.
    TimedOut(Phase),
    /// Nothing is there and nothing will come.
    EndOfStream,
    /// This handle or object was closed.
    Closed,
    /// The object was reset or purged while the operation waited, or that was sent away.
    Reset,
    /// The message of that number was overwritten while it was read in place.
    Overwritten(u64),
    /// The caller may not do this now; the text says why and what to do instead.
    Misuse(String),
    /// An argument that can never be right.
    Invalid(String),
    /// The partner has died or closed its end.
    PeerDied {
        /// The partner's pid, as its own namespace counted.
        pid: u32,
        /// What it can have done about what was asked of it; [`Phase::Wait`]: nothing was.
        phase: Phase,
    },
    /// The owner of a mutex died while it held it; the caller does not hold it.
    OwnerDied(Death),
    /// A barrier that nobody passes until it is reset.
    Broken(Break),
    /// The caller gives back what it does not hold.
    NotOwner,
    /// The server gave the call up without a reply; it may have acted.
    Aborted,
    /// The call was taken back before the server took it: its badge was revoked, or its gate given up.
    Cancelled,
    /// The server does not admit this client.
    Denied {
        /// The server's pid.
        pid: u32,
    },
    /// The server's socket does not let this process connect.
    Barred {
        /// The server's pid.
        pid: u32,
    },
    /// A message is larger than the object carries.
    TooLong {
        /// Bytes it has.
        size: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// A signal handler of the interpreter raised.
    Interrupted,
    /// The caller's own sink or source failed; nothing was taken.
    Refused,
    /// The bytes are not what any version of underpass writes.
    Corrupted(String),
    /// From the layer below.
    #[cfg(not(loom))]
    Shm(Shm),
}

#[cfg(not(loom))]
impl From<Shm> for Error {
    fn from(error: Shm) -> Self {
        Self::Shm(error)
    }
}
