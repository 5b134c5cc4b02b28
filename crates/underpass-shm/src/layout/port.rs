//! The words of a port, and of the A-stacks that one client shares with it.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// The port is closed for good.
pub const PORT_CLOSED: u32 = 1;

/// What every client of a port sees.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PortWords {
    /// ```text
    ///  31          30            0
    /// ┌──────────┬────────────────┐   sleepers = 1: the server sleeps or is about to. Who posts a call then clears it,
    /// │ sleepers │     rings      │   counts a ring and wakes one. A hint: the truth is in each channel.
    /// └──────────┴────────────────┘
    /// ```
    pub doorbell: AtomicU32,
    /// Always 0; the sleeping server waits here too.
    pub baton: AtomicU32,
    /// 0 or [`PORT_CLOSED`].
    pub state: AtomicU32,
    /// Raised by a client that has introduced itself at the socket.
    pub introductions: AtomicU32,
    /// Where the server may run; 0: not known.
    pub cpus: AtomicU64,
}

/// The state bits of a request word: nothing to take.
pub const IDLE: u32 = 0;
/// A call waits to be taken.
pub const POSTED: u32 = 1;
/// The server has it.
pub const TAKEN: u32 = 2;
/// The two state bits.
pub const STATE: u32 = 3;
/// Calls of one A-stack are numbered modulo this.
pub const NUMBERS: u32 = 1 << 29;

/// The client's half of an A-stack. Its message follows at once, so that a short one shares its cache line.
#[derive(Debug)]
#[repr(C)]
pub struct RequestWords {
    /// ```text
    ///  30            2 1       0
    /// ┌───────────────┬─────────┐   idle → posted (client) → taken (server); posted → idle (client, cancelled).
    /// │  call number  │  state  │   It stays taken until the next call is posted: nothing has to be undone.
    /// └───────────────┴─────────┘
    /// ```
    pub word: AtomicU32,
    /// Bytes of the request.
    pub length: AtomicU32,
}

/// Bit of [`ReplyWords::length`]: the server gave the call up.
pub const FAILED: u32 = 1 << 31;

/// The server's half of an A-stack. Its message follows at once, so that a short one shares its cache line.
#[derive(Debug)]
#[repr(C)]
pub struct ReplyWords {
    /// ```text
    ///  31          30            0
    /// ┌──────────┬────────────────┐   call number = the request's: the reply is there. sleepers: the caller sleeps, and
    /// │ sleepers │  call number   │   the reply, which clears it, owes the wake.
    /// └──────────┴────────────────┘
    /// ```
    pub word: AtomicU32,
    /// Bytes of the reply, or [`FAILED`].
    pub length: AtomicU32,
}

/// What is seldom looked at, on a line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct CallerWords {
    /// The calling thread.
    pub thread: AtomicU32,
    /// Always 0; the sleeping caller waits here too.
    pub baton: AtomicU32,
    /// In the first A-stack: the client has given the channel up.
    pub closed: AtomicU32,
    /// Where the caller may run; 0: not known.
    pub cpus: AtomicU64,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for PortWords {}
// SAFETY: S1.
unsafe impl Shared for RequestWords {}
// SAFETY: S1.
unsafe impl Shared for ReplyWords {}
// SAFETY: S1.
unsafe impl Shared for CallerWords {}

fn zero() -> AtomicU32 {
    AtomicU32::new(0)
}

impl PortWords {
    /// Open, nobody asleep.
    #[must_use]
    pub fn new() -> Self {
        Self { doorbell: zero(), baton: zero(), state: zero(), introductions: zero(), cpus: AtomicU64::new(0) }
    }
}

impl RequestWords {
    /// Idle.
    #[must_use]
    pub fn new() -> Self {
        Self { word: zero(), length: zero() }
    }
}

impl ReplyWords {
    /// Nothing answered yet.
    #[must_use]
    pub fn new() -> Self {
        Self { word: zero(), length: zero() }
    }
}

impl CallerWords {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self { thread: zero(), baton: zero(), closed: zero(), cpus: AtomicU64::new(0) }
    }
}

impl Default for PortWords {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for RequestWords {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for ReplyWords {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for CallerWords {
    fn default() -> Self {
        Self::new()
    }
}
