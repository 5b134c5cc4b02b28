//! Who holds the lock, or comes for it: a thread, or one task of an event loop that runs in it.

use underpass_shm::layout::rwlock::CLOSED;
use underpass_shm::life::{Life, Me};

/// The number of a thread itself, which its tasks do not have.
pub const THREAD: u32 = 0;

/// A thread and the number of its task: none of its other tasks is taken for that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Dies.
    pub thread: Life,
    /// [`THREAD`], or what the thread's event loop calls the task.
    pub task: u32,
}

impl Owner {
    /// Nobody.
    pub const NOBODY: Self = Self { thread: Life::NOBODY, task: THREAD };

    /// That thread, or a task of it.
    #[must_use]
    pub fn of(me: Me, task: u32) -> Self {
        Self { thread: me.thread, task }
    }

    /// As it stands in a place, in a wish, and in the gate, where [`CLOSED`] is beside it.
    #[inline]
    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.task) << 32 | u64::from(self.thread.0)
    }

    /// Who stands there.
    #[inline]
    #[must_use]
    pub fn read(word: u64) -> Self {
        let word = word & !CLOSED;
        Self { thread: Life(word as u32), task: (word >> 32) as u32 }
    }

    /// What it is called in what it is told.
    #[must_use]
    pub fn noun(self) -> &'static str {
        if self.task == THREAD { "thread" } else { "task" }
    }
}
