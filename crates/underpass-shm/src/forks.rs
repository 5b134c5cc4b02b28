//! Fork: the child starts with no life, no locks and no channels of its own, and must notice.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static FORKS: AtomicU32 = AtomicU32::new(1);

/// How often this process is a forked child of itself, counted from 1. What was claimed in another epoch is not ours.
#[inline]
#[must_use]
pub fn epoch() -> u32 {
    FORKS.load(Relaxed)
}

/// Makes `fork` bump the epoch in the child. Called before anything is claimed.
pub fn watch() {
    extern "C" fn child() {
        FORKS.fetch_add(1, Relaxed);
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: S9, the handler only touches an atomic, which is async-signal-safe.
        unsafe { libc::pthread_atfork(None, None, Some(child)) };
    });
}
