//! What a handle of the lab is asked beside what every handle is.

use underpass_core::Deadline;

use super::Handle;
use crate::kernel_lab::LabKernel;

impl Handle {
    /// In the lab an operation that finds room can be refused as if there were none until its deadline; nowhere else.
    pub fn refuses(&self, deadline: Deadline) -> bool {
        self.lab.as_ref().is_some_and(|lab| lab.refuses(deadline))
    }

    /// The lab that it lives in.
    pub fn lab(&self) -> Option<&LabKernel> {
        self.lab.as_deref()
    }
}
