//! A mutex: a robust lock of a thread, recursive if asked for.
//!
//! Follows POSIX's robust mutexes in what a death means (`EOWNERDEAD`, `pthread_mutex_consistent`) and Zephyr's `k_mutex`
//! in recursion; the word is that of [`crate::lock`].
//!
//! Invariant: once an owner has died, nobody holds it but inside a block of recovery, until one such block ends well.

#[cfg(not(loom))]
use std::sync::Arc;

#[cfg(not(loom))]
use underpass_shm::header::{Header, Kind, WORDS};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::mutex::{MutexWords, OWNER_DEAD, RECOVERING};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
#[cfg(not(loom))]
use underpass_shm::region::{Extent, Region};
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Relaxed};

use crate::kernel::{Kernel, Watch};
use crate::lock::{Lock, Rules};
use crate::many::Ready;
use crate::mutex::fair::Fair;
use crate::wait::{Patience, Sleepers};
use crate::waiters::{self, Order, Waiters};
use crate::{Deadline, Error, Result};

mod fair;
mod lending;
mod tasks;

pub use tasks::InLine;

/// Where the words of those stand who wait in line.
#[cfg(not(loom))]
const WAITERS: usize = WORDS + size_of::<MutexWords>();

/// How long a mutex is, in which they wait in line or not.
#[cfg(not(loom))]
#[must_use]
pub const fn extent(in_line: bool) -> Extent {
    if in_line { waiters::extent(WAITERS) } else { Extent::whole(WAITERS) }
}

const MOST_DEPTH: u32 = RECOVERING - 1;

/// A handle of a mutex.
#[derive(Debug, Clone)]
pub struct Mutex {
    words: Placed<MutexWords>,
    recursive: bool,
    way: Way,
}

/// Who of those that wait gets it.
#[derive(Debug, Clone)]
enum Way {
    /// Whoever is quickest; what spinning has paid.
    Barging(Patience),
    /// One after the other.
    Fair(Fair),
    /// The most urgent by the scheduler's measure, which meanwhile lends its priority to the owner.
    Lending,
}

/// An owner that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Its thread, of which the table of lives may know nothing any more.
    pub thread: Life,
    /// The pid of its process, as its own namespace counted; 0: not known.
    pub pid: u32,
    /// How long it had held the mutex, in nanoseconds: at least that, if it is known.
    pub held: Option<u64>,
}

/// Who holds it, for people to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The thread; of the dead, who it was.
    pub thread: Life,
    /// The pid of its process, as its own namespace counted; 0: not known.
    pub pid: u32,
    /// How long it has held it, or had when it died, in nanoseconds: at least that, if it is known.
    pub held: Option<u64>,
    /// It has died.
    pub dead: bool,
}

impl Mutex {
    /// A handle over words that were zeroed, for which those who wait barge.
    #[must_use]
    pub fn new(words: Placed<MutexWords>, recursive: bool) -> Self {
        Self { words, recursive, way: Way::Barging(Patience::new()) }
    }

    /// The same of a mutex that is handed over, in that order, to these waiters.
    #[must_use]
    pub fn fair(words: Placed<MutexWords>, recursive: bool, waiters: Waiters, order: Order) -> Self {
        Self { words, recursive, way: Way::Fair(Fair::new(waiters, order)) }
    }

    /// The same of a mutex whose owner inherits the priority of those who wait.
    #[must_use]
    pub fn lending(words: Placed<MutexWords>, recursive: bool) -> Self {
        Self { words, recursive, way: Way::Lending }
    }

    /// The mutex that an object is, or that it begins with; none if it is too short, or its header tells of no way.
    #[cfg(not(loom))]
    #[must_use]
    pub fn at(region: &Arc<Region>, header: &Header) -> Option<Self> {
        let words = Placed::at(region, WORDS)?;
        // One that another object begins with is as plain as can be: the parameters are that object's.
        let [recursive, fairness, inherits, ..] =
            if header.kind == Kind::Mutex { header.parameters } else { Default::default() };
        let order = match (fairness, inherits) {
            (0, 0) => return Some(Self::new(words, recursive != 0)),
            (0, 1) => return Some(Self::lending(words, recursive != 0)),
            (1, 0) => Order::Arrival,
            (2, 0) => Order::Priority,
            _ => return None,
        };
        let waiters = Waiters::at(region, WAITERS)?;
        Some(Self::fair(words, recursive != 0, waiters, order))
    }

    /// Takes it, waiting for it.
    #[inline]
    pub fn acquire(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let me = kernel.me()?;
        if self.try_take(me) { Ok(()) } else { self.acquire_slow(kernel, deadline, me) }
    }

    #[cold]
    fn acquire_slow(&self, kernel: &dyn Kernel, deadline: Deadline, me: Me) -> Result<()> {
        if self.recursive && self.holding() == me.thread {
            return self.deepen();
        }
        self.take(kernel, deadline, me, false).map(drop)
    }

    /// Takes it, also from the dead: then what it protects has to be repaired before [`Self::end_recovery`].
    pub fn recover(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Option<Death>> {
        let me = kernel.me()?;
        if self.try_take(me) {
            return Ok(None);
        }
        if self.recursive && self.holding() == me.thread {
            return self.deepen().map(|()| None);
        }
        let inherited = self.take(kernel, deadline, me, true)?;
        Ok(inherited.then(|| self.last_death()))
    }

    fn take(&self, kernel: &dyn Kernel, deadline: Deadline, me: Me, recovers: bool) -> Result<bool> {
        let inherited = match &self.way {
            Way::Barging(patience) => {
                self.lock().take(kernel, deadline, patience, me, &Claim { mutex: self, kernel, recovers })?
            }
            Way::Fair(fair) => fair.take(self, kernel, deadline, me, recovers)?,
            Way::Lending => lending::take(self, kernel, deadline, me, recovers)?,
        };
        self.entered(kernel, inherited);
        Ok(inherited)
    }

    /// The caller has it from now on, perhaps as a dead owner left it.
    fn entered(&self, kernel: &dyn Kernel, inherited: bool) {
        self.words.inside.store(if inherited { RECOVERING } else { 0 }, Relaxed);
        if self.has_sleepers() {
            self.words.since.store(kernel.now(), Relaxed);
        }
    }

    fn deepen(&self) -> Result<()> {
        let inside = self.words.inside.load(Relaxed);
        if inside & MOST_DEPTH == MOST_DEPTH {
            return Err(Error::Misuse(format!("this thread holds it {MOST_DEPTH} times already: release it")));
        }
        self.words.inside.store(inside + 1, Relaxed);
        Ok(())
    }

    /// Refuses its owner, a thread, to give it back and take it again where tasks of that thread's event loop wait in line: it
    /// would be handed to one of them, which cannot run until the thread has it.
    pub fn refuse_behind_its_tasks(&self, kernel: &dyn Kernel) -> Result<()> {
        match &self.way {
            Way::Fair(fair) => fair.refuse_behind_its_tasks(kernel.me()?),
            Way::Barging(_) | Way::Lending => Ok(()),
        }
    }

    /// Gives it back, or one level of it.
    #[inline]
    pub fn release(&self, kernel: &dyn Kernel) -> Result<()> {
        let me = kernel.me()?;
        // What is inside belongs to the owner: for others the exchange fails.
        if self.words.inside.load(Relaxed) == 0 && self.try_give(me) {
            return Ok(());
        }
        self.release_slow(kernel, me)
    }

    #[cold]
    fn release_slow(&self, kernel: &dyn Kernel, me: Me) -> Result<()> {
        let inside = self.inside(me)?;
        if inside == RECOVERING {
            return Err(Error::Misuse(
                "its last owner died, and this thread's recovering() block has not ended: leave the block instead"
                    .into(),
            ));
        }
        if inside > 0 {
            self.words.inside.store(inside - 1, Relaxed);
            return Ok(());
        }
        self.give(kernel, me, Life::NOBODY)
    }

    /// Ends what [`Self::recover`] began. Of a mutex taken from the dead: `repaired` frees it, otherwise it is the dead
    /// one's again.
    pub fn end_recovery(&self, kernel: &dyn Kernel, repaired: bool) -> Result<()> {
        let me = kernel.me()?;
        if self.inside(me)? != RECOVERING {
            return self.release(kernel);
        }
        self.words.inside.store(0, Relaxed);
        self.give(kernel, me, if repaired { Life::NOBODY } else { Life(OWNER_DEAD) })
    }

    /// What the owner has written for itself; an error for anybody else.
    fn inside(&self, me: Me) -> Result<u32> {
        if self.holding() == me.thread { Ok(self.words.inside.load(Relaxed)) } else { Err(Error::NotOwner) }
    }

    fn give(&self, kernel: &dyn Kernel, me: Me, left: Life) -> Result<()> {
        self.words.since.store(0, Relaxed);
        match &self.way {
            Way::Barging(_) => {
                self.lock().give(kernel, left);
                Ok(())
            }
            Way::Fair(fair) => fair.give(self, kernel, me, left),
            Way::Lending => lending::give(self, kernel, me, left),
        }
    }

    #[inline]
    fn try_take(&self, me: Me) -> bool {
        if let Way::Lending = self.way { lending::try_take(&self.words, me) } else { self.lock().try_take(me) }
    }

    #[inline]
    fn try_give(&self, me: Me) -> bool {
        if let Way::Lending = self.way { lending::try_give(&self.words, me) } else { self.lock().try_give(me) }
    }

    /// The life in the word.
    fn holding(&self) -> Life {
        if let Way::Lending = self.way { lending::owner(&self.words) } else { self.lock().owner() }
    }

    fn lock(&self) -> Lock<'_> {
        Lock(&self.words.lock, self)
    }

    /// Turns a dead owner into [`OWNER_DEAD`], so that it stays known when its place among the lives is used again.
    fn bury(&self, kernel: &dyn Kernel, dead: Life) {
        let words = &*self.words;
        self.note(kernel, dead);
        for word in [dead.0, dead.0 | SLEEPERS] {
            // SYNC(mutex-1): whoever sees OWNER_DEAD sees who died.
            let _ = words.lock.word.compare_exchange(word, OWNER_DEAD | word & SLEEPERS, AcqRel, Relaxed);
        }
    }

    /// Writes down who has died as its owner, while the table of lives knows it.
    fn note(&self, kernel: &dyn Kernel, dead: Life) {
        let words = &*self.words;
        let before = words.died.load(Relaxed);
        if before >> 32 != u64::from(dead.0) {
            words.held.store(self.held(kernel).unwrap_or(0), Relaxed);
            let obituary = u64::from(dead.0) << 32 | u64::from(kernel.pid(dead));
            let _ = words.died.compare_exchange(before, obituary, Relaxed, Relaxed);
        }
    }

    /// The last owner that died, as whoever found it wrote it down.
    fn last_death(&self) -> Death {
        let held = self.words.held.load(Relaxed);
        let died = self.words.died.load(Relaxed);
        Death { thread: Life((died >> 32) as u32), pid: died as u32, held: (held != 0).then_some(held) }
    }

    /// How long the one in the word has held it, as far as sleepers saw.
    fn held(&self, kernel: &dyn Kernel) -> Option<u64> {
        let since = self.words.since.load(Relaxed);
        (self.has_sleepers() && since != 0).then(|| kernel.now().saturating_sub(since))
    }

    /// Who holds it, or held it when it died: a peek, not a promise.
    #[must_use]
    pub fn holder(&self, kernel: &dyn Kernel) -> Option<Holder> {
        // SYNC(mutex-1): pairs with bury().
        let (thread, handed) = self.owner_or_heir();
        if thread == Life::NOBODY {
            return None;
        }
        if thread.0 == OWNER_DEAD {
            let Death { thread, pid, held } = self.last_death();
            return Some(Holder { thread, pid, held, dead: true });
        }
        let (pid, held, dead) = (kernel.pid(thread), self.held(kernel), !kernel.alive(thread));
        // What the dead were handed, and did not come for, is handed on.
        (!handed || !dead).then_some(Holder { thread, pid, held, dead })
    }

    /// The thread that holds it, or to which it was handed; [`OWNER_DEAD`] in place of the dead: a peek, not a promise.
    #[must_use]
    pub fn owner(&self) -> Life {
        self.owner_or_heir().0
    }

    /// And whether it has yet to come for it.
    fn owner_or_heir(&self) -> (Life, bool) {
        let owner = self.holding();
        match &self.way {
            Way::Fair(fair) if owner == Life::NOBODY => match fair.heir() {
                Some(heir) => (heir, true),
                // It may have come since.
                None => (self.lock().owner(), false),
            },
            _ => (owner, false),
        }
    }

    /// When the first sleeper of this tenure came, if that is known.
    #[must_use]
    pub fn since(&self) -> Option<u64> {
        Some(self.words.since.load(Relaxed)).filter(|since| *since != 0)
    }

    /// How many have a slot in which they wait; who barges, or waits in the kernel, has none.
    #[must_use]
    pub fn waiting(&self) -> usize {
        match &self.way {
            Way::Barging(_) | Way::Lending => 0,
            Way::Fair(fair) => fair.waiting(),
        }
    }

    /// Has the next wait spin for as long as any may, whether or not that paid before: what is held for less time than a
    /// sleep takes.
    pub fn spin_anew(&self) {
        if let Way::Barging(patience) = &self.way {
            patience.renew();
        }
    }

    /// True when somebody may be asleep.
    #[must_use]
    pub fn has_sleepers(&self) -> bool {
        match self.way {
            Way::Lending => lending::has_sleepers(&self.words),
            _ => self.words.lock.word.load(Relaxed) & SLEEPERS != 0,
        }
    }

    /// Levels at which the caller holds it; 0 if it does not.
    pub fn depth(&self, kernel: &dyn Kernel) -> Result<u32> {
        let inside = self.inside(kernel.me()?);
        Ok(inside.map_or(0, |inside| (inside & MOST_DEPTH) + 1))
    }
}

impl Ready for Mutex {
    fn sleepers(&self) -> &dyn Sleepers {
        self
    }

    /// An acquire would take it, or say at once why not: its owner has died, or is the caller.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        match &self.way {
            Way::Barging(_) => {
                let claim = Claim { mutex: self, kernel, recovers: false };
                Ok(self.lock().is_free(kernel, kernel.me()?, &claim, watch))
            }
            Way::Fair(fair) => fair.is_ready(self, kernel, watch),
            Way::Lending => lending::is_ready(self, kernel, watch),
        }
    }
}

impl Sleepers for Mutex {
    fn baton(&self) -> &AtomicU32 {
        &self.words.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        // Who is about to sleep has looked: there is one word, and what changed it since keeps that one awake.
        let word = if let Way::Lending = self.way { &self.words.turn } else { &self.words.lock.word };
        kernel.wake(word, u32::MAX);
    }
}

/// How one operation takes a mutex.
struct Claim<'a> {
    mutex: &'a Mutex,
    kernel: &'a dyn Kernel,
    /// Also from the dead.
    recovers: bool,
}

impl Rules for Claim<'_> {
    fn operation(&self) -> Operation {
        Operation::Acquire
    }

    fn inherit(&self, dead: Life) -> Result<()> {
        if dead.0 != OWNER_DEAD {
            self.mutex.bury(self.kernel, dead);
        }
        if self.recovers { Ok(()) } else { Err(Error::OwnerDied(self.mutex.last_death())) }
    }

    fn is_dead(&self, owner: Life) -> bool {
        owner.0 == OWNER_DEAD
    }

    fn announced(&self) {
        self.mutex.words.since.store(self.kernel.now(), Relaxed);
    }
}
