//! Locks in the lab, where whoever finds one taken may stand back from it instead of sleeping: `underpass_lab::schedule`.

use underpass_core::Result;
use underpass_lab::choice::{Pending, Point};
use underpass_lab::record::Manner;
use underpass_shm::region::Region;

use super::LabKernel;
use super::turns::strange;

impl LabKernel {
    /// Whoever finds a lock taken and would wait for nothing else stands back from it.
    pub fn bars(&self) -> bool {
        self.schedule().bars()
    }

    /// Stands back from a lock until somebody gives it: then it has to be looked at again.
    pub fn bar(&self, lock: &Region) -> Result<()> {
        if !self.is_entered_here() {
            return Err(strange());
        }
        let mut schedule = self.schedule();
        if schedule.is_over() {
            drop(schedule);
            return self.after_the_end(Point::Park);
        }
        let Some(object) = schedule.world.object_at(lock.addresses().start) else { return Ok(()) };
        let next =
            schedule.bar(object, Pending { point: Point::Operation, object: Some(object), manner: Manner::Change });
        drop(schedule);
        self.follow(next)
    }

    /// The step that is under way takes a lock; `waits`: it would have waited for nothing else.
    pub fn take(&self, lock: &Region, waits: bool) {
        let mut schedule = self.schedule();
        match schedule.world.object_at(lock.addresses().start) {
            Some(object) if waits => schedule.take(object),
            Some(object) => schedule.grab(object),
            None => {}
        }
    }

    /// The step that is under way is about to give a lock back.
    pub fn give(&self, lock: &Region) {
        let mut schedule = self.schedule();
        if let Some(object) = schedule.world.object_at(lock.addresses().start) {
            schedule.give(object);
        }
    }
}
