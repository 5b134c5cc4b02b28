//! What a handle of the lab is asked beside what every handle is.

use pyo3::prelude::*;
use underpass_core::kernel::Wanted;
use underpass_core::linux::Linux;
use underpass_core::{Deadline, Result};
use underpass_shm::{Error as Shm, space};

use super::Handle;
use super::ports::is_taken_over;
use crate::kernel_conducted;
use crate::kernel_lab::LabKernel;
use crate::refusal::lack;

impl Handle {
    /// In the lab, and under a conductor, an operation that finds room can be refused as if there were none until its deadline;
    /// nowhere else.
    pub fn refuses(&self, py: Python<'_>, deadline: Deadline) -> PyResult<bool> {
        match &self.lab {
            Some(lab) => Ok(lab.refuses(deadline)),
            None => kernel_conducted::refuses(deadline).map_err(|error| self.unused(py, error)),
        }
    }

    /// Under a conductor, an object for which there is space can be refused as if there were none.
    pub fn have_space(linux: &Linux, wanted: &Wanted<'_>) -> Result<()> {
        if !kernel_conducted::is_on() {
            return Ok(());
        }
        let is_taken = |name| {
            let there = linux.space().map(&space::file_name(name));
            there.is_ok_and(|(region, header)| !is_taken_over(linux, wanted.kind, &region, &header))
        };
        if wanted.name.is_some_and(is_taken) || !kernel_conducted::refuses(Deadline::NoWait)? {
            return Ok(());
        }
        let what = wanted.name.map_or_else(|| "an object".into(), |name| linux.space().describe(name));
        Err(Shm::OutOfSpace { what, lack: lack(wanted.extent.length) }.into())
    }

    /// The lab that it lives in.
    pub fn lab(&self) -> Option<&LabKernel> {
        self.lab.as_deref()
    }
}
