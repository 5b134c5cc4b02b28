//! Until when an operation may wait: absolute below the surface, so that nothing is ever early and nothing adds up.

/// The end of an operation's patience, on the kernel's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Try, do not wait: the operation raises `WouldBlock`.
    NoWait,
    /// Nanoseconds of the kernel's clock.
    At(u64),
    /// Wait for ever.
    Never,
}

impl Deadline {
    /// `seconds` from `now`; more than the clock holds is never.
    #[must_use]
    pub fn after(now: u64, seconds: f64) -> Self {
        let wait = (seconds * 1e9).ceil();
        // 100 years: the sum cannot overflow, and nobody waits longer.
        if wait >= 3.2e18 {
            return Self::Never;
        }
        #[expect(clippy::cast_sign_loss, reason = "the caller refused negative times")]
        Self::At(now + wait as u64)
    }

    /// The time that ends the wait, if one does.
    #[must_use]
    pub fn time(self) -> Option<u64> {
        match self {
            Self::NoWait => Some(0),
            Self::At(time) => Some(time),
            Self::Never => None,
        }
    }
}
