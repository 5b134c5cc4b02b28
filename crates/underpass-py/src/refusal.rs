//! What the lab refuses, and a conductor as the lab did: room that there is.

use pyo3::prelude::*;
use underpass_core::Error;
use underpass_core::queue::WhenFull;
use underpass_shm::limits::Lack;

use crate::queue::Queue;
use crate::timeout::Timeout;

/// What is said of a space that the lab lets be full.
pub fn lack(size: usize) -> Lack {
    let remedy = "the lab lets the space be full here: let go of what was taken before, and go on without the object";
    Lack::of_simulated_bytes(size as u64, remedy)
}

impl Queue {
    /// Lets the lab refuse what needs room, as if there were none; what fails for another reason fails for that.
    #[inline]
    pub fn have_room(&self, py: Python<'_>, failed: &str, verb: &str, timeout: Timeout, size: usize) -> PyResult<()> {
        if self.handle.is_stepped() { self.have_room_there(py, failed, verb, timeout, size) } else { Ok(()) }
    }

    #[cold]
    fn have_room_there(&self, py: Python<'_>, failed: &str, verb: &str, timeout: Timeout, size: usize) -> PyResult<()> {
        // Who drops what does not fit waits for nothing.
        let waits = self.core.when_full() == WhenFull::Wait || verb == "loan";
        let fits = waits && size <= self.core.message_size() && !self.core.is_shut_down();
        let deadline = timeout.deadline(verb).map_err(|error| self.late(py, failed, timeout, error))?;
        if !fits || !self.handle.refuses(py, deadline)? {
            return Ok(());
        }
        let refused = timeout.judge::<()>(Err(Error::WouldBlock)).err().unwrap_or(Error::WouldBlock);
        let raised = self.late(py, failed, timeout, refused);
        let error = raised.value(py);
        error.call_method1("add_note", ("the lab lets the queue be full here, as others could make it",))?;
        // Histories leave it out: it did nothing.
        error.setattr("refused_by_lab", true)?;
        Err(raised)
    }
}
