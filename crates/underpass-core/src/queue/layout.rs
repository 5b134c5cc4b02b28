//! Where a queue's parts lie in its file: one room, and with `max_deliveries` a second one for the dead letters.

use std::sync::Arc;

use underpass_shm::header::{PARAMETERS, WORDS};
use underpass_shm::layout::queue::{MOST_SLOTS, RoomWords, ShelfEntry, ShelfWords, SlotWords};
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::region::Region;
use underpass_shm::sync::AtomicU32;

use super::{Line, Lines, Order, Queue, Room, Shelf, WhenFull};
use crate::waiters::{self, Waiters};
use crate::{Error, Result};

const LINE: usize = 64;

/// The orders, by the header's numbers.
pub const ORDERS: [Order; 3] = [Order::Fifo, Order::Lifo, Order::Priority];
/// What a put does that finds no room, by the header's numbers.
pub const WHEN_FULL: [WhenFull; 3] = [WhenFull::Wait, WhenFull::DropOldest, WhenFull::DropNewest];

/// In which order those who wait have their turns, by the header's numbers; none: whoever is quickest.
pub const TURNS: [Option<waiters::Order>; 3] = [None, Some(waiters::Order::Arrival), Some(waiters::Order::Priority)];

/// What a queue is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Slots.
    pub capacity: u32,
    /// Longest message.
    pub message_size: usize,
    /// Deliveries after which a message becomes a dead letter.
    pub max_deliveries: Option<u32>,
    /// Which message is got first.
    pub order: Order,
    /// What a put does that finds no room.
    pub when_full: WhenFull,
    /// Who of those that wait has the first turn; none: whoever is quickest.
    pub turns: Option<waiters::Order>,
}

impl Shape {
    /// What a queue's header says.
    pub fn read(parameters: [u64; PARAMETERS]) -> Result<Self> {
        let wrong = || Error::Corrupted("its parameters are out of range".into());
        let [capacity, message_size, most, order, when_full, turns, ..] = parameters;
        let at = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let shape = Self {
            capacity: u32::try_from(capacity).map_err(|_| wrong())?,
            message_size: usize::try_from(message_size).map_err(|_| wrong())?,
            max_deliveries: (most > 0).then_some(u32::try_from(most).map_err(|_| wrong())?),
            order: *ORDERS.get(at(order)).ok_or_else(wrong)?,
            when_full: *WHEN_FULL.get(at(when_full)).ok_or_else(wrong)?,
            turns: *TURNS.get(at(turns)).ok_or_else(wrong)?,
        };
        shape.check().map_err(|_| wrong())?;
        Ok(shape)
    }

    /// What a queue's header says.
    #[must_use]
    pub fn parameters(&self) -> [u64; PARAMETERS] {
        let number = |place: Option<usize>| place.unwrap_or(usize::MAX) as u64;
        let order = number(ORDERS.iter().position(|order| *order == self.order));
        let when_full = number(WHEN_FULL.iter().position(|known| *known == self.when_full));
        let turns = number(TURNS.iter().position(|known| *known == self.turns));
        let most = u64::from(self.max_deliveries.unwrap_or(0));
        [u64::from(self.capacity), self.message_size as u64, most, order, when_full, turns, 0, 0]
    }

    /// Refuses what no queue can be.
    pub fn check(&self) -> Result<()> {
        if self.capacity == 0 || self.capacity > MOST_SLOTS {
            return Err(Error::Invalid(format!("capacity={} is not between 1 and {MOST_SLOTS}", self.capacity)));
        }
        if self.message_size == 0 || self.message_size > super::MOST_BYTES {
            return Err(Error::Invalid(format!(
                "message_size={} is not between 1 and {}",
                self.message_size,
                super::MOST_BYTES
            )));
        }
        if self.max_deliveries == Some(0) {
            return Err(Error::Invalid("max_deliveries=0 would deliver nothing: pass at least 1".into()));
        }
        Ok(())
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> usize {
        self.lines_at() + if self.turns.is_some() { 2 * waiters::ONE_ROW } else { 0 }
    }

    /// A handle over the file's bytes, whose header said this shape.
    pub fn queue(&self, region: &Arc<Region>) -> Result<Queue> {
        self.check()?;
        let short = || Error::Corrupted(format!("{} bytes are too few for {self:?}", region.len()));
        let mut room = self.room(region, WORDS).ok_or_else(short)?;
        if self.order != Order::Fifo {
            room.shelf = Some(self.shelf(region, WORDS + self.room_size()).ok_or_else(short)?);
        }
        let letters = match self.max_deliveries {
            Some(_) => {
                let letters = self.room(region, self.letters_at()).ok_or_else(short)?;
                Some(Room { has_letters: true, ..letters })
            }
            None => None,
        };
        let queue = Queue::new(room, letters, self.max_deliveries, self.when_full);
        let Some(order) = self.turns else { return Ok(queue) };
        let line = |start| Some(Line::new(Waiters::of_one_row(region, start)?, order));
        let getting = line(self.lines_at()).ok_or_else(short)?;
        let putting = line(self.lines_at() + waiters::ONE_ROW).ok_or_else(short)?;
        Ok(queue.in_turn(Lines { getting, putting }))
    }

    /// Sets up the zeroed bytes of a new file.
    pub fn format(&self, region: &Arc<Region>) -> Result<()> {
        let queue = self.queue(region)?;
        queue.room.format();
        if let Some(letters) = &queue.letters {
            letters.format();
        }
        Ok(())
    }

    fn ring(&self) -> usize {
        (self.capacity as usize).next_power_of_two()
    }

    fn block(&self) -> usize {
        self.message_size.next_multiple_of(LINE)
    }

    fn room_size(&self) -> usize {
        let slots = (self.capacity as usize * size_of::<SlotWords>()).next_multiple_of(LINE);
        let rings = 2 * (self.ring() * size_of::<AtomicU32>()).next_multiple_of(LINE);
        size_of::<RoomWords>() + slots + rings + self.capacity as usize * self.block()
    }

    /// Behind the room, and its shelf if it has one.
    fn letters_at(&self) -> usize {
        let entries = (self.capacity as usize * size_of::<ShelfEntry>()).next_multiple_of(LINE);
        WORDS + self.room_size() + if self.order == Order::Fifo { 0 } else { size_of::<ShelfWords>() + entries }
    }

    /// Behind all rooms.
    fn lines_at(&self) -> usize {
        self.letters_at() + if self.max_deliveries.is_some() { self.room_size() } else { 0 }
    }

    fn shelf(&self, region: &Arc<Region>, start: usize) -> Option<Shelf> {
        Some(Shelf {
            words: Placed::at(region, start)?,
            entries: PlacedSlice::at(region, start + size_of::<ShelfWords>(), self.capacity as usize)?,
            order: self.order,
        })
    }

    fn room(&self, region: &Arc<Region>, start: usize) -> Option<Room> {
        let capacity = self.capacity as usize;
        let slots = start + size_of::<RoomWords>();
        let ring = slots + (capacity * size_of::<SlotWords>()).next_multiple_of(LINE);
        let ring_size = (self.ring() * size_of::<AtomicU32>()).next_multiple_of(LINE);
        Some(Room {
            words: Placed::at(region, start)?,
            slots: PlacedSlice::at(region, slots, capacity)?,
            ring: PlacedSlice::at(region, ring, self.ring())?,
            free: PlacedSlice::at(region, ring + ring_size, self.ring())?,
            blocks: Blocks::at(region, ring + 2 * ring_size, self.block(), capacity)?,
            longest: self.message_size,
            shelf: None,
            has_letters: false,
        })
    }
}
