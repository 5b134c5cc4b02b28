//! Something that runs once: a mutex, and a flag that outlives it.
//!
//! Follows Rust's `OnceLock::get_or_try_init` in what an error means (the next one runs it) and POSIX's robust mutexes in
//! what a death means. Double-checked: the flag is looked at without the mutex, and again with it.
//!
//! Invariant: the flag is set by whoever has the mutex, after all that it ran, and never cleared; so at most one runs it
//! to its end. A mutex whose owner died after it had set the flag protects nothing any more.

use underpass_shm::layout::once::OnceWords;
use underpass_shm::place::Placed;
use underpass_shm::sync::Ordering::{Acquire, Release};

use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::mutex::{Death, Holder, Mutex};
use crate::wait::Sleepers;
use crate::{Deadline, Error, Result};

/// A handle of a once.
#[derive(Debug, Clone)]
pub struct Once {
    words: Placed<OnceWords>,
    turn: Mutex,
}

/// What whoever comes finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has run.
    Done,
    /// It is the caller's to run, who ends it with [`Once::end`]; somebody may have died in the middle.
    Mine(Option<Death>),
}

impl Once {
    /// A handle over zeroed words, or those that others use. `turn` is not recursive.
    #[must_use]
    pub fn new(words: Placed<OnceWords>, turn: Mutex) -> Self {
        Self { words, turn }
    }

    /// True once it has run.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        // SYNC(once-1): pairs with `end`: whoever sees the flag sees what was run.
        self.words.done.load(Acquire) != 0
    }

    /// Waits while somebody runs it, and says whose turn it is.
    #[inline]
    pub fn begin(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Turn> {
        if self.is_done() { Ok(Turn::Done) } else { self.begin_slow(kernel, deadline) }
    }

    #[cold]
    fn begin_slow(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Turn> {
        if self.turn.depth(kernel)? > 0 {
            return Err(Error::Misuse(
                "this thread is running it and would wait for itself: what runs in it may not call it".into(),
            ));
        }
        let died = self.turn.recover(kernel, deadline)?;
        if !self.is_done() {
            return Ok(Turn::Mine(died));
        }
        self.turn.end_recovery(kernel, true)?;
        Ok(Turn::Done)
    }

    /// Ends the caller's turn: it has run, or the next one runs it.
    pub fn end(&self, kernel: &dyn Kernel, done: bool) -> Result<()> {
        if !self.is_mine(kernel)? {
            return Err(Error::NotOwner);
        }
        if done {
            // SYNC(once-1)
            self.words.done.store(1, Release);
        }
        self.turn.end_recovery(kernel, done)
    }

    /// The calling thread runs it.
    pub fn is_mine(&self, kernel: &dyn Kernel) -> Result<bool> {
        Ok(self.turn.depth(kernel)? > 0)
    }

    /// Who runs it, or died in the middle: a peek, not a promise.
    #[must_use]
    pub fn runner(&self, kernel: &dyn Kernel) -> Option<Holder> {
        if self.is_done() { None } else { self.turn.holder(kernel) }
    }
}

impl Ready for Once {
    fn sleepers(&self) -> &dyn Sleepers {
        self.turn.sleepers()
    }

    /// It has run, or nobody runs it who lives.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        Ok(self.is_done() || self.turn.is_ready(kernel, watch)?)
    }
}
