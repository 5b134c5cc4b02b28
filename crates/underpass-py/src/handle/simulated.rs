//! What a handle of the lab is asked beside what every handle is.

use underpass_core::Deadline;
use underpass_shm::life::Life;

use super::Handle;

impl Handle {
    /// In the lab an operation that finds room can be refused as if there were none until its deadline; nowhere else.
    pub fn refuses(&self, deadline: Deadline) -> bool {
        self.lab.as_ref().is_some_and(|lab| lab.refuses(deadline))
    }

    /// The process that runs, if it is one of the lab's: not its host.
    pub fn process_in_lab(&self) -> Option<Life> {
        self.lab.as_ref().and_then(|lab| lab.simulated())
    }
}
