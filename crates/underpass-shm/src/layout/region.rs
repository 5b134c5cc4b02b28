//! The words of a region.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// What its card says of the bytes: how many, who writes them, and where they are.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct RegionWords {
    /// Bytes that everybody may use. It only grows, and never beyond what was reserved before.
    pub size: AtomicU64,
    /// ```text
    /// 0         everybody writes
    /// a life    that process writes, and nobody else: sealed, for ever
    /// ```
    pub writer: AtomicU32,
    /// In the process that made it, the descriptor of the memfd.
    pub number: AtomicU32,
    /// The memfd's device and inode, written once; both 0: the bytes follow the card in the same file.
    pub device: AtomicU64,
    /// See `device`.
    pub inode: AtomicU64,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for RegionWords {}
