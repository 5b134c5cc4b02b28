//! The object that is waited for, as those see it who wait.

use underpass_shm::operation::Operation;

use crate::kernel::{Kernel, Watch};

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The object says what it means.
    pub value: u64,
    /// The object says what it means, but for [`AWAITS`].
    pub how: u32,
}

/// In [`Wish::how`]: who waits does not sleep here, as a task: of its death nobody is told but who watches it.
pub const AWAITS: u32 = 1 << 31;

/// The priority of those who wait where nobody is served by it.
pub const UNRANKED: i32 = 0;

/// One who has a slot, as one sees it who comes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// The slot.
    pub index: usize,
    /// What it was given and has not come for; none: it waits.
    pub given: Option<u64>,
    /// The [`Kernel::priority`] of the one who comes.
    pub priority: i32,
}

/// The object that is waited for.
pub trait Room {
    /// A cheap look, without the lock: may be wrong.
    fn ready(&self, wish: Wish) -> bool;

    /// What the wait is called, for those who look on.
    fn operation(&self) -> Operation {
        Operation::Wait
    }

    /// Whoever waits, or was granted something, in that slot is served before one that comes now with that wish, which waits
    /// until that one has had its turn. Nobody does where nobody holds others up, nor who was only told something. The lock is held.
    fn goes_before(&self, _before: Before, _comes: Wish) -> bool {
        false
    }

    /// Somebody is about to wait, in a slot or at the door, and looks once more. The lock is held.
    fn queued(&self) {}

    /// Fulfils the wish, if that is possible now. The lock is held.
    fn now(&self, wish: Wish) -> Option<u64>;

    /// What changes without the lock: who is about to sleep for the wish sleeps only while that is as it was. Who dies
    /// after such a change has told nobody, and the baton tells only those who sleep.
    fn watch<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>);

    /// Ends what somebody who died with the lock, or before it came to lock, had begun. The lock is held; more often
    /// than needed does no harm.
    fn mend(&self, kernel: &dyn Kernel);

    /// The caller comes for what it was given: before it says so, and whoever dies before that has not come.
    fn come(&self, _given: u64) {}

    /// Gives to others what one was given who did not come for it. The lock is held.
    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64);
}

/// A [`Room::watch`].
pub type Watching<'w, 'a> = &'w dyn Fn(Wish, &mut Watch<'a>);

impl<R: Room + ?Sized> Room for &R {
    fn ready(&self, wish: Wish) -> bool {
        (**self).ready(wish)
    }

    fn operation(&self) -> Operation {
        (**self).operation()
    }

    fn goes_before(&self, before: Before, comes: Wish) -> bool {
        (**self).goes_before(before, comes)
    }

    fn queued(&self) {
        (**self).queued();
    }

    fn now(&self, wish: Wish) -> Option<u64> {
        (**self).now(wish)
    }

    fn watch<'a>(&'a self, wish: Wish, watch: &mut Watch<'a>) {
        (**self).watch(wish, watch);
    }

    fn mend(&self, kernel: &dyn Kernel) {
        (**self).mend(kernel);
    }

    fn come(&self, given: u64) {
        (**self).come(given);
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64) {
        (**self).take_back(kernel, index, given);
    }
}
