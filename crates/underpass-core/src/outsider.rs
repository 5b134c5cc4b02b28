//! The kernel of a process that can read a space and not write it: it sleeps and looks as its residents do, and has no
//! life there.
//!
//! A futex does not ask who may write: the reply's word is in the caller's own memory, and the token of the server's life
//! in the table, which is mapped to be read only; the kernel wakes who sleeps there when the server dies.

use std::sync::Arc;

use underpass_shm::life::{Life, Me};
use underpass_shm::space::Space;
use underpass_shm::sync::AtomicU32;

use crate::Result;
use crate::kernel::{Kernel, Memory, Parked, Wanted, Watch};
use crate::linux::{Host, Linux};
use crate::many::Bell;

/// One space of this machine, from outside.
#[derive(Debug)]
pub struct Outsider(Linux);

impl Outsider {
    /// The world of somebody who only looks at `space`.
    #[must_use]
    pub fn new(space: Arc<Space>, host: &'static dyn Host) -> Self {
        Self(Linux::new(space, host))
    }
}

impl Kernel for Outsider {
    fn now(&self) -> u64 {
        self.0.now()
    }

    fn me(&self) -> Result<Me> {
        Ok(Me::NOBODY)
    }

    fn alive(&self, life: Life) -> bool {
        self.0.alive(life)
    }

    fn pid(&self, life: Life) -> u32 {
        self.0.pid(life)
    }

    fn park(&self, watch: &Watch<'_>, batons: &[&AtomicU32], until: Option<u64>) -> Parked {
        self.0.park(watch, batons, until)
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        self.0.wake(word, count)
    }

    fn bell(&self) -> Result<Bell<'_>> {
        self.0.bell()
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        self.0.name_baton(word)
    }

    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        self.0.memory(wanted)
    }

    fn priority(&self) -> i32 {
        self.0.priority()
    }

    fn cpus(&self) -> u64 {
        self.0.cpus()
    }

    fn spin(&self, partner: u64) -> u64 {
        self.0.spin(partner)
    }
}
