//! Time: nanoseconds of `CLOCK_MONOTONIC`.

/// Nanoseconds since boot, without the time asleep. Every deadline of the library is a value of this clock.
#[must_use]
pub fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
