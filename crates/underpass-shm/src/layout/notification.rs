//! The words of a notification; its waiters follow.

use crate::place::Shared;
use crate::sync::{AtomicU32, AtomicU64};

/// 64 flags.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct NotificationWords {
    /// The flags. Written under the waiters' lock; no waiter's wish is fulfilled by them while nobody holds it.
    pub bits: AtomicU64,
    /// What the flags become by the post under way, before consumers have taken theirs.
    pub posted: AtomicU64,
    /// What consumers have been given by the post under way.
    pub taken: AtomicU64,
    /// 1 while waiters are being served: the post has happened, and whoever inherits the lock ends it.
    pub serving: AtomicU32,
    /// 1 + the slot that is being served.
    pub slot: AtomicU32,
    /// 1 + the slot from which the flags of this post came back.
    pub source: AtomicU32,
}

// SAFETY: S1, atomics only.
unsafe impl Shared for NotificationWords {}

impl NotificationWords {
    /// With these flags.
    #[must_use]
    pub fn new(bits: u64) -> Self {
        Self {
            bits: AtomicU64::new(bits),
            posted: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            serving: AtomicU32::new(0),
            slot: AtomicU32::new(0),
            source: AtomicU32::new(0),
        }
    }
}
