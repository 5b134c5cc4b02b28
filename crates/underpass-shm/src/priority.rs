//! How urgent what the calling thread does is to the scheduler.

/// 1 to 99 for a thread of `SCHED_FIFO` or `SCHED_RR`, 0 for any other. Asks each time: whoever is about to sleep can afford it, and
/// others may have changed the answer.
#[must_use]
pub fn real_time() -> i32 {
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
