//! The words of a queue's room: two sides that never wait for each other's lock.

use crate::layout::lock::LockWords;
use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// No more messages will be put. In `tail` it stops putters, in `freed` it tells who ends a lease to wake the getters.
pub const CLOSED: u32 = 1 << 30;
/// Somebody waits until nothing is queued or leased (in `freed` only).
pub const JOINERS: u32 = 1 << 29;
/// The counters in `tail` and `freed`, and so `head` and `extra`, count modulo this.
pub const COUNT: u32 = (1 << 29) - 1;
/// Most slots: half of what the counters tell apart.
pub const MOST_SLOTS: u32 = 1 << 28;
/// Processes that a roster holds.
#[cfg(not(loom))]
pub const ROSTER: usize = 60;
/// Loom explores every look at every entry.
#[cfg(loom)]
pub const ROSTER: usize = 2;

/// Nobody has ever registered as a putter.
pub const PUTTERS_UNKNOWN: u32 = 0;
/// Some are registered.
pub const PUTTERS_PRESENT: u32 = 1;
/// The last one left.
pub const PUTTERS_LEFT: u32 = 2;
/// The last one died.
pub const PUTTERS_DIED: u32 = 3;

/// What only the holder of the putters' lock writes. A slot of the free ring is taken by putting it (`tail`) or by
/// lending it (`extra`), each one store, so that death leaves nothing half done.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct PutSide {
    /// The putters' lock.
    pub lock: LockWords,
    /// Slots taken out of the free ring beyond those put: `taken = tail + extra`, modulo the counters.
    pub extra: AtomicU32,
    /// `freed`, as a putter last saw it: looked at again only when it says that the room is full.
    pub freed_seen: AtomicU32,
    /// What is under way, for who inherits the lock.
    pub intent: PutIntent,
    /// Where the last putter may run; 0: not known.
    pub cpus: AtomicU64,
    /// Whether putters are registered, and how the last one went.
    pub putters: AtomicU32,
    /// The pid of the last registered putter, once it died.
    pub died_pid: AtomicU32,
}

/// A slot that somebody owns goes to the back of the ring: two stores, so they are announced.
#[derive(Debug)]
#[repr(C)]
pub struct PutIntent {
    /// 1 + the slot, or 0: nothing is under way.
    pub slot: AtomicU32,
    /// `tail` before.
    pub tail: AtomicU32,
    /// `extra` before.
    pub extra: AtomicU32,
    /// Who owned the slot.
    pub owner: AtomicU32,
}

/// What only the holder of the getters' lock writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct GetSide {
    /// The getters' lock.
    pub lock: LockWords,
    /// Messages that have left the front of the ring, less those that went back there.
    pub head: AtomicU32,
    /// `tail`, as a getter last saw it: looked at again only when it says that the room is empty.
    pub tail_seen: AtomicU32,
    /// Numbers the leases, so that several return in their order.
    pub leases: AtomicU32,
    /// Some holder found no place on the roster: until it has one, owners are looked through.
    pub overflow: AtomicU32,
    /// What is under way, for who inherits the lock.
    pub intent: GetIntent,
    /// Where the last getter that waited may run; 0: not known.
    pub cpus: AtomicU64,
}

/// Messages leave the front and their slots are freed: the operand says how many.
pub const GETTING: u32 = 1;
/// The message leaves the front and its slot is leased.
pub const TAKING: u32 = 2;
/// A slot that somebody owns is freed.
pub const FREEING: u32 = 3;
/// A leased message goes back to the front.
pub const RETURNING: u32 = 4;

/// Arrivals go on the shelf of a room that has one.
pub const SORTING: u32 = 5;
/// A message makes room for another, and is counted.
pub const DROPPING: u32 = 6;
/// A message leaves from among others of a ring: the operand is its place behind `head`. Once announced it happens.
pub const REMOVING: u32 = 7;

/// An operation of the getters' side, announced before its first store.
#[derive(Debug)]
#[repr(C)]
pub struct GetIntent {
    /// One of the seven above, or 0.
    pub step: AtomicU32,
    /// The slot, or how many.
    pub operand: AtomicU32,
    /// `head` before.
    pub head: AtomicU32,
    /// `freed` before.
    pub freed: AtomicU32,
    /// Of a drop `dropped` before, of a removal the slot.
    pub beside: AtomicU64,
}

/// A counter that changes hands, and on which the other side sleeps.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Gauge {
    /// ```text
    ///  31          30       29        28         0
    /// ┌──────────┬────────┬─────────┬─────────────┐   `tail`: messages put; getters sleep on it while it equals head.
    /// │ sleepers │ closed │ joiners │    count    │   `freed`: slots freed; putters and joiners sleep on it.
    /// └──────────┴────────┴─────────┴─────────────┘
    /// ```
    /// Every arrival clears `sleepers` in the same exchange that makes it seen, so a sleeper's expected value is stale.
    pub word: AtomicU32,
}

/// One process that holds leases, or is registered as a putter.
#[derive(Debug)]
#[repr(C)]
pub struct RosterEntry {
    /// Its life, or 0.
    pub process: AtomicU32,
    /// Registrations.
    pub count: AtomicU32,
}

/// The words of a room.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct RoomWords {
    /// The putters' side.
    pub put: PutSide,
    /// Messages put.
    pub tail: Gauge,
    /// The getters' side.
    pub get: GetSide,
    /// Slots freed.
    pub freed: Gauge,
    /// Always 0; everybody who sleeps in this room, on whichever word, waits here too.
    pub baton: AtomicU32,
    /// Raised by every purge: putters that wait since before it leave with an error.
    pub purges: AtomicU32,
    /// Messages that were dropped for others to come; written under the getters' lock.
    pub dropped: AtomicU64,
    /// Messages that were dropped instead of being put.
    pub declined: AtomicU64,
    /// ```text
    ///  63             32 31             0
    /// ┌─────────────────┬────────────────┐   calls: to look again, by something that no count tells; raised before the bit
    /// │     missed      │     calls      │   missed: of these for all, those that found no bit
    /// └─────────────────┴────────────────┘
    /// ```
    /// The bit may be set once more before one of the sleepers falls asleep, which this shows; nobody sleeps on it. A carry out of
    /// the lower half does no harm: it looks like one that was missed.
    pub calls: AtomicU64,
    /// Processes that hold or held leases; every sleeper watches them.
    pub holders: [RosterEntry; ROSTER],
    /// Registered putters; getters that sleep watch them.
    pub putters: [RosterEntry; ROSTER],
}

/// What is known of one slot. Only the holder of a lock, or of the slot, writes it.
#[derive(Debug)]
#[repr(C)]
pub struct SlotWords {
    /// Bytes of the message.
    pub length: AtomicU32,
    /// How often the message came back.
    pub returns: AtomicU32,
    /// The process that leases or lends the slot; 0 while it is in a ring.
    pub owner: AtomicU32,
    /// The delivery that the lease is; 0: a loan.
    pub delivery: AtomicU32,
    /// The number of the lease or loan.
    pub lease: AtomicU32,
    /// Of a dead letter the lease that it was, so that a repeated burial is noticed; 0: it was put by hand, or lent.
    pub origin: AtomicU32,
    /// When the lease or loan began.
    pub since: AtomicU64,
}

/// The shelf of a room whose messages do not leave in order of arrival: what only the holder of the getters' lock writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ShelfWords {
    /// Places given so far: each number once, ahead of all others or behind them.
    pub places: AtomicU64,
    /// `tail`, as far as arrivals are on the shelf.
    pub sorted: AtomicU32,
}

/// Two things that have the same index: what the shelf knows of a slot, and a position of its heap.
#[derive(Debug)]
#[repr(C)]
pub struct ShelfEntry {
    /// The slot's key: 0 while it is not on the shelf, otherwise the smaller is got first.
    pub key: AtomicU64,
    /// The priority of the slot's message; written under the putters' lock, or by the slot's owner.
    pub priority: AtomicU32,
    /// The slot at this position of the heap.
    pub heap: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(
    std::mem::offset_of!(RoomWords, put.lock.word) == 0 && std::mem::offset_of!(RoomWords, get.lock.word) == 128,
    "tests/hostile/subjects.py knows where the locks lie"
);

// SAFETY: S1, atomics only.
unsafe impl Shared for RoomWords {}
// SAFETY: S1.
unsafe impl Shared for SlotWords {}
// SAFETY: S1.
unsafe impl Shared for ShelfWords {}
// SAFETY: S1.
unsafe impl Shared for ShelfEntry {}

fn zero() -> AtomicU32 {
    AtomicU32::new(0)
}

impl RoomWords {
    /// An empty room, as zeroed bytes are: for loom, which cannot cast them.
    #[must_use]
    pub fn new() -> Self {
        let roster = || std::array::from_fn(|_| RosterEntry { process: zero(), count: zero() });
        let gauge = || Gauge { word: zero() };
        Self {
            put: PutSide {
                lock: LockWords::new(),
                extra: zero(),
                freed_seen: zero(),
                intent: PutIntent { slot: zero(), tail: zero(), extra: zero(), owner: zero() },
                cpus: AtomicU64::new(0),
                putters: zero(),
                died_pid: zero(),
            },
            tail: gauge(),
            get: GetSide {
                lock: LockWords::new(),
                head: zero(),
                tail_seen: zero(),
                leases: zero(),
                overflow: zero(),
                intent: GetIntent {
                    step: zero(),
                    operand: zero(),
                    head: zero(),
                    freed: zero(),
                    beside: AtomicU64::new(0),
                },
                cpus: AtomicU64::new(0),
            },
            freed: gauge(),
            baton: zero(),
            purges: zero(),
            dropped: AtomicU64::new(0),
            declined: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            holders: roster(),
            putters: roster(),
        }
    }
}

impl Default for RoomWords {
    fn default() -> Self {
        Self::new()
    }
}

impl SlotWords {
    /// Free.
    #[must_use]
    pub fn new() -> Self {
        Self {
            length: zero(),
            returns: zero(),
            owner: zero(),
            delivery: zero(),
            lease: zero(),
            origin: zero(),
            since: AtomicU64::new(0),
        }
    }
}

impl Default for SlotWords {
    fn default() -> Self {
        Self::new()
    }
}

impl ShelfWords {
    /// An empty shelf.
    #[must_use]
    pub fn new() -> Self {
        Self { places: AtomicU64::new(0), sorted: zero() }
    }
}

impl Default for ShelfWords {
    fn default() -> Self {
        Self::new()
    }
}

impl ShelfEntry {
    /// Nothing is there.
    #[must_use]
    pub fn new() -> Self {
        Self { key: AtomicU64::new(0), priority: zero(), heap: zero() }
    }
}

impl Default for ShelfEntry {
    fn default() -> Self {
        Self::new()
    }
}
