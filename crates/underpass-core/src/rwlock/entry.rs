//! A way into a lock of readers and writers, as those see it who wait for it and for other things besides.
//!
//! Invariant: while somebody looks on who was not told, the gate is closed: so whoever comes or leaves takes the lock, and rings.

use std::sync::Arc;

use super::{How, Owner, RWLock, THREAD};
use crate::Result;
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::stay::Slotted as _;
use crate::wait::Sleepers;
use crate::waiters::{Room as _, Wish};

/// What one comes for who has not come yet.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Into which.
    pub lock: Arc<RWLock>,
    /// To do what.
    pub how: How,
}

impl Ready for Entry {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.lock.waiters
    }

    /// The calling thread would be let in, or told at once why not: a writer has died, or it is inside already.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let (lock, how) = (&*self.lock, self.how.number());
        let me = Owner::of(kernel.me()?, THREAD);
        if lock.would_answer(me, how) {
            return Ok(true);
        }
        let is_torn = lock.is_torn(kernel);
        if watch.is_none() && !is_torn {
            return Ok(false);
        }
        let _held = lock.waiters.enter(kernel, lock)?;
        if is_torn {
            lock.mend(kernel);
        }
        if let Some(watch) = watch {
            // SYNC(rwlock-1): whoever leaves from now on finds it closed, or is seen to have left.
            lock.close();
            lock.waiters.announce_onlooker(watch);
            lock.watch(Wish { value: me.word(), how }, watch);
        }
        Ok(lock.would_answer(me, how))
    }
}
