//! How urgent what the calling thread waits for is: as it says itself, or as the scheduler has it.

use std::cell::Cell;

thread_local! {
    /// What the thread has said.
    static CHOSEN: Cell<Option<i32>> = const { Cell::new(None) };
}

/// The calling thread waits with this priority from now on; none: with that of the scheduler. What it was before.
#[must_use]
pub fn choose(priority: Option<i32>) -> Option<i32> {
    CHOSEN.replace(priority)
}

/// With which priority the calling thread waits; higher is more urgent. Asks the scheduler each time that the thread has
/// not chosen: whoever is about to sleep can afford it, and others may have changed the answer.
#[must_use]
pub fn mine() -> i32 {
    CHOSEN.get().unwrap_or_else(real_time)
}

/// 1 to 99 for a thread of `SCHED_FIFO` or `SCHED_RR`, 0 for any other.
fn real_time() -> i32 {
    // SAFETY: S4, no pointer is passed.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if !matches!(policy & !libc::SCHED_RESET_ON_FORK, libc::SCHED_FIFO | libc::SCHED_RR) {
        return 0;
    }
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: S4, the kernel fills in the record before the call returns.
    match unsafe { libc::sched_getparam(0, &raw mut parameters) } {
        0 => parameters.sched_priority,
        _ => 0,
    }
}
