//! Who of those that wait is next: by arrival, or by how urgent it is. The lock is held.

use underpass_shm::layout::waiters::{GRANTED, RETURNED, WAITING};
use underpass_shm::sync::Ordering::{AcqRel, Relaxed};

use super::{AWAITS, Before, Room, Waiters, Wish};
use crate::kernel::{Kernel, Watch};

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

    /// Who waits in that slot, as a task does, is served before one that comes now, in that order: a [`Room::goes_before`]. What it was
    /// given, if it was, others wait for.
    #[must_use]
    pub fn is_a_task_before(&self, before: Before, order: Order) -> bool {
        let Before { index, given, priority } = before;
        let is_next = order == Order::Arrival || given.is_some() || self.priority(index) >= priority;
        self.wish(index).how & AWAITS != 0 && is_next
    }

    fn priority(&self, index: usize) -> i32 {
        self.slots[index].priority.load(Relaxed).cast_signed()
    }

    /// Who waits for longest. The lock is held.
    #[must_use]
    pub fn first(&self) -> Option<usize> {
        self.in_state(WAITING).max_by_key(|index| self.age(*index))
    }

    /// Who waits most urgently, and of those for longest. The lock is held.
    #[must_use]
    pub fn first_by_priority(&self) -> Option<usize> {
        self.in_state(WAITING).max_by_key(|index| (self.priority(*index), self.age(*index)))
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
            let how = &self.slots[index].how;
            how.store(rank | how.load(Relaxed) & AWAITS, Relaxed);
        }
    }

    /// How many have come since it did. The lock is held.
    fn age(&self, index: usize) -> u32 {
        self.words.tickets.load(Relaxed).wrapping_sub(self.slots[index].ticket.load(Relaxed))
    }
}

/// For objects whose waiters go one after the other.
impl Waiters {
    /// The wishes of those who were granted something and have not come, or will not: to the dead it may still be theirs.
    pub fn unsettled(&self) -> impl Iterator<Item = Wish> + '_ {
        self.in_state(GRANTED).chain(self.in_state(RETURNED)).map(|index| self.wish(index))
    }

    /// Wakes all who were granted something and have not come, which is another's if they never do: one who sleeps watches
    /// the tasks among them.
    pub fn tell_heirs(&self, kernel: &dyn Kernel) {
        let mut unwatched = false;
        for index in self.in_state(GRANTED) {
            let comes = self.tell(kernel, index);
            unwatched |= comes && self.wish(index).how & AWAITS != 0 && self.is_granted(index);
        }
        if unwatched && self.waiting().next().is_some() {
            self.call_one(kernel);
        }
    }

    /// Has one look again who sleeps here, and all who are about to: whoever must act next is another now, and one of
    /// them has to watch it. The caller owes it: see [`Self::owe`].
    ///
    /// Past those that were told by their slots: until such a one runs, the kernel has it on this word as well, in front of
    /// those who came later, and it may be the one that is woken, for nothing.
    pub fn call_one(&self, kernel: &dyn Kernel) {
        self.words.posts.fetch_add(1, AcqRel);
        if !self.is_empty() {
            let told = self.in_state(GRANTED).count() as u32;
            kernel.wake(&self.words.posts, 1 + told);
        }
    }

    /// One who waits in that slot sleeps only while it does.
    pub fn watch_place<'a>(&'a self, index: usize, watch: &mut Watch<'a>) {
        watch.word(&self.slots[index].state, WAITING);
    }

    /// Takes the slots of the dead, and back what they were given. The lock is held.
    pub fn reap(&self, kernel: &dyn Kernel, room: &dyn Room) {
        self.sweep(kernel, room, &[GRANTED, WAITING]);
    }
}
