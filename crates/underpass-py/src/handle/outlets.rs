//! The descriptors of a handle and of its parts, for loops that are somebody else's.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use underpass_core::kernel::Kernel;
use underpass_core::many::Ready;
use underpass_core::outlet::Outlet;
use underpass_shm::forks;

use super::{HEARD, Handle, OPEN};
use crate::error::{Context, raise};
use crate::many::watchers;

/// What is ready or is not: the object, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    Room,
    Drained,
    /// One of any number, as a change from a value is: by its own number, [`Part::one_of_many`]. Its descriptor ends with it.
    One(u64),
}

impl Part {
    /// One that no other is.
    pub fn one_of_many() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::One(NEXT.fetch_add(1, Relaxed))
    }
}

/// All that were asked for.
#[derive(Debug, Default)]
pub struct Outlets(Mutex<Vec<Arc<One>>>);

#[derive(Debug)]
struct One {
    part: Part,
    object: Arc<dyn Ready + Send + Sync>,
    number: RawFd,
    /// A forked child's own are others.
    epoch: u32,
    outlet: Mutex<Outlet>,
}

impl One {
    /// Who finds another looking leaves it to that one: what becomes ready meanwhile is told. A look may run the program's
    /// code, a port's admission, and that may come here again.
    fn look(&self, kernel: &dyn Kernel) -> underpass_core::Result<()> {
        let Ok(mut outlet) = self.outlet.try_lock() else { return Ok(()) };
        outlet.look(&*self.object, kernel)
    }
}

impl Outlets {
    fn with<T>(&self, change: impl FnOnce(&mut Vec<Arc<One>>) -> T) -> T {
        let _unforked = forks::unforked();
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at each: before an operation, so that what that one does not find makes them readable from then on.
    pub fn look(&self, kernel: &dyn Kernel) -> underpass_core::Result<()> {
        let epoch = forks::epoch();
        let ours: Vec<_> = self.with(|all| all.iter().filter(|one| one.epoch == epoch).cloned().collect());
        ours.iter().try_for_each(|one| one.look(kernel))
    }

    /// Closes that of a part, if it has one.
    pub fn end(&self, part: Part) {
        let place =
            |all: &mut Vec<Arc<One>>| all.iter().position(|one| one.part == part).map(|index| all.remove(index));
        drop(self.with(place));
    }

    /// Closes them all.
    pub fn close(&self) {
        drop(self.with(std::mem::take));
    }
}

impl Handle {
    /// The number of the descriptor that is readable while that part may be ready.
    pub fn fileno(
        &self,
        py: Python<'_>,
        part: Part,
        object: impl FnOnce() -> Arc<dyn Ready + Send + Sync>,
    ) -> PyResult<RawFd> {
        self.check_look(py)?;
        let failed = |error| raise(py, &Context::of(&self.title, "has no descriptor"), error);
        let epoch = forks::epoch();
        let known = self.outlets.with(|all| {
            // A parent's are closed in its child.
            all.retain(|one| one.epoch == epoch);
            all.iter().find(|one| one.part == part).cloned()
        });
        if let Some(one) = known {
            return Ok(one.number);
        }
        let (space, watchers) = (self.home(py)?.space(), watchers(py, self)?);
        let outlet = Outlet::new(space, watchers).map_err(failed)?;
        let (number, object) = (outlet.as_fd().as_raw_fd(), object());
        let made = Arc::new(One { part, object, number, epoch, outlet: Mutex::new(outlet) });
        made.look(self.kernel()).map_err(failed)?;
        let first = self.outlets.with(|all| {
            let first = all.iter().find(|one| one.part == part).cloned();
            first.unwrap_or_else(|| {
                all.push(made.clone());
                made.clone()
            })
        });
        let _ = self.state.compare_exchange(OPEN, HEARD, Relaxed, Relaxed);
        if self.is_closed() {
            self.outlets.close();
        }
        self.check_look(py)?;
        Ok(first.number)
    }

    /// That part is nobody's any more: its descriptor is closed.
    pub fn end_part(&self, part: Part) {
        if !self.is_plain() {
            self.outlets.end(part);
        }
    }
}
