//! A queue of messages: whole once put, at work while leased, back in front if the worker dies.
//!
//! The two-lock queue of Michael and Scott (PODC 1996) over rings of slot numbers, with owners that can die; leases
//! as message brokers have them (acknowledge, redeliver, dead letters).
//!
//! Invariant: a message is in exactly one place at every instant (see [`room`]); everybody who sleeps here watches all
//! processes that hold slots, and who becomes a holder wakes all sleepers first.

mod end;
mod full;
mod get;
#[cfg(not(loom))]
mod layout;
mod lease;
mod line;
#[cfg(not(loom))]
mod objects;
mod put;
mod ready;
mod room;
pub(crate) mod roster;

#[cfg(not(loom))]
use underpass_shm::life::Life;
use underpass_shm::place::Blocks;
use underpass_shm::sync::AtomicU32;

pub use full::WhenFull;
#[cfg(not(loom))]
pub use layout::{ORDERS, Shape, TURNS, WHEN_FULL};
pub use lease::{Holding, Ticket};
pub use line::{Line, Lines};
#[cfg(not(loom))]
pub use objects::Objects;
pub use ready::{ForJoining, ForPutting};
pub use room::Room;
pub use room::order::{End, MOST_URGENT, Order};
pub use room::shelf::Shelf;

use crate::wait::Patience;

/// Longest message of any queue, in bytes.
pub const MOST_BYTES: usize = 1 << 30;

/// Messages that one exchange puts or ends, of those that are put or got together.
const CHUNK: usize = 8;

/// A message that is being copied out.
#[derive(Debug)]
pub struct Message<'a> {
    blocks: &'a Blocks,
    slot: usize,
    /// Bytes.
    pub length: usize,
}

impl Message<'_> {
    /// Copies the start of the message.
    ///
    /// # Panics
    /// If `out` is longer than a slot.
    pub fn copy_to(&self, out: &mut [u8]) {
        self.blocks.read(self.slot, out);
    }
}

/// A handle of a queue.
#[derive(Debug)]
pub struct Queue {
    room: Room,
    letters: Option<Room>,
    max_deliveries: Option<u32>,
    when_full: WhenFull,
    /// There where those who wait have their turns.
    lines: Option<Lines>,
    putting: Patience,
    getting: Patience,
    locking: Patience,
    /// The process that stands on the roster of holders by this handle; forgotten by a fork, since it is not the child's.
    listed: AtomicU32,
    /// Messages got through this handle, roughly.
    turns: AtomicU32,
    /// The thread that last put through this handle.
    puts_from: AtomicU32,
}

impl Queue {
    /// A handle over rooms that were formatted. `letters` is there exactly with `max_deliveries`.
    #[must_use]
    pub fn new(room: Room, letters: Option<Room>, max_deliveries: Option<u32>, when_full: WhenFull) -> Self {
        Self {
            room,
            letters,
            max_deliveries,
            when_full,
            lines: None,
            putting: Patience::new(),
            getting: Patience::new(),
            locking: Patience::new(),
            listed: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            puts_from: AtomicU32::new(0),
        }
    }

    /// The same, whose waiters have their turns.
    #[must_use]
    pub fn in_turn(self, lines: Lines) -> Self {
        Self { lines: Some(lines), ..self }
    }

    /// The room of the dead letters, as a queue of its own.
    #[must_use]
    pub fn dead_letters(&self) -> Option<Self> {
        self.letters.clone().map(|room| Self::new(room, None, None, WhenFull::Wait))
    }

    /// Slots.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.room.capacity()
    }

    /// Which message is got first.
    #[must_use]
    pub fn order(&self) -> Order {
        self.room.shelf.as_ref().map_or(Order::Fifo, |shelf| shelf.order)
    }

    /// Who of those that wait has the first turn; none: whoever is quickest.
    #[must_use]
    pub fn turns(&self) -> Option<crate::waiters::Order> {
        self.lines.as_ref().map(|lines| lines.getting.order())
    }

    /// Longest message.
    #[must_use]
    pub fn message_size(&self) -> usize {
        self.room.longest
    }

    /// Where messages are, for those who read or write in place.
    #[must_use]
    pub fn blocks(&self) -> &Blocks {
        &self.room.blocks
    }

    /// Processes registered as putters; the dead among them until somebody notices.
    #[must_use]
    pub fn putters(&self) -> usize {
        roster::members(&self.room.words.putters).count()
    }

    /// Who they are.
    #[cfg(not(loom))]
    pub(crate) fn registered(&self) -> impl Iterator<Item = Life> + '_ {
        roster::members(&self.room.words.putters)
    }

    /// Messages queued now, those at work not counted.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.room.depth()
    }
}
