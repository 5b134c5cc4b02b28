//! The words of a port, and of the channel that one client shares with it.

use crate::place::Shared;
use crate::sync::AtomicU32;

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

/// The reply is what the handler returned.
pub const REPLIED: u32 = 0;
/// The server closed or refused before it replied.
pub const FAILED: u32 = 1;

/// The client's half of an A-stack's words, on a line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
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
    /// The life of the calling thread.
    pub caller: AtomicU32,
    /// Always 0; the sleeping caller waits here too.
    pub baton: AtomicU32,
}

/// The server's half of an A-stack's words, on a line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ReplyWords {
    /// ```text
    ///  31          30            0
    /// ┌──────────┬────────────────┐   call number = the request's: the reply is there. sleepers: the caller sleeps, and
    /// │ sleepers │  call number   │   the reply, which clears it, owes the wake.
    /// └──────────┴────────────────┘
    /// ```
    pub word: AtomicU32,
    /// Bytes of the reply.
    pub length: AtomicU32,
    /// [`REPLIED`] or [`FAILED`].
    pub status: AtomicU32,
}

/// The words of one A-stack.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct StackWords {
    /// Written by the client, but for posted → taken.
    pub request: RequestWords,
    /// Written by the server, but for the sleeper's bit.
    pub reply: ReplyWords,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for PortWords {}
// SAFETY: S1.
unsafe impl Shared for StackWords {}

impl PortWords {
    /// Open, nobody asleep.
    #[must_use]
    pub fn new() -> Self {
        let zero = || AtomicU32::new(0);
        Self { doorbell: zero(), baton: zero(), state: zero(), introductions: zero() }
    }
}

impl Default for PortWords {
    fn default() -> Self {
        Self::new()
    }
}

impl StackWords {
    /// Idle.
    #[must_use]
    pub fn new() -> Self {
        let zero = || AtomicU32::new(0);
        Self {
            request: RequestWords { word: zero(), length: zero(), caller: zero(), baton: zero() },
            reply: ReplyWords { word: zero(), length: zero(), status: zero() },
        }
    }
}

impl Default for StackWords {
    fn default() -> Self {
        Self::new()
    }
}
