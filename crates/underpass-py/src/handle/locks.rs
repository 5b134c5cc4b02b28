//! What the lab is told by objects that are locks: who stands back, who takes one, who gives it.

use pyo3::prelude::*;

use crate::handle::Handle;

impl Handle {
    /// In the lab, while a lock is taken by others, stands back from it if that is what is done there.
    pub fn stand_back(&self, py: Python<'_>, is_taken: impl Fn() -> bool) -> PyResult<()> {
        let Some(lab) = &self.lab else { return Ok(()) };
        while lab.bars() && is_taken() {
            lab.bar(&self.region).map_err(|error| self.unused(py, error))?;
        }
        Ok(())
    }

    /// The lab is told that a lock is taken; `waits`: by one who would have waited for it for ever.
    pub fn take(&self, waits: bool) {
        if let Some(lab) = &self.lab {
            lab.take(&self.region, waits);
        }
    }

    /// The same point, for who gives a lock back; `is_mine` says whether there is one to give.
    pub fn point_to_give(&self, py: Python<'_>, is_mine: impl Fn() -> bool) -> PyResult<()> {
        if self.is_plain() { Ok(()) } else { self.point_to_give_slow(py, is_mine) }
    }

    #[cold]
    fn point_to_give_slow(&self, py: Python<'_>, is_mine: impl Fn() -> bool) -> PyResult<()> {
        self.point(py)?;
        if let Some(lab) = &self.lab
            && is_mine()
        {
            lab.give(&self.region);
        }
        Ok(())
    }
}
