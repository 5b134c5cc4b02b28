//! What the lab and a conductor are told of who comes to a mutex, and of who gives it back.

use pyo3::prelude::*;
use underpass_core::Deadline;

use super::Mutex;
use crate::timeout::Timeout;

impl Mutex {
    /// The scheduling point of who gives it back for a while.
    pub fn come_to_give(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.point_to_give(py, || self.is_given())?;
        self.forget();
        Ok(())
    }

    /// That of who takes it again, for as long as it takes; on a closed handle too.
    pub fn come_back(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.point(py)?;
        if self.is_plain() {
            self.handle.stand_back(py, || self.is_others())?;
            self.handle.take(true);
        }
        Ok(())
    }

    /// Comes to it, in the lab, to take it; true if that is for as long as it takes: then the next step does, and the lab knows.
    pub(super) fn approach(&self, py: Python<'_>, verb: &str, timeout: Timeout) -> PyResult<bool> {
        self.handle.check(py)?;
        let deadline = timeout.deadline(verb).map_err(|error| self.failed(py, "not acquired", timeout, error))?;
        let waits = deadline == Deadline::Never && self.is_plain();
        if waits {
            self.handle.stand_back(py, || self.is_others())?;
            self.handle.take(true);
        }
        Ok(waits)
    }

    /// The lab is told where it cannot know.
    pub(super) fn taken(&self, news: bool) {
        if news && self.is_plain() {
            self.handle.take(false);
        }
    }

    /// Nobody tells apart who sleeps for it and who has not come yet: it has no levels and no line.
    fn is_plain(&self) -> bool {
        !self.is_recursive() && self.handle.header.parameters[1] == 0 && !self.inherits_priority()
    }

    /// Another thread that lives holds it.
    fn is_others(&self) -> bool {
        self.holder().is_some_and(|holder| !holder.dead && !self.is_mine(&holder))
    }

    /// A release now gives it to others.
    pub(super) fn is_given(&self) -> bool {
        self.is_plain() && self.holder().is_some_and(|holder| self.is_mine(&holder))
    }
}
