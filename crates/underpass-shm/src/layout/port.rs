//! The words of a port, and of the A-stacks that one client shares with it.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// The port is closed for good.
pub const PORT_CLOSED: u32 = 1;

/// Words of [`PortWords::active`]; loom explores one.
pub const ACTIVE_WORDS: usize = if cfg!(loom) { 1 } else { 16 };
/// Bits of a word of [`PortWords::active`].
pub const WORD_BITS: u32 = u64::BITS;

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
    /// The bits that gates have set and nobody has received.
    pub notified: AtomicU64,
    /// Where the server looks.
    pub active: ActiveWords,
}

/// A bit for each seat, modulo their number: the server looks at the channels whose bit is set.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ActiveWords {
    /// Set by a client that has posted; cleared by the server, which looks once more after that.
    pub words: [AtomicU64; ACTIVE_WORDS],
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

/// Bit of [`RequestWords::length`]: nobody waits for a reply.
pub const ONE_WAY: u32 = 1 << 31;

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
    /// Bytes of the request, and [`ONE_WAY`].
    pub length: AtomicU32,
}

/// Bit of [`ReplyWords::length`]: there is no reply; the lowest bits say why.
pub const FAILED: u32 = 1 << 31;
/// Why: the server took the call and gave it up.
pub const ABORTED: u32 = FAILED;
/// Why: its badge was revoked, or the channel given up, before the server took it.
pub const CANCELLED: u32 = FAILED | 1;
/// Why: the server does not admit this client.
pub const DENIED: u32 = FAILED | 2;
/// Why: the port was closed before the server took it.
pub const SHUT: u32 = FAILED | 3;

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

/// [`CallerWords::standing`] of a client that the server has not met yet. From 1 on it is 1 + its seat.
pub const UNMET: u32 = 0;
/// The badge was revoked, for good. This and what is above is no seat.
pub const REVOKED: u32 = u32::MAX - 1;
/// The client was not admitted, for good.
pub const REFUSED: u32 = u32::MAX;

/// What is seldom looked at, on a line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct CallerWords {
    /// The calling thread.
    pub thread: AtomicU32,
    /// In the first A-stack: the client has given the channel up.
    pub closed: AtomicU32,
    /// In the first A-stack: [`UNMET`], 1 + the seat, [`REVOKED`] or [`REFUSED`]. The server writes it.
    pub standing: AtomicU32,
    /// Where the caller may run; 0: not known.
    pub cpus: AtomicU64,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for PortWords {}
// SAFETY: S1.
unsafe impl Shared for ActiveWords {}
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
        Self {
            doorbell: zero(),
            baton: zero(),
            state: zero(),
            introductions: zero(),
            cpus: AtomicU64::new(0),
            notified: AtomicU64::new(0),
            active: ActiveWords { words: std::array::from_fn(|_| AtomicU64::new(0)) },
        }
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
        Self { thread: zero(), closed: zero(), standing: zero(), cpus: AtomicU64::new(0) }
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
