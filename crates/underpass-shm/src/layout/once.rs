//! The word of a once, behind those of the mutex under which it runs.

use crate::place::Shared;
use crate::sync::AtomicU32;

/// Whether it has run.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct OnceWords {
    /// 0: it has not run to its end; 1: it has. Written by whoever has the mutex, and never again.
    pub done: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for OnceWords {}

impl OnceWords {
    /// Not run.
    #[must_use]
    pub fn new() -> Self {
        Self { done: AtomicU32::new(0) }
    }
}

impl Default for OnceWords {
    fn default() -> Self {
        Self::new()
    }
}
