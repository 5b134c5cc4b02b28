//! Timeouts: seconds above the surface, an absolute deadline below it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::error::Phase;
use underpass_core::{Deadline, Error, Result};

use crate::{kernel_lab, scope, section};

/// How long a call may take, as its user said it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Timeout {
    /// `op_nowait`.
    NoWait,
    /// `timeout=`: None is for ever.
    Seconds(Option<f64>),
}

impl Timeout {
    /// The argument `timeout=`.
    #[inline]
    pub fn new(seconds: Option<f64>) -> PyResult<Self> {
        match seconds {
            Some(time) if time.is_nan() || time < 0.0 => Err(PyValueError::new_err(format!(
                "timeout={time} is not a time: pass seconds >= 0, or None to wait for ever"
            ))),
            _ => Ok(Self::Seconds(seconds)),
        }
    }

    /// The deadline of what `verb` does, counted from now, and within every `fail_after` around. In an atomic section
    /// nothing has one: every operation that may wait asks here before it does anything.
    #[inline]
    pub fn deadline(self, verb: &str) -> Result<Deadline> {
        match self {
            Self::NoWait | Self::Seconds(Some(0.0)) => Ok(Deadline::NoWait),
            Self::Seconds(seconds) => {
                section::may_wait(verb)?;
                let own = seconds.map_or(Deadline::Never, |seconds| Deadline::after(kernel_lab::now(), seconds));
                Ok(scope::bound(own))
            }
        }
    }

    /// Does what `verb` does until the deadline.
    #[inline]
    pub fn within<T>(self, verb: &str, operation: impl FnOnce(Deadline) -> Result<T>) -> Result<T> {
        self.judge(self.deadline(verb).and_then(operation))
    }

    /// The seconds of the `fail_after` around that has ended an operation with this timeout, if it was one.
    pub fn expired_scope(self) -> Option<f64> {
        match self {
            Self::NoWait | Self::Seconds(Some(0.0)) => None,
            Self::Seconds(_) => scope::expired(),
        }
    }

    /// `timeout=0` tries once and then says that the time is over, where `op_nowait` says that it would block.
    pub fn judge<T>(self, result: Result<T>) -> Result<T> {
        match (self, result) {
            (Self::Seconds(_), Err(Error::WouldBlock)) => Err(Error::TimedOut(Phase::Wait)),
            (_, result) => result,
        }
    }

    /// For the texts of errors.
    pub fn text(self) -> String {
        if let Some(seconds) = self.expired_scope() {
            return format!("within the {seconds} s of fail_after({seconds}) around it");
        }
        match self {
            Self::NoWait | Self::Seconds(None) => "in time".into(),
            Self::Seconds(Some(seconds)) => format!("within {seconds} s"),
        }
    }
}
