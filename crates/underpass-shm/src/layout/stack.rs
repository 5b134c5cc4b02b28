//! The words of a stack, in front of those that are on it and of its waiters.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// Most words a stack can hold.
pub const MOST_CAPACITY: u32 = 1 << 24;
/// Places beside the capacity, for words that come back from those who were given them and did not come.
pub const SPARE: usize = 64;

/// What only the holder of the waiters' lock writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct StackWords {
    /// ```text
    ///   63      62 61     46 45    32 31            0
    /// ┌─────────┬──┬────────┬────────┬───────────────┐   0            nothing is under way
    /// │ serving │  │ source │ target │ depth, before │   serving = 1  a word is being handed over
    /// └─────────┴──┴────────┴────────┴───────────────┘   source, target: a slot's number + 1; 0: none
    /// ```
    /// The word has arrived once the target was given it, or the stack is deeper than before.
    pub handing: AtomicU64,
    /// So many words are on it.
    pub depth: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for StackWords {}

impl StackWords {
    /// An empty stack, as zeroed bytes are: for loom, which cannot cast them.
    #[must_use]
    pub fn new() -> Self {
        Self { handing: AtomicU64::new(0), depth: AtomicU32::new(0) }
    }
}

impl Default for StackWords {
    fn default() -> Self {
        Self::new()
    }
}
