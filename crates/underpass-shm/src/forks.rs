//! Fork: the child starts with no life, no locks and no channels of its own, and must notice. What belongs to the whole
//! process, such as the list of its spaces, is never copied while a thread changes it.

use std::sync::Once;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

static FORKS: AtomicU32 = AtomicU32::new(1);

/// Threads that change what belongs to the whole process, or `FORKING`.
static CHANGES: AtomicU32 = AtomicU32::new(0);
const FORKING: u32 = u32::MAX;

/// How often this process is a forked child of itself, counted from 1. What was claimed in another epoch is not ours.
#[inline]
#[must_use]
pub fn epoch() -> u32 {
    FORKS.load(Relaxed)
}

/// Begins another epoch: for a process that the others took for dead, and that holds as little as a forked child.
pub(crate) fn begin_epoch() {
    FORKS.fetch_add(1, Relaxed);
}

/// No thread of this process forks while this lives. Whoever has it runs no code of Python's: a thread that forks waits
/// here, and may have the interpreter.
#[derive(Debug)]
#[must_use]
pub struct Unforked(());

/// Waits for a fork that is under way, and keeps others waiting.
pub fn unforked() -> Unforked {
    watch();
    loop {
        let changes = CHANGES.load(Relaxed);
        if changes != FORKING && CHANGES.compare_exchange(changes, changes + 1, Acquire, Relaxed).is_ok() {
            return Unforked(());
        }
        std::thread::yield_now();
    }
}

impl Drop for Unforked {
    fn drop(&mut self) {
        CHANGES.fetch_sub(1, Release);
    }
}

/// Makes `fork` wait for changes and begin an epoch in the child. Called when the module is loaded, before anything is claimed.
pub fn watch() {
    extern "C" fn before() {
        while CHANGES.compare_exchange(0, FORKING, Acquire, Relaxed).is_err() {
            std::thread::yield_now();
        }
    }
    extern "C" fn parent() {
        CHANGES.store(0, Release);
    }
    extern "C" fn child() {
        FORKS.fetch_add(1, Relaxed);
        CHANGES.store(0, Release);
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: S9, the handlers touch two atomics, which is async-signal-safe.
        unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) };
    });
}
