//! The word of an atomic integer; its waiters follow.

use crate::place::Shared;
use crate::sync::AtomicU64;

/// A number of 64 bits.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct AtomicWords {
    /// The number, in two's complement.
    pub value: AtomicU64,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for AtomicWords {}

impl AtomicWords {
    /// With this value.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self { value: AtomicU64::new(value) }
    }
}
