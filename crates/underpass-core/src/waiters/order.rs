//! Who of those that wait is next: by arrival, or by how urgent it is. The lock is held.

use underpass_shm::layout::waiters::WAITING;
use underpass_shm::sync::Ordering::Relaxed;

use super::{Waiters, Wish};

/// Who of those that wait is served next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Who waits for longest.
    Arrival,
    /// Who waits most urgently, and of those for longest.
    Priority,
}

impl Waiters {
    /// Who is next in that order. The lock is held.
    #[must_use]
    pub fn next_by(&self, order: Order) -> Option<usize> {
        match order {
            Order::Arrival => self.first(),
            Order::Priority => self.first_by_priority(),
        }
    }

    /// Who waits for longest. The lock is held.
    #[must_use]
    pub fn first(&self) -> Option<usize> {
        self.in_state(WAITING).max_by_key(|index| self.age(*index))
    }

    /// Who waits most urgently, and of those for longest. The lock is held.
    #[must_use]
    pub fn first_by_priority(&self) -> Option<usize> {
        let priority = |index: usize| self.slots[index].priority.load(Relaxed).cast_signed();
        self.in_state(WAITING).max_by_key(|index| (priority(*index), self.age(*index)))
    }

    /// Who waits for longest of those whose wish is of that kind. The lock is held.
    pub fn first_of(&self, is: impl Fn(Wish) -> bool) -> Option<usize> {
        self.in_state(WAITING).filter(|index| is(self.wish(*index))).max_by_key(|index| self.age(*index))
    }

    /// Numbers those who wait in the order in which they came, in [`Wish::how`]. The lock is held.
    pub fn rank(&self) {
        let mut order: Vec<_> = self.in_state(WAITING).collect();
        order.sort_unstable_by_key(|index| std::cmp::Reverse(self.age(*index)));
        for (rank, index) in (0..).zip(order) {
            self.slots[index].how.store(rank, Relaxed);
        }
    }

    /// How many have come since it did. The lock is held.
    fn age(&self, index: usize) -> u32 {
        self.words.tickets.load(Relaxed).wrapping_sub(self.slots[index].ticket.load(Relaxed))
    }
}
